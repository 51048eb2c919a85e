"""The assets of a study, in the order of the work: what each reads, which fields of the study it depends on, what it holds.

One table for the whole graph: Dagster's assets, fingerprints and the report's provenance are read off it. What an asset does
is in its stage's folder.
"""

from dataclasses import dataclass
from typing import Literal

Shards = Literal["none", "same", "first", "all"]


@dataclass(frozen=True)
class Input:
    """One upstream asset. `shards` says which of its partitions are read; "none" if it has none."""

    asset: str
    shards: Shards = "none"


@dataclass(frozen=True)
class Stage:
    """One asset. `after` are assets that must stand before it without being read, so that faults show before long work.

    `fields` are the study's fields that change the output, as dotted paths. `added_fields` do too, but came when there were outputs
    already: such a field stands in the fingerprint only where it is not at its default, so that what was made before stays true
    (the default must mean what the product did before the field was there). `code_version` is raised by whoever changes
    what the output holds: everything made with an older one is then made again.
    """

    name: str
    group: str
    description: str
    inputs: tuple[Input, ...] = ()
    after: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    added_fields: tuple[str, ...] = ()
    code_version: str = "1"
    is_sharded: bool = False
    tables: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    uses_model: bool = False


def _inputs(*names: str) -> tuple[Input, ...]:
    """Inputs from "asset" or "asset:which shards"."""
    pairs = [name.partition(":") for name in names]
    return tuple(Input(asset, shards or "none") for asset, _, shards in pairs)  # type: ignore[arg-type]


