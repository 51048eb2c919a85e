"""The tables `neuron_ablation` and `ablation_controls`: what ablating a neuron does to a token's prediction over the corpus.

For each studied pair of token and neuron: the mean change over positions at which the token is the top prediction and over
partners at which it is not, its interval from drawing documents again, and how rare such a change is among control neurons of
the same layer. How one position is computed is in position_effects.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import polars.selectors as cs

from assets.ablation.ablated_positions import KINDS_OF_POSITION, SEED, ablated_positions, chosen_windows, own_positions, windows_of
from assets.ablation.control_neurons import CONTROLS, control_neurons
from assets.ablation.document_intervals import document_intervals
from assets.ablation.false_discoveries import with_q_values
from assets.ablation.p_values import p_values
from assets.ablation.position_effects import MEASURES, Target, position_effects, require_plain_forward_agrees, run_window
from assets.ablation.replacements import ABLATIONS, DONORS, Donors, Neurons, corpus_means, donors, replacements
from assets.contracts import ABLATION_CONTROLS, NEURON_ABLATION, conform
from assets.counting.position_samples import TOP_PREDICTION
from assets.model.language_model import LanguageModel
from assets.prompts.prompt_runs import PromptRun

if TYPE_CHECKING:
    import torch

LOGIT = MEASURES.index("logit")


@dataclass(frozen=True)
class Ablation:
    """The two tables."""

    effects: pl.DataFrame
    controls: pl.DataFrame


@dataclass(frozen=True)
class Subjects:
    """The neurons that are ablated for one token: studied ones and controls."""

    neurons: Neurons
    device_neurons: "Mapping[int, torch.Tensor]"  # layer -> int64 [neuron]
    means: "Mapping[int, torch.Tensor]"  # layer -> float32 [neuron]
    donors: Donors

    def column(self, layer: int, neurons: Sequence[int]) -> np.ndarray:
        """Columns of these neurons of a layer in the arrays of effects: layer after layer, neurons ascending."""
        before = sum(len(chosen) for other, chosen in self.neurons.items() if other < layer)
        return before + np.searchsorted(np.asarray(self.neurons[layer]), neurons)


def neuron_ablation(
    model: LanguageModel,
    windows: pl.LazyFrame,
    sampled: pl.DataFrame,
    pairs: pl.DataFrame,
    neuron_statistics: pl.DataFrame,
    wanted: int,
    batch_positions: int = 2048,
    controls: int = CONTROLS,
    outcome_of_token: Mapping[int, str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Ablation:
    """Both tables for `pairs` (token_id, layer, neuron), over up to `wanted` positions of each kind per token.

    `windows` is the table token_windows, all shards; `sampled` the positions that the pass sampled of each token, as of
    position_samples.sampled_positions. `outcome_of_token` says by which outcome a token's positions are taken: `top_prediction`, as for
    every token that it does not name, or `next_token`, for one that is hardly ever predicted. Everything drawn is seeded. `wanted` = 0
    gives empty tables; so do tokens without positions. Raises ModelError where the shortcut is not what the model computes, and
    ValueError for an outcome that was not sampled.
    """
    pairs = pairs.select("token_id", "layer", "neuron").unique().sort("token_id", "layer", "neuron")
    if not wanted or pairs.is_empty():
        return Ablation(
            conform(NEURON_ABLATION, _empty(NEURON_ABLATION.schema)), conform(ABLATION_CONTROLS, _empty(ABLATION_CONTROLS.schema))
        )
    tokens = pairs["token_id"].unique().sort().to_list()
    own = own_positions(sampled, dict.fromkeys(tokens, TOP_PREDICTION) | dict(outcome_of_token or {}), wanted)
    held = windows_of(windows, own)
    places = ablated_positions(model, held, own, batch_positions)
    norms = {layer: output_norms(model, layer) for layer in pairs["layer"].unique().to_list()}
    beside = control_neurons(pairs, neuron_statistics, norms, controls)
    drawn = donors(model, chosen_windows(windows, DONORS), neurons_of(pairs, beside), batch_positions)
    effects, controlled = [], []
    for token_id in tokens:
        of_token = places.filter(pl.col("token_id") == token_id)
        studied, own_controls = (frame.filter(pl.col("token_id") == token_id) for frame in (pairs, beside))
        made = ablate_token(model, held, of_token, studied, own_controls, neuron_statistics, drawn)
        tell(f"token {model.token_texts[token_id]!r}: {studied.height} neurons and their controls ablated at {of_token.height} positions")
        effects.append(made.effects)
        controlled.append(made.controls)
    return Ablation(conform(NEURON_ABLATION, with_q_values(pl.concat(effects))), pl.concat(controlled))


def ablate_token(
    model: LanguageModel,
    windows: pl.DataFrame,
    places: pl.DataFrame,
    pairs: pl.DataFrame,
    controls: pl.DataFrame,
    neuron_statistics: pl.DataFrame,
    drawn: Donors,
) -> Ablation:
    """Both tables of one token: `places` as of ablated_positions, `pairs` and `controls` as of control_neurons, all of this token.

    `windows` holds those of the places, `drawn` donors of all its neurons. The effects are still without q_value, which all tokens together decide.
    """
    subjects = _subjects(model, neurons_of(pairs, controls), neuron_statistics, drawn)
    values = token_effects(model, windows, places, subjects)
    texts = pl.col("token_id").map_elements(lambda entry: model.token_texts[entry], return_dtype=pl.String).alias("token")
    effects = _effects(pairs, controls, places, subjects, values).with_columns(texts)
    return Ablation(effects, conform(ABLATION_CONTROLS, _controls(controls, places, subjects, values)))


def _empty(schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame(schema=schema)


def output_norms(model: LanguageModel, layer: int) -> np.ndarray:
    """Float32 [neuron]: length of each neuron's output weights."""
    return model.bridge.blocks[layer].mlp.W_out.detach().float().norm(dim=1).cpu().numpy()


