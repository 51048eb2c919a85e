"""Which neurons go far on which words: an index of the words in the examples, in files by the order of the words.

Holds what counts as the word of an example, and how the index is cut. A word is in the index of a neuron where a token of it has at least
half the activation of the example that it stands in, and the example lies far from the neuron's mean: what merely surrounds it, or is its
everyday, is no reason to find the neuron.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from assets.atlas.atlas_texts import Texts
from reports.atlas.scripts import packed, write_script

MOST_NEURONS = 100  # told of a word, the strongest first
POSTINGS_PER_FILE = 3000
REACH = 4  # tokens of a word that are looked at on either side
EXAMPLES = 50_000  # at a time
FAR, FARTHEST = 2.0, 5.0  # standard deviations from the mean: from where an example counts, and beyond which it counts no more
_WORD = re.compile(r"\w+")
_FOUND = {"word": pl.String, "example": pl.UInt32}
Entry = list[Any]  # word, neurons in all, then [number of the neuron, is lowest, examples, standard deviations from the mean] of the first


def write_words(site: Path, index: Sequence[Entry]) -> tuple[list[str], list[str]]:
    """Write words-0000.js and so on; returns the files, and the first word of each."""
    files: list[str] = []
    firsts: list[str] = []
    for held in _cut(index):
        files.append(write_script(site, f"words-{len(files):04d}", packed(held)))
        firsts.append(held[0][0])
    return files, firsts


def word_index(examples: pl.DataFrame, around: Texts, statistics: pl.DataFrame, texts: Mapping[int, str], neurons: int) -> list[Entry]:
    """The words of atlas_examples, in the order in which a browser compares strings. `around` is atlas_texts, `texts` of every token its
    own, `neurons` how many a layer has.

    A neuron comes before others by the sum, over its examples with the word, of how many standard deviations each lies from its mean, at most
    FARTHEST each: several examples say more than one extreme.
    """
    blocks = (around.around(block) for block in examples.iter_slices(EXAMPLES))
    parts = [_words_of(block, statistics, texts, neurons) for block in blocks]
    if not parts:
        return []
    by_neuron = (
        pl.concat(parts)
        .group_by("word", "number", "is_lowest")
        .agg(pl.len().alias("examples"), pl.col("distance").max(), pl.col("distance").clip(0, FARTHEST).sum().round(6).alias("strength"))
        .sort("word", "strength", "distance", "number", "is_lowest", descending=[False, True, True, False, False])
    )
    told = by_neuron.group_by("word", maintain_order=True).agg(
        pl.col("number").n_unique().alias("neurons"),
        pl.concat_list(pl.col("number", "is_lowest", "examples", "distance").cast(pl.Float64)).head(MOST_NEURONS).alias("first"),
    )
    entries = [[word, amount, [_plain(row) for row in first]] for word, amount, first in told.iter_rows()]
    return sorted(entries, key=lambda entry: entry[0].encode("utf-16-be"))


def _plain(row: Sequence[float]) -> list[Any]:
    number, is_lowest, examples, distance = row
    return [int(number), int(is_lowest), int(examples), distance]


def _words_of(examples: pl.DataFrame, statistics: pl.DataFrame, texts: Mapping[int, str], neurons: int) -> pl.DataFrame:
    """A row for every word of every example: word, number, is_lowest, distance."""
    spread = pl.when(pl.col("variance") > 0).then(pl.col("variance").sqrt())
    told = (
        examples.select("layer", "neuron", "side", "activation")
        .join(statistics.select("layer", "neuron", "mean", "variance"), on=["layer", "neuron"], how="left", maintain_order="left")
        .select(
            example=pl.int_range(pl.len(), dtype=pl.UInt32),
            number=pl.col("layer").cast(pl.Int64) * neurons + pl.col("neuron"),
            is_lowest=pl.col("side") == "bottom",
            distance=((pl.col("activation") - pl.col("mean")) / spread).abs().fill_nan(None).fill_null(0).round(1),
        )
    )
    found = pl.DataFrame(_strong_words(examples, texts), schema=_FOUND, orient="row").unique(maintain_order=True)
    return found.join(told.filter(pl.col("distance") >= FAR), on="example", how="inner", maintain_order="left").drop("example")


def _strong_words(examples: pl.DataFrame, texts: Mapping[int, str]) -> Iterator[tuple[str, int]]:
    """(word, place of the example) wherever a token of the word has at least half of the example's activation, on the same side of 0."""
    lengths = examples["activations"].list.len().to_numpy()
    ends = lengths.cumsum()
    tokens = examples["token_ids"].explode(empty_as_null=False).to_list()  # of all examples, one behind another
    activations = examples["activations"].explode(empty_as_null=False).to_numpy()
    owner = np.repeat(np.arange(examples.height), lengths)
    peak = examples["activation"].to_numpy()[owner]
    for place in np.flatnonzero((activations * np.sign(peak) >= np.abs(peak) / 2) & (peak != 0)).tolist():
        example = int(owner[place])
        start, end = int(ends[example] - lengths[example]), int(ends[example])
        before = "".join(texts.get(token, "") for token in tokens[max(start, place - REACH) : place])
        own = texts.get(tokens[place], "")
        after = "".join(texts.get(token, "") for token in tokens[place + 1 : min(end, place + 1 + REACH)])
        for word in _WORD.finditer(before + own + after):
            if word.start() < len(before) + len(own) and word.end() > len(before):
                yield word.group().lower(), example


def _cut(index: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The index in runs of words that hold about POSTINGS_PER_FILE neurons together."""
    held: list[Entry] = []
    amount = 0
    for entry in index:
        if held and amount + len(entry[2]) > POSTINGS_PER_FILE:
            yield held
            held, amount = [], 0
        held.append(entry)
        amount += len(entry[2])
    if held:
        yield held