_STAGES = (
    Stage(
        "model_snapshot", "model", "The model's files with sizes and hashes, its resolved revision, and what it is in numbers. Safetensors only.",
        fields=("model.id", "model.revision", "model.dtype"), tables=("model_snapshot",), kinds=frozenset({"huggingface"}), uses_model=True,
    ),
    Stage(
        "tracked_tokens", "model", "The tracked tokens as vocabulary entries. Before anything is computed, the whole study is tried against "
        "the model: tokens, neurons, prompts, context length.",
        inputs=_inputs("model_snapshot"),
        fields=("tokens", "neurons", "prompts", "patching_layers", "corpus.context_length"), tables=("tracked_tokens",), kinds=frozenset({"polars"}), uses_model=True,
    ),
    Stage(
        "corpus_documents", "corpus", "The documents of the corpus with ids and hashes; empty ones dropped and counted, duplicates marked.",
        after=("tracked_tokens",),
        fields=("corpus.id", "corpus.files", "corpus.revision", "corpus.split", "corpus.text_column", "corpus.documents"),
        tables=("corpus_documents",), kinds=frozenset({"huggingface", "parquet"}),
    ),
    Stage(
        "token_windows", "corpus", "What the model reads: windows of tokens with the beginning-of-sequence token first, by shard.",
        inputs=_inputs("model_snapshot", "corpus_documents"), fields=("corpus.context_length", "corpus.windows", "shards"),
        is_sharded=True, tables=("token_windows",), kinds=frozenset({"parquet"}),
    ),
    Stage(
        "model_parity", "model", "The model as it is run here against plain Hugging Face code, on sample windows of the corpus.",
        inputs=_inputs("model_snapshot", "token_windows:first"), fields=("bins",), added_fields=("model.linear_maps",), tables=("model_parity",), kinds=frozenset({"pytorch"}), uses_model=True,
        code_version="4",
    ),
    Stage(
        "activation_bins", "histograms", "The bins of every neuron: the study's own, or a power-of-two width calibrated on the first shard and then frozen.",
        inputs=_inputs("model_snapshot", "token_windows:first"), after=("model_parity",), fields=("bins", "batch_positions", "count_bos"), added_fields=("model.linear_maps",),
        tables=("activation_bins",), kinds=frozenset({"polars"}), uses_model=True, code_version="2",
    ),
    Stage(
        "screened_tokens", "histograms", "The tokens whose means are counted beside the tracked ones: chosen on the first shard by how often they are predicted, then frozen.",
        inputs=_inputs("model_snapshot", "tracked_tokens", "token_windows:first"), after=("model_parity",), fields=("screen", "count_bos"), added_fields=("model.linear_maps",),
        tables=("screened_tokens",), kinds=frozenset({"polars"}), uses_model=True, code_version="4",
    ),
    Stage(
        "activation_histograms", "histograms", "One pass over a shard: for every neuron of every layer the int64 histogram of its activation, and the same "
        "where each tracked token is the top prediction; exact moments; the highest and lowest activating positions; sums by predicted token.",
        inputs=_inputs("model_snapshot", "tracked_tokens", "token_windows:same", "activation_bins", "screened_tokens"), after=("model_parity",),
        fields=("count_bos", "examples", "batch_positions"), added_fields=("embedding_predictions", "model.linear_maps"), is_sharded=True,
        kinds=frozenset({"zarr", "pytorch"}), uses_model=True, code_version="2",
    ),
    Stage(
        "merged_histograms", "histograms", "The sum of all shards, exact and independent of their order. Each shard is verified before it is added.",
        inputs=_inputs("activation_histograms:all"), fields=("shards",), kinds=frozenset({"zarr"}),
    ),
    Stage(
        "token_counts", "statistics", "How often each vocabulary entry occurs and is the top prediction.",
        inputs=_inputs("model_snapshot", "merged_histograms"), tables=("token_counts",), kinds=frozenset({"polars"}), uses_model=True,
    ),
    Stage(
        "neuron_statistics", "statistics", "Distribution of every neuron's activation: moments, range, share above zero, positions outside the bins.",
        inputs=_inputs("model_snapshot", "merged_histograms"), tables=("neuron_statistics",), kinds=frozenset({"polars"}),
    ),
    Stage(
        "token_neuron_scores", "statistics", "Every tracked token against every neuron: how well the activation tells where the token is the top prediction.",
        inputs=_inputs("merged_histograms", "activation_bins", "tracked_tokens"), fields=("min_count",),
        tables=("token_neuron_scores",), kinds=frozenset({"polars"}),
    ),
    Stage(
        "token_neuron_screen", "statistics", "Which neuron predicts X, for any frequent X: the neurons that stand out where each screened token is predicted; pairs worth studying next.",
        inputs=_inputs("model_snapshot", "merged_histograms", "tracked_tokens"), fields=("min_count",),
        tables=("token_neuron_screen", "proposed_pairs"), kinds=frozenset({"polars"}), uses_model=True,
    ),
    Stage(
        "proportion_curves", "statistics", "How often the token is the top prediction at each level of the neuron's activation, with counts and 95 % intervals.",
        inputs=_inputs("merged_histograms", "activation_bins", "tracked_tokens", "token_neuron_scores"),
        fields=("neurons", "best_neurons", "min_count"), tables=("proportion_curves",), kinds=frozenset({"polars"}),
    ),
    Stage(
        "embedding_predictions", "statistics", "How often each token is the top prediction by the embedding, as published, and the same curves for it. "
        "Empty where the study does not count that.",
        inputs=_inputs("merged_histograms", "token_counts", "proportion_curves"), tables=("embedding_predictions", "embedding_curves"),
        kinds=frozenset({"polars"}),
    ),
    Stage(
        "neuron_contexts", "statistics", "The text around the highest and lowest activations of the studied neurons and around random positions, with the "
        "activation at each token.",
        inputs=_inputs("model_snapshot", "merged_histograms", "proportion_curves", "token_windows:all"), fields=("batch_positions", "examples", "count_bos"),
        tables=("neuron_contexts",), kinds=frozenset({"pytorch", "polars"}), uses_model=True, code_version="2",
    ),
    Stage(
        "congruence", "congruence", "Output weights of every neuron against the vector of every token, both conventions, without holding the whole matrix.",
        inputs=_inputs("model_snapshot", "tracked_tokens"), fields=("neurons",),
        tables=("congruence_tokens", "congruence_neurons", "congruence_tracked_tokens", "congruence_neurons_of_interest", "congruence_mutual_pairs"),
        kinds=frozenset({"pytorch", "polars"}), uses_model=True,
    ),
    Stage(
        "prompt_predictions", "prompts", "The model's most probable next tokens after each prompt.",
        inputs=_inputs("model_snapshot"), after=("tracked_tokens",), fields=("prompts",), tables=("prompt_tokens", "prompt_predictions"),
        kinds=frozenset({"pytorch"}), uses_model=True, code_version="2",
    ),
    Stage(
        "logit_lens", "prompts", "What each layer's residual stream would predict at the last position of each prompt.",
        inputs=_inputs("model_snapshot"), after=("tracked_tokens",), fields=("prompts",), tables=("logit_lens",),
        kinds=frozenset({"pytorch"}), uses_model=True, code_version="2",
    ),
    Stage(
        "activation_patching", "prompts", "Residual stream, attention, MLP and single heads' outputs of the clean run patched into the corrupt run, by layer and position.",
        inputs=_inputs("model_snapshot"), after=("tracked_tokens",), fields=("prompts",), tables=("activation_patching",),
        kinds=frozenset({"pytorch"}), uses_model=True, code_version="2",
    ),
    Stage(
        "neuron_patching", "prompts", "Every neuron of the chosen layers, one at a time, patched from the clean run into the corrupt run; and the gradient screen of all.",
        inputs=_inputs("model_snapshot"), after=("tracked_tokens",), fields=("prompts", "patching_layers"), tables=("neuron_patching", "attribution_screen"),
        kinds=frozenset({"pytorch"}), uses_model=True,
    ),
    Stage(
        "neuron_ablation", "ablation", "What ablating each studied neuron changes at positions of the corpus, against control neurons of its layer; direct and mediated.",
        inputs=_inputs("model_snapshot", "token_windows:all", "neuron_statistics", "proportion_curves"), fields=("ablation_positions", "batch_positions"),
        tables=("neuron_ablation", "ablation_controls"), kinds=frozenset({"pytorch", "polars"}), uses_model=True, code_version="3",
    ),
    Stage(
        "prompt_ablation", "ablation", "Probabilities of the tracked tokens after each prompt with each studied neuron ablated.",
        inputs=_inputs("model_snapshot", "tracked_tokens", "token_windows:all", "neuron_statistics", "proportion_curves"),
        fields=("prompts", "batch_positions"), tables=("prompt_ablation",), kinds=frozenset({"pytorch"}), uses_model=True, code_version="2",
    ),
    Stage(
        "neuron_inputs", "prompts", "What feeds the studied neurons: their pre-activation as a sum over the embedding, heads and MLPs before them.",
        inputs=_inputs("model_snapshot", "proportion_curves", "neuron_contexts", "token_windows:all"), after=("tracked_tokens",), fields=("prompts",),
        tables=("neuron_inputs", "neuron_residual_reads"), kinds=frozenset({"pytorch", "polars"}), uses_model=True,
    ),
    Stage(
        "prompt_activations", "prompts", "The studied neurons' activations at each token of the prompts.",
        inputs=_inputs("model_snapshot", "proportion_curves"), after=("tracked_tokens",), fields=("prompts",),
        tables=("prompt_activations",), kinds=frozenset({"pytorch"}), uses_model=True,
    ),
    Stage(
        "replication_scorecard", "claims", "Every claim of the study's claims file: observed by the post's convention and by the right one, with a verdict.",
        inputs=_inputs(
            "corpus_documents", "token_counts", "neuron_statistics", "token_neuron_scores", "proportion_curves", "embedding_predictions",
            "congruence", "prompt_predictions", "logit_lens", "activation_patching", "neuron_patching", "prompt_ablation",
        ),
        fields=("count_bos", "min_count"), code_version="3", tables=("replication_scorecard",), kinds=frozenset({"polars"}),
    ),
)  # fmt: skip