def neurons_of(pairs: pl.DataFrame, controls: pl.DataFrame) -> dict[int, list[int]]:
    """Layer -> its studied neurons and their controls, in ascending order."""
    both = pl.concat([pairs.select("layer", "neuron"), controls.select("layer", neuron="control")])
    by_layer = both.group_by("layer").agg(pl.col("neuron").unique().sort()).sort("layer")
    return {row["layer"]: row["neuron"] for row in by_layer.iter_rows(named=True)}


def _subjects(model: LanguageModel, neurons: Neurons, neuron_statistics: pl.DataFrame, drawn: Donors) -> Subjects:
    import torch

    means = {layer: torch.from_numpy(corpus_means(neuron_statistics, layer, chosen)) for layer, chosen in neurons.items()}
    return Subjects(
        neurons,
        {layer: torch.tensor(list(chosen), device=model.device) for layer, chosen in neurons.items()},
        {layer: values.to(model.device) for layer, values in means.items()},
        drawn.of(neurons),
    )


def token_effects(model: LanguageModel, windows: pl.DataFrame, places: pl.DataFrame, subjects: Subjects) -> np.ndarray:
    """Float64 [position, ablation, column, measure] for the rows of `places` (one token of ablated_positions), in their order."""
    columns = sum(map(len, subjects.neurons.values()))
    values = np.zeros((places.height, len(ABLATIONS), columns, len(MEASURES)))
    if places.is_empty():
        return values
    generator = np.random.default_rng([SEED, 2, int(places["token_id"][0])])
    drawn = subjects.donors.drawn_for(places["document"].to_numpy(), generator)
    positions = places["position"].to_numpy()
    tried = {0, int(positions.argmax())}  # the first, and the one with the longest text before it: attention may see only some of it
    for place, (run, ids, target) in enumerate(_runs(model, windows, places, list(subjects.neurons))):
        changes = _changes(model, run, target, subjects, int(drawn[place]))
        values[place] = position_effects(model, run, target, subjects.device_neurons, changes)
        if place in tried:
            _require_agreement(model, ids, target, subjects, changes, values[place])
    return values


def _runs(
    model: LanguageModel, windows: pl.DataFrame, places: pl.DataFrame, layers: list[int]
) -> Iterator[tuple[PromptRun, list[int], Target]]:
    """The window's run, its ids, and the target of each row of `places`; rows of one window share a run."""
    window = ["document", "window_in_document"]
    found = places.join(windows.select(*window, "token_ids"), on=window, how="left", maintain_order="left")
    latest, run = None, None
    for row in found.iter_rows(named=True):
        if latest != (row["document"], row["window_in_document"]) or run is None:
            latest = (row["document"], row["window_in_document"])
            run = run_window(model, row["token_ids"], layers)
        yield run, row["token_ids"], Target(row["position"], row["token_id"], row["next_token_id"])


def _changes(model: LanguageModel, run: PromptRun, target: Target, subjects: Subjects, donor: int) -> "dict[int, torch.Tensor]":
    """Layer -> float32 [ablation, neuron]: replacement minus activation at the target."""
    changes = {}
    for layer, neurons in subjects.device_neurons.items():
        clean = run.values[model.neuron_hook(layer)][target.position, neurons].float()
        changes[layer] = replacements(clean, subjects.means[layer], subjects.donors.activations[layer][donor]) - clean
    return changes


