"""The assets of a study, in the order of the work: what each reads, which fields of the study it depends on, what it holds.

One table for the whole graph: Dagster's assets, fingerprints and the report's provenance are read off it, and no asset can read
what it does not declare here (assets/reading.py, assets/study_view.py). What an asset does is in its stage's folder.
"""

from dataclasses import dataclass
from typing import Literal

from assets.reads import Read, Shards, reads
from assets.study_view import EVERY_FIELD

Source = Literal["model", "corpus", "claims"]


@dataclass(frozen=True)
class Input:
    """One upstream asset. `shards` says which of its partitions are read; "none" if it has none."""

    asset: str
    shards: Shards = "none"


@dataclass(frozen=True)
class Stage:
    """One asset. `after` are assets that must stand before it without being read, so that faults show before long work.

    `reads` and `fields` are all that it can read: other outputs, and the study's fields as dotted paths. `source` names what it reads
    from outside: files whose content is part of its fingerprint. `runs_model`: it waits for its turn on the device. `may_be_refused`: what it
    measures may mean nothing of some models; its tables are then empty, its fact `refused` says why, and the rest of the study is made.
    """

    name: str
    group: str
    description: str
    reads: tuple[Read, ...] = ()
    fields: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    source: Source | None = None
    is_sharded: bool = False
    tables: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    runs_model: bool = False
    may_be_refused: bool = False

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The upstream assets that it reads something of."""
        return tuple(dict.fromkeys(Input(read.asset, read.shards) for read in self.reads))


# What running the model reads: the snapshot's files as they were hashed, and how they are loaded.
MODEL = reads("model_snapshot")
MODEL_FIELDS = ("model.dtype", "model.linear_maps")
# As long as the corpus: too large for a page, and never handed to the report.
CORPUS_TABLES = ("corpus_documents", "token_windows", "position_predictions")

_STAGES = (
    Stage(
        "model_snapshot", "model", "The model's files with sizes and hashes, its resolved revision, and what it is in numbers. Safetensors only.",
        fields=("model.id", "model.revision", *MODEL_FIELDS), source="model", tables=("model_snapshot",), kinds=frozenset({"huggingface"}), runs_model=True,
    ),
    Stage(
        "tracked_tokens", "model", "The tracked tokens as vocabulary entries. Before anything is computed, the whole study is tried against "
        "the model: tokens, neurons, prompts, context length.",
        reads=MODEL, fields=(*MODEL_FIELDS, "tokens", "groups", "neurons", "prompts", "prompt_sets", "patching_layers", "corpus.context_length"),
        tables=("tracked_tokens", "token_groups"), kinds=frozenset({"polars"}), runs_model=True,
    ),
    Stage(
        "corpus_documents", "corpus", "The documents of the corpus with ids, hashes and domains; empty ones dropped and counted, duplicates marked.",
        fields=("corpus.id", "corpus.config", "corpus.data_files", "corpus.files", "corpus.revision", "corpus.split", "corpus.text_column",
                "corpus.tokens_column", "corpus.domain_column", "corpus.domain_by_file", "corpus.documents"), source="corpus",
        after=("tracked_tokens",), tables=("corpus_documents", "corpus_domains", "corpus_files"), kinds=frozenset({"huggingface", "parquet"}),
    ),
    Stage(
        "token_windows", "corpus", "What the model reads: windows of tokens with the beginning-of-sequence token first, by shard.",
        reads=reads("model_snapshot", "model_snapshot.beginning_token_id", "model_snapshot.vocabulary", "corpus_documents", "corpus_documents.documents"),
        fields=("corpus.context_length", "corpus.windows", "shards"), is_sharded=True, tables=("token_windows",), kinds=frozenset({"parquet"}),
    ),
    Stage(
        "model_parity", "model", "The model as it is run here against plain Hugging Face code, on sample windows of the corpus.",
        reads=(*MODEL, *reads("token_windows:first")), fields=(*MODEL_FIELDS, "bins"),
        tables=("model_parity",), kinds=frozenset({"pytorch"}), runs_model=True,
    ),
    Stage(
        "activation_bins", "histograms", "The bins of every neuron: the study's own, or a power-of-two width calibrated on the first shard and then frozen.",
        reads=(*MODEL, *reads("model_snapshot.layers", "model_snapshot.neurons", "token_windows:first")),
        fields=(*MODEL_FIELDS, "bins", "batch_positions", "count_bos"), after=("model_parity",),
        tables=("activation_bins",), kinds=frozenset({"polars"}), runs_model=True,
    ),
    Stage(
        "screened_tokens", "histograms", "The tokens whose means are counted beside the tracked ones: chosen on the first shard by how often they are predicted, then frozen.",
        reads=(*MODEL, *reads("tracked_tokens", "token_windows:first")), fields=(*MODEL_FIELDS, "screen", "count_bos"), after=("model_parity",),
        tables=("screened_tokens",), kinds=frozenset({"polars"}), runs_model=True,
    ),
    Stage(
        "activation_histograms", "histograms", "One pass over a shard: for every neuron of every layer the int64 histogram of its activation, and the same "
        "where each tracked token is the top prediction; exact moments; the highest and lowest activating positions with the activations around them; sums by predicted token; a sample of each tracked token's positions; all activations at a few thousand positions; the model's prediction at every position.",
        reads=(*MODEL, *reads("tracked_tokens", "corpus_documents.domains", "token_windows:same", "activation_bins", "screened_tokens")),
        fields=(*MODEL_FIELDS, "count_bos", "examples", "batch_positions", "embedding_predictions", "outcomes", "kept_positions"), after=("model_parity",), is_sharded=True,
        tables=("position_predictions",), kinds=frozenset({"zarr", "pytorch"}), runs_model=True,
    ),
    Stage(
        "merged_histograms", "histograms", "The sum of all shards, exact and independent of their order. Each shard is verified before it is added.",
        reads=reads("activation_histograms/:all"), kinds=frozenset({"zarr"}),
    ),
    Stage(
        "token_counts", "statistics", "How often each vocabulary entry occurs and is the top prediction.",
        reads=(*MODEL, *reads("merged_histograms/")), fields=MODEL_FIELDS, tables=("token_counts",), kinds=frozenset({"polars"}), runs_model=True,
    ),
    Stage(
        "neuron_statistics", "statistics", "Distribution of every neuron's activation: moments, range, share above zero, positions outside the bins.",
        reads=reads("model_snapshot.is_gated", "merged_histograms/"), tables=("neuron_statistics",), kinds=frozenset({"polars"}),
    ),
    Stage(
        "token_neuron_scores", "statistics", "Every tracked token against every neuron: how well the activation tells where the token is the top prediction.",
        reads=reads("merged_histograms/", "activation_bins", "tracked_tokens", "token_groups"), fields=("min_count",),
        tables=("token_neuron_scores",), kinds=frozenset({"polars"}),
    ),
    Stage(
        "outcome_scores", "statistics", "The same scores by where tracked tokens come next in the text and, where it is counted, by the probability that the "
        "model gives them; and which outcome leads for each token.",
        reads=reads("merged_histograms/", "activation_bins", "tracked_tokens", "token_groups"), fields=("min_count", "outcome"),
        tables=("token_outcomes", "outcome_scores"), kinds=frozenset({"polars"}),
    ),
    Stage(
        "token_neuron_screen", "statistics", "Which neuron predicts X, for any frequent X: the neurons that stand out where each screened token is predicted.",
        reads=(*MODEL, *reads("merged_histograms/")), fields=(*MODEL_FIELDS, "min_count"),
        tables=("token_neuron_screen",), kinds=frozenset({"polars"}), runs_model=True,
    ),
    Stage(
        "contributions", "statistics", "Which neurons write a token where the model predicts it, and which write against it: the mean direct effect "
        "of each on the token's logit there, less that elsewhere; pairs worth studying next.",
        reads=(*MODEL, *reads("merged_histograms/", "tracked_tokens", "token_groups")), fields=(*MODEL_FIELDS, "min_count"),
        tables=("contributions", "contribution_screen", "proposed_pairs", "outcome_contributions"), kinds=frozenset({"pytorch", "polars"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "contrasts", "statistics", "Two tokens against each other: which neurons tell their positions apart, and which move the difference of their logits.",
        reads=(*MODEL, *reads("merged_histograms/", "tracked_tokens")), fields=(*MODEL_FIELDS, "contrasts", "prompts"),
        tables=("contrasts",), kinds=frozenset({"pytorch", "polars"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "half_scores", "statistics", "Every neuron looked for in one half of the documents and told in the other, beside what luck gives; and how far the halves agree.",
        reads=(*MODEL, *reads("merged_histograms/", "activation_bins", "tracked_tokens", "token_groups")), fields=(*MODEL_FIELDS, "min_count"),
        tables=("half_scores", "half_agreement"), kinds=frozenset({"pytorch", "polars"}), runs_model=True,
    ),
    Stage(
        "corpus_growth", "statistics", "How the first neurons of each token, and where their curves reach one half, moved as documents were added.",
        reads=(*MODEL, *reads("merged_histograms/", "activation_bins", "tracked_tokens", "token_groups")), fields=(*MODEL_FIELDS, "min_count"),
        tables=("corpus_growth",), kinds=frozenset({"pytorch", "polars"}), runs_model=True,
    ),
    Stage(
        "congruence", "congruence", "Output weights of every neuron against the vector of every token, both conventions, and its input weights, without holding the whole matrix.",
        reads=(*MODEL, *reads("tracked_tokens")), fields=(*MODEL_FIELDS, "neurons"),
        tables=("congruence_tokens", "congruence_neurons", "congruence_tracked_tokens", "congruence_neurons_of_interest", "congruence_mutual_pairs",
                "strongest_neurons", "corrected_mutual_pairs", "congruence_hubs", "congruence_reads"),
        kinds=frozenset({"pytorch", "polars"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "congruence_agreement", "statistics", "Whether the neurons that the weights name for a token also write it, or against it, where the model predicts it.",
        reads=reads("congruence_tokens", "congruence_mutual_pairs", "strongest_neurons", "contribution_screen", "model_snapshot.is_gated"),
        tables=("congruence_agreement",), kinds=frozenset({"polars"}),
    ),
    Stage(
        "prompt_predictions", "prompts", "The model's most probable next tokens after each prompt.",
        reads=MODEL, fields=(*MODEL_FIELDS, "prompts"), after=("tracked_tokens",), tables=("prompt_tokens", "prompt_predictions"),
        kinds=frozenset({"pytorch"}), runs_model=True,
    ),
    Stage(
        "logit_lens", "prompts", "What each layer's residual stream would predict at the last position of each prompt.",
        reads=MODEL, fields=(*MODEL_FIELDS, "prompts"), after=("tracked_tokens",), tables=("logit_lens",), kinds=frozenset({"pytorch"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "activation_patching", "prompts", "Residual stream, attention, MLP and single heads' outputs of the clean run patched into the corrupt run, by layer and position.",
        reads=MODEL, fields=(*MODEL_FIELDS, "prompts"), after=("tracked_tokens",), tables=("activation_patching",),
        kinds=frozenset({"pytorch"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "neuron_patching", "prompts", "Every neuron of the chosen layers, one at a time, patched from the clean run into the corrupt run; and the gradient estimate of all.",
        reads=MODEL, fields=(*MODEL_FIELDS, "prompts", "patching_layers"), after=("tracked_tokens",), tables=("neuron_patching", "attribution_patching"),
        kinds=frozenset({"pytorch"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "patched_neuron_sets", "prompts", "Neurons patched together, for what no neuron restores by itself: sets grown one neuron at a time by what they restore in one run.",
        reads=(*MODEL, *reads("neuron_patching")), fields=(*MODEL_FIELDS, "prompts"), tables=("patched_neuron_sets",),
        kinds=frozenset({"pytorch"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "prompt_set_patching", "prompts", "Every neuron of the chosen layers, one at a time, patched on every pair of each prompt set: its median, its quartiles, "
        "and how often it is among the first ten.",
        reads=MODEL, fields=(*MODEL_FIELDS, "prompt_sets", "patching_layers"), after=("tracked_tokens",),
        tables=("prompt_sets", "prompt_set_pairs", "prompt_set_patching"), kinds=frozenset({"pytorch"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "candidates", "statistics", "Which neurons are studied for each tracked token, and what put each there: the study, or a line of evidence of which it is among the best.",
        reads=reads("tracked_tokens", "token_groups", "half_scores", "token_outcomes", "contrasts", "token_neuron_screen", "congruence_tracked_tokens", "prompt_predictions", "neuron_patching", "patched_neuron_sets",
                    "prompt_sets", "prompt_set_patching", "model_snapshot.is_gated"),
        fields=("neurons", "best_neurons"), tables=("candidates",), kinds=frozenset({"polars"}),
    ),
    Stage(
        "proportion_curves", "statistics", "How often the token is the top prediction at each level of the neuron's activation, with counts and 95 % intervals.",
        reads=reads("merged_histograms/", "activation_bins", "tracked_tokens", "token_groups", "candidates"),
        fields=("min_count",), tables=("proportion_curves", "outcome_curves", "half_curves"), kinds=frozenset({"polars"}),
    ),
    Stage(
        "sparse_probes", "statistics", "How well one neuron, a few, a whole layer and the residual stream tell each token's positions: probes fitted on one half of the documents and told on the other.",
        reads=reads("merged_histograms/", "tracked_tokens"), tables=("sparse_probes", "probe_neurons"), kinds=frozenset({"scikitlearn", "polars"}),
    ),
    Stage(
        "neuron_behaviour", "statistics", "What else a studied neuron does: which tokens are predicted and come next in each band of its activation.",
        reads=reads("merged_histograms/", "tracked_tokens", "proportion_curves", "token_counts"), tables=("neuron_bands", "neuron_band_tokens"),
        kinds=frozenset({"polars"}),
    ),
    Stage(
        "domain_scores", "statistics", "The studied neurons in each domain of the corpus, and whether they do the same in all. Empty where the corpus has one domain.",
        reads=(*MODEL, *reads("corpus_domains", "merged_histograms/", "activation_bins", "tracked_tokens", "token_groups", "candidates")), fields=MODEL_FIELDS,
        tables=("domain_scores", "domain_curves", "domain_tests"), kinds=frozenset({"pytorch", "polars"}), runs_model=True,
    ),
    Stage(
        "embedding_predictions", "statistics", "How often each token is the top prediction by the embedding, as published, and the same curves for it. "
        "Empty where the study does not count that.",
        reads=reads("merged_histograms/", "token_counts", "proportion_curves", "token_groups"), tables=("embedding_predictions", "embedding_curves"),
        kinds=frozenset({"polars"}),
    ),
    Stage(
        "neuron_contexts", "statistics", "The text around the highest and lowest activations of the studied neurons and around random positions, with the "
        "activation at each token.",
        reads=(*MODEL, *reads("merged_histograms/", "proportion_curves", "token_windows:all", "position_predictions:all")), fields=(*MODEL_FIELDS, "examples", "count_bos"),
        tables=("neuron_contexts",), kinds=frozenset({"pytorch", "polars"}), runs_model=True,
    ),
    Stage(
        "atlas", "atlas", "Every neuron of the model: its histogram, its highest and lowest examples with the text around them, the predicted and current tokens that go "
        "with its activation, and the neurons most like it.",
        reads=(*MODEL, *reads("merged_histograms/", "token_windows:all", "position_predictions:all", "token_counts", "candidates")),
        fields=(*MODEL_FIELDS, "atlas", "min_count"),
        tables=("atlas_histograms", "atlas_examples", "atlas_texts", "atlas_tokens", "atlas_neighbours"), kinds=frozenset({"pytorch", "polars"}), runs_model=True,
    ),
    Stage(
        "neuron_ablation", "ablation", "What ablating each studied neuron changes at sampled positions of the corpus, against control neurons of its layer; direct and mediated.",
        reads=(*MODEL, *reads("token_windows:all", "position_predictions:all", "merged_histograms/", "neuron_statistics", "proportion_curves", "tracked_tokens",
                              "token_outcomes")),
        fields=(*MODEL_FIELDS, "ablation_positions", "batch_positions"), tables=("neuron_ablation", "ablation_controls"),
        kinds=frozenset({"pytorch", "polars"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "prompt_ablation", "ablation", "Probabilities of the tracked tokens after each prompt with each studied neuron ablated.",
        reads=(*MODEL, *reads("tracked_tokens", "token_windows:all", "merged_histograms/", "neuron_statistics", "proportion_curves")),
        fields=(*MODEL_FIELDS, "prompts", "batch_positions"), tables=("prompt_ablation",), kinds=frozenset({"pytorch"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "neuron_inputs", "prompts", "What feeds the studied neurons: their pre-activation as a sum over the embedding, heads and MLPs before them.",
        reads=(*MODEL, *reads("proportion_curves", "neuron_contexts", "token_windows:all")), fields=(*MODEL_FIELDS, "prompts"), after=("tracked_tokens",),
        tables=("neuron_inputs", "neuron_residual_reads"), kinds=frozenset({"pytorch", "polars"}), runs_model=True, may_be_refused=True,
    ),
    Stage(
        "prompt_activations", "prompts", "The studied neurons' activations at each token of the prompts.",
        reads=(*MODEL, *reads("proportion_curves")), fields=(*MODEL_FIELDS, "prompts"), after=("tracked_tokens",),
        tables=("prompt_activations",), kinds=frozenset({"pytorch"}), runs_model=True,
    ),
    Stage(
        "evidence_cards", "claims", "Of each studied pair of token and neuron every line of evidence, supported, against, unclear or not measured, with its number.",
        reads=reads(
            "candidates", "token_outcomes", "half_scores", "prompt_predictions", "neuron_patching", "neuron_ablation", "domain_scores", "domain_tests",
            "sparse_probes", "neuron_bands", "neuron_band_tokens",
        ),
        tables=("evidence_cards",), kinds=frozenset({"polars"}),
    ),
    Stage(
        "replication_scorecard", "claims", "Every claim of the study's claims file: observed by the post's convention and by the right one, with a verdict.",
        reads=reads(
            "corpus_documents", "token_counts", "neuron_statistics", "token_neuron_scores", "contributions", "contribution_screen", "candidates",
            "proportion_curves", "embedding_predictions",
            "embedding_curves", "congruence_tokens", "congruence_neurons", "congruence_tracked_tokens", "congruence_neurons_of_interest",
            "congruence_mutual_pairs", "prompt_tokens", "prompt_predictions", "logit_lens", "activation_patching", "neuron_patching",
            "attribution_patching", "prompt_ablation", "evidence_cards",
        ),
        fields=("count_bos", "min_count"), source="claims", tables=("replication_scorecard",), kinds=frozenset({"polars"}),
    ),
)  # fmt: skip

_EVERY_ASSET = tuple(f"{stage.name}.%s:all" if stage.is_sharded else f"{stage.name}.%s" for stage in _STAGES)
_REPORTED_TABLES = tuple(table for stage in _STAGES for table in stage.tables if table not in CORPUS_TABLES)

_LAST_STAGES = (
    Stage(
        "data_quality", "quality", "Every check of every output, with what was expected and what was observed. Fails if a blocking one does not hold.",
        reads=reads(*(asset % "*" for asset in _EVERY_ASSET)),
        fields=("model.dtype", "neurons", "shards", "ablation_positions", "kept_positions", "min_count", "embedding_predictions", "outcomes", "count_bos", "atlas.neurons"),
        tables=("data_quality",), kinds=frozenset({"polars"}),
    ),
    Stage(
        "report_site", "report", "The study's evidence as static pages that open from disk, offline.",
        reads=reads(
            *_REPORTED_TABLES, "data_quality", *(asset % "record" for asset in _EVERY_ASSET), "data_quality.record",
            *(f"model_snapshot.{fact}" for fact in ("commit", "architecture", "layers", "neurons", "vocabulary", "dtype", "device", "is_gated", "normalization")),
            *(f"corpus_documents.{fact}" for fact in ("commit", "fingerprint", "documents", "empty", "duplicates")),
            "token_windows.windows:all", "merged_histograms.positions", *(f"{stage.name}.refused" for stage in _STAGES if stage.may_be_refused),
        ),
        fields=(EVERY_FIELD,), kinds=frozenset({"plotly"}),
    ),
)  # fmt: skip

STAGES: dict[str, Stage] = {stage.name: stage for stage in (*_STAGES, *_LAST_STAGES)}


def ancestors(asset: str) -> set[str]:
    """Every asset that must stand before this one."""
    stage = STAGES[asset]
    direct = {entry.asset for entry in stage.inputs} | set(stage.after)
    return direct.union(*(ancestors(name) for name in direct)) if direct else set()