REPORTED = tuple(stage.name for stage in _STAGES if not stage.is_sharded)

_LAST_STAGES = (
    Stage(
        "data_quality", "quality", "Every check of every output, with what was expected and what was observed. Fails if a blocking one does not hold.",
        inputs=(*_inputs("token_windows:all", "activation_histograms:all"), *(Input(name) for name in REPORTED)), tables=("data_quality",),
        fields=("shards", "ablation_positions", "min_count"), kinds=frozenset({"polars"}),
    ),
    Stage(
        "report_site", "report", "The study's evidence as static pages that open from disk, offline.",
        inputs=tuple(Input(name) for name in (*REPORTED, "data_quality")),
        fields=("name", "description", "question", "tokens", "neurons", "prompts", "bins", "min_count", "shards", "count_bos"), added_fields=("model.linear_maps",), kinds=frozenset({"plotly"}),
        code_version="4",
    ),
)  # fmt: skip

STAGES: dict[str, Stage] = {stage.name: stage for stage in (*_STAGES, *_LAST_STAGES)}


def ancestors(asset: str) -> set[str]:
    """Every asset that must stand before this one."""
    stage = STAGES[asset]
    direct = {entry.asset for entry in stage.inputs} | set(stage.after)
    return direct.union(*(ancestors(name) for name in direct)) if direct else set()
