"""The tables `prompt_set_patching`, `prompt_set_pairs` and `prompt_sets`: what patching each neuron alone restores, over many pairs of prompts.

What a neuron restores on one prompt may be that prompt's alone. Here every pair of a set is patched by neuron_patching itself, at the last
position, and each neuron gets a distribution: median, quartiles, and the share of pairs in which it is among the first ten.

A pair whose logit difference does not change is left out and told: pairs are drawn, so nobody chose it, and the others stand without it. What is
kept is one float32 for each neuron and pair (9 MB for 48 pairs of 46,080 neurons); everything else of a pair goes when it is done.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from assets.contracts import PROMPT_SET_PAIRS, PROMPT_SET_PATCHING, PROMPT_SETS, Table, conform
from assets.model.language_model import LanguageModel
from assets.model.quick_products import quick_products
from assets.progress import Told
from assets.prompts.neuron_patching import neuron_patching
from assets.prompts.prompt_sets import EncodedSet, Ends, SetPair, ends_of, unpatchable

FIRST = 10  # neurons that a pair's share is about
QUARTILES = (0.25, 0.5, 0.75)
BLOCK = 4096  # neurons whose quartiles are taken at once: 17 MB in float64 for 512 pairs


@quick_products()
def prompt_set_patching(
    model: LanguageModel, sets: Sequence[EncodedSet], layers: Sequence[int] | None = None, progress: Told | None = None
) -> dict[str, pl.DataFrame]:
    """The three tables by name: every neuron of `layers` (all if None) over the pairs of each set, the pairs, and the sets.

    Raises PromptError, before anything is patched, for a set of which no pair can be, and what neuron_patching raises.
    """
    ends = [[ends_of(model, pair) for pair in one.pairs] for one in sets]
    for one, of_pairs in zip(sets, ends, strict=True):
        if not any(end.is_defined for end in of_pairs):
            raise unpatchable(one)
    told = _Pairs(progress, sum(end.is_defined for of_pairs in ends for end in of_pairs))
    made = [_patch_set(model, one, of_pairs, layers, told) for one, of_pairs in zip(sets, ends, strict=True)]
    return {
        table.name: _joined(table, [frames[table.name] for frames in made])
        for table in (PROMPT_SETS, PROMPT_SET_PAIRS, PROMPT_SET_PATCHING)
    }


def quartiles(improvements: np.ndarray) -> np.ndarray:
    """Float64 [lower quartile, median and upper quartile; neuron] of float32 [pair, neuron], between neighbouring pairs by proportion."""
    blocks = [improvements[:, start : start + BLOCK].astype(np.float64) for start in range(0, improvements.shape[1], BLOCK)]
    return np.concatenate([np.quantile(block, QUARTILES, axis=0) for block in blocks], axis=1)


def first_ten(improvements: np.ndarray) -> np.ndarray:
    """The neurons that restore most of a pair, most first: at most ten, and none that restores nothing. improvements: float32 [neuron]; of
    equals the earlier one comes first."""
    order = np.argsort(-improvements, kind="stable")[:FIRST]
    return order[improvements[order] > 0]


class _Pairs:
    """Progress of all pairs from that of one: each costs the same, as only the last position is patched."""

    def __init__(self, progress: Told | None, pairs: int) -> None:
        self._progress, self._pairs, self._done = progress, pairs, 0

    def __call__(self, done: int, total: int) -> None:
        """Told by the pair that is being patched."""
        if self._progress:
            self._progress(self._done * total + done, self._pairs * total)
        self._done += done == total


def _patch_set(
    model: LanguageModel, one: EncodedSet, ends: Sequence[Ends], layers: Sequence[int] | None, told: Told
) -> dict[str, pl.DataFrame]:
    """All rows of one set, by table."""
    defined = [pair for pair, end in zip(one.pairs, ends, strict=True) if end.is_defined]
    neurons, improvements = _improvements(model, defined, layers, told)
    answers = {"answer": pl.lit(model.token_texts[one.answer_id]), "wrong_answer": pl.lit(model.token_texts[one.wrong_answer_id])}
    of_set = {"prompt_set": pl.lit(one.given.name)}
    return {
        "prompt_sets": pl.DataFrame([_set_row(one, len(defined))]).with_columns(**answers, **of_set),
        "prompt_set_pairs": _pairs(one, ends, neurons, improvements).with_columns(**answers, **of_set),
        "prompt_set_patching": _distributions(neurons, improvements).with_columns(**of_set),
    }


def _improvements(
    model: LanguageModel, pairs: Sequence[SetPair], layers: Sequence[int] | None, told: Told
) -> tuple[pl.DataFrame, np.ndarray]:
    """Layer and neuron of all that are patched, and float32 [pair, neuron]: the share that each restores alone."""
    neurons, improvements = pl.DataFrame(), np.empty((0, 0), np.float32)
    for row, pair in enumerate(pairs):
        frame = neuron_patching(model, [pair.prompt], layers, progress=told, positions=("last",))
        if row == 0:
            neurons, improvements = frame.select("layer", "neuron"), np.empty((len(pairs), frame.height), np.float32)
        improvements[row] = frame["improvement"].to_numpy()
    return neurons, improvements


def _distributions(neurons: pl.DataFrame, improvements: np.ndarray) -> pl.DataFrame:
    pairs = len(improvements)
    lower, median, upper = quartiles(improvements)
    among = np.bincount(np.concatenate([first_ten(row) for row in improvements]), minlength=neurons.height)
    return neurons.with_columns(
        pairs=pl.lit(pairs),
        median=pl.Series(median),
        lower_quartile=pl.Series(lower),
        upper_quartile=pl.Series(upper),
        first_ten_share=pl.Series(among / pairs),
    )


def _pairs(one: EncodedSet, ends: Sequence[Ends], neurons: pl.DataFrame, improvements: np.ndarray) -> pl.DataFrame:
    """The rows of `prompt_set_pairs`, with the neuron that restores most of each pair that was patched."""
    rows, of_patched = [], iter(improvements)
    for place, (pair, end) in enumerate(zip(one.pairs, ends, strict=True)):
        rows.append(
            {
                "pair": place,
                "filler": pair.fillers[0],
                "corrupt_filler": pair.fillers[1],
                "text": pair.texts[0],
                "corrupt": pair.texts[1],
                "clean_difference": end.clean,
                "corrupt_difference": end.corrupt,
                "prefers_both": end.clean > 0 > end.corrupt,
                "is_patched": end.is_defined,
                **(_leader(neurons, next(of_patched)) if end.is_defined else _NOBODY),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


_NOBODY: Mapping[str, Any] = {"layer": None, "neuron": None, "improvement": None}


def _leader(neurons: pl.DataFrame, improvements: np.ndarray) -> dict[str, Any]:
    """Layer, neuron and improvement of the first of those that restore most."""
    best = int(np.argmax(improvements))
    return {**neurons.row(best, named=True), "improvement": float(improvements[best])}


def _set_row(one: EncodedSet, patched: int) -> dict[str, Any]:
    """The row of `prompt_sets` without its name and the answers' texts."""
    given = one.given
    return {
        "text": given.text,
        "answer_id": one.answer_id,
        "wrong_answer_id": one.wrong_answer_id,
        "fillers": len(given.fillers),
        "corrupt_fillers": len(given.corrupt_fillers),
        "of_equal_length": one.of_equal_length,
        "drawn": len(one.pairs),
        "patched": patched,
    }


def _joined(table: Table, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The rows of all sets as the contract has them; none without sets."""
    return pl.concat([conform(table, frame) for frame in frames]) if frames else conform(table, table.schema.to_frame())
