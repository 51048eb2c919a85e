"""The tables `neuron_ablation` and `ablation_controls`: what ablating a neuron does to a token's prediction over the corpus.

For each studied pair of token and neuron: the mean change over positions at which the token is the top prediction and over
partners at which it is not, its interval from drawing documents again, and how rare such a change is among control neurons of
the same layer. Holds what is run, and in which order; the rows are made in ablated_token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from assets.ablation.ablated_positions import ablated_positions, own_positions, windows_of, with_compared
from assets.ablation.ablated_token import ROWS, AblatedToken
from assets.ablation.control_neurons import CONTROLS, control_neurons
from assets.ablation.donors import Donors, Neurons
from assets.ablation.false_discoveries import with_q_values
from assets.ablation.settled_pairs import FIRST_DRAWN
from assets.ablation.visits import Subjects, Visit, visited, with_trials, work_of
from assets.contracts import ABLATION_CONTROLS, NEURON_ABLATION, conform
from assets.counting.position_samples import TOP_PREDICTION
from assets.model.language_model import LanguageModel
from assets.model.quick_products import quick_products
from assets.progress import Tally, Told


@dataclass(frozen=True)
class Ablation:
    """The two tables."""

    effects: pl.DataFrame
    controls: pl.DataFrame


def neuron_ablation(
    model: LanguageModel,
    windows: pl.LazyFrame,
    predictions: pl.LazyFrame,
    sampled: pl.DataFrame,
    pairs: pl.DataFrame,
    neuron_statistics: pl.DataFrame,
    wanted: int,
    donors_of: Callable[[Neurons], Donors],
    controls: int = CONTROLS,
    outcome_of_token: Mapping[int, str] | None = None,
    progress: Told | None = None,
) -> Ablation:
    """Both tables for `pairs` (token_id, layer, neuron), over up to `wanted` positions of each kind per token.

    `windows` is the table token_windows and `predictions` the table position_predictions, all shards; `sampled` the positions that the pass
    sampled of each token, as of position_samples.sampled_positions; `donors_of` gives donors of neurons. `outcome_of_token` says by which
    outcome a token's positions are taken: `top_prediction`, as for every token that it does not name, or `next_token`, for one that is hardly
    ever predicted. Everything drawn is seeded. `wanted` = 0 gives empty tables; so do tokens without positions. `progress` is told, after each
    window, how many positions went through a block, and how many will. Raises ModelError where the shortcut is not what the model
    computes, and ValueError for an outcome that was not sampled.
    """
    pairs = pairs.select("token_id", "layer", "neuron").unique().sort("token_id", "layer", "neuron")
    tokens = pairs["token_id"].unique().to_list()
    outcomes = {token_id: (outcome_of_token or {}).get(token_id, TOP_PREDICTION) for token_id in tokens}
    own = own_positions(sampled, outcomes, wanted)
    if own.is_empty():
        return _tables(model, [])
    held = windows_of(windows, own)
    norms = {layer: output_norms(model, layer) for layer in pairs["layer"].unique().to_list()}
    chosen = control_neurons(pairs, neuron_statistics, norms, controls)
    drawn = donors_of(neurons_of(pairs, chosen))
    return ablate(model, held, ablated_positions(held, predictions, own), pairs, chosen, neuron_statistics, drawn, progress)


@quick_products()
def ablate(
    model: LanguageModel,
    windows: pl.DataFrame,
    places: pl.DataFrame,
    pairs: pl.DataFrame,
    controls: pl.DataFrame,
    neuron_statistics: pl.DataFrame,
    drawn: Donors,
    progress: Told | None = None,
) -> Ablation:
    """Both tables: `places` as of ablated_positions, `pairs` and `controls` as of control_neurons.

    `windows` holds those of the places, `drawn` donors of all the neurons. First the studied neurons at all positions, and with them each
    pair's first controls at those that are compared; then, at these, the other controls of the pairs that are not settled.
    """
    by_token = with_compared(places).partition_by("token_id", as_dict=True)
    tokens = [
        AblatedToken(own, pairs.filter(token_id=token_id), controls.filter(token_id=token_id), drawn)
        for (token_id,), own in sorted(by_token.items())
    ]

    def subjects(pairs: pl.DataFrame, controls: pl.DataFrame) -> Subjects:
        return Subjects.of(model, neurons_of(pairs, controls), neuron_statistics, drawn)

    none = pairs.clear()
    first: list[Visit] = []
    most: list[Visit] = []  # where no pair is settled
    for number, token in enumerate(tokens):
        is_first = pl.col("draw") < FIRST_DRAWN
        alone, beside = (subjects(token.pairs, some) for some in (controls.clear(), token.controls.filter(is_first)))
        first += token.visits(alone, beside, number)
        most += token.visits(None, subjects(none, token.controls.filter(~is_first)), number)
    tally = Tally(progress, work_of(first, model.facts.layers) + work_of(most, model.facts.layers))
    for visit, effects in visited(model, windows, with_trials(first), tally.add):
        tokens[visit.place[0]].add(visit, effects)
    rest = [visit for number, token in enumerate(tokens) for visit in token.visits(None, subjects(none, token.settle()), number)]
    # Less, now that pairs are settled, than was to be feared; where nothing is left, this is the end.
    tally.total = tally.done + work_of(rest, model.facts.layers)
    if most and not rest:
        tally.add(0)
    for visit, effects in visited(model, windows, rest, tally.add):
        tokens[visit.place[0]].add(visit, effects)
    return _tables(model, tokens)


def _tables(model: LanguageModel, tokens: list[AblatedToken]) -> Ablation:
    effects = pl.concat([pl.DataFrame(schema=ROWS), *(token.effect_rows() for token in tokens)])
    texts = pl.col("token_id").map_elements(lambda entry: model.token_texts[entry], return_dtype=pl.String).alias("token")
    controls = pl.concat([pl.DataFrame(schema=ABLATION_CONTROLS.schema), *(token.control_rows() for token in tokens)])
    return Ablation(conform(NEURON_ABLATION, with_q_values(effects.with_columns(texts))), conform(ABLATION_CONTROLS, controls))


def output_norms(model: LanguageModel, layer: int) -> np.ndarray:
    """Float32 [neuron]: length of each neuron's output weights."""
    return model.bridge.blocks[layer].mlp.W_out.detach().float().norm(dim=1).cpu().numpy()


def neurons_of(pairs: pl.DataFrame, controls: pl.DataFrame) -> dict[int, list[int]]:
    """Layer -> its studied neurons and their controls, in ascending order."""
    both = pl.concat([pairs.select("layer", "neuron"), controls.select("layer", neuron="control")])
    by_layer = both.group_by("layer").agg(pl.col("neuron").unique().sort()).sort("layer")
    return {row["layer"]: row["neuron"] for row in by_layer.iter_rows(named=True)}