def _require_agreement(
    model: LanguageModel, ids: list[int], target: Target, subjects: Subjects, changes: "Mapping[int, torch.Tensor]", values: np.ndarray
) -> None:
    """In each layer the neuron and the ablation that change the logit most are done once more in a plain forward pass."""
    for layer, neurons in subjects.neurons.items():
        columns = subjects.column(layer, neurons)
        sizes = np.abs(values[:, columns, LOGIT])  # [ablation, neuron]
        ablation, place = divmod(int(sizes.argmax()), len(neurons))
        change = float(changes[layer][ablation, place])
        require_plain_forward_agrees(model, ids, target, layer, neurons[place], change, float(values[ablation, columns[place], LOGIT]))


def _effects(pairs: pl.DataFrame, controls: pl.DataFrame, places: pl.DataFrame, subjects: Subjects, values: np.ndarray) -> pl.DataFrame:
    """Rows of neuron_ablation of one token, without the token's text and without q_value."""
    documents, kinds = places["document"].to_numpy(), places["positions"].to_numpy()
    parts = [_empty(pl.Schema({name: dtype for name, dtype in NEURON_ABLATION.schema.items() if name not in ("token", "q_value")}))]
    for token_id, layer, neuron in pairs.iter_rows():
        column = int(subjects.column(layer, [neuron])[0])
        beside = subjects.column(layer, controls.filter((pl.col("layer") == layer) & (pl.col("neuron") == neuron))["control"].to_list())
        for kind in KINDS_OF_POSITION:
            here = kinds == kind
            if not here.any():
                continue
            own = values[here, :, column]  # [position, ablation, measure]
            generator = np.random.default_rng([SEED, 3, token_id, layer, neuron])
            low, high = document_intervals(own, documents[here], generator)
            effect = own.mean(axis=0)  # [ablation, measure]
            others = values[here][:, :, beside].mean(axis=0).transpose(1, 0, 2)  # [control, ablation, measure]
            rare = p_values(effect, others)
            columns = {"p_value": rare.p_value, "p_value_source": rare.source, "times_largest_control": rare.times_largest}
            parts.append(
                _grid(effect=effect, ci_low=low, ci_high=high, **columns).with_columns(
                    token_id=pl.lit(token_id, pl.Int32),
                    layer=pl.lit(layer, pl.Int32),
                    neuron=pl.lit(neuron, pl.Int32),
                    positions=pl.lit(kind),
                    controls=pl.lit(len(beside), pl.Int32),
                    position_count=pl.lit(int(here.sum()), pl.Int32),
                    document_count=pl.lit(len(np.unique(documents[here])), pl.Int32),
                )
            )
    return pl.concat([part.select(parts[0].columns) for part in parts])


def _grid(**columns: np.ndarray) -> pl.DataFrame:
    """One row per ablation and measure from arrays [ablation, measure]; NaN becomes missing."""
    frame = pl.DataFrame(
        {
            "ablation": np.repeat(ABLATIONS, len(MEASURES)).tolist(),
            "measure": list(MEASURES) * len(ABLATIONS),
            **{name: pl.Series(values.reshape(-1).tolist()) for name, values in columns.items()},
        }
    )
    return frame.with_columns(cs.float().fill_nan(None))


def _controls(controls: pl.DataFrame, places: pl.DataFrame, subjects: Subjects, values: np.ndarray) -> pl.DataFrame:
    """Rows of ablation_controls of one token."""
    kinds = places["positions"].to_numpy()
    parts = [_empty(ABLATION_CONTROLS.schema)]
    columns = np.concatenate(
        [subjects.column(layer, [control]) for layer, control in controls.select("layer", "control").iter_rows()] or [np.empty(0)]
    )
    for kind in KINDS_OF_POSITION:
        if not (kinds == kind).any():
            continue
        means = values[kinds == kind].mean(axis=0)[:, columns.astype(int)]  # [ablation, control, measure]
        for ablation, of_ablation in zip(ABLATIONS, means, strict=True):
            measured = {measure: pl.Series(of_ablation[:, place]) for place, measure in enumerate(MEASURES)}
            parts.append(controls.with_columns(positions=pl.lit(kind), ablation=pl.lit(ablation), **measured))
    return pl.concat([part.select(ABLATION_CONTROLS.schema.names()) for part in parts])
