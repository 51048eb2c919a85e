"""Dagster asset of the atlas: what the counters and the corpus hold of every neuron, studied or not."""

import itertools
from collections.abc import Iterator

import dagster as dg
import polars as pl

from assets.atlas.atlas_examples import atlas_examples, example_places
from assets.atlas.atlas_histograms import atlas_histograms
from assets.atlas.atlas_tokens import atlas_tokens
from assets.atlas.passages import passages_around
from assets.histograms.histogram_store import read_histograms
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work

TABLES = ("atlas_histograms", "atlas_examples", "atlas_tokens")
WINDOWS_AT_ONCE = 1024  # of the corpus, while passages are looked up


def atlas_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [study_asset(study, "atlas", _atlas)]


def _atlas(work: Work) -> None:
    if work.study.atlas.neurons == "none":
        for table in TABLES:
            work.write_in_parts(table, [])
        return
    histograms, examples = read_histograms(work.folder("merged_histograms")), work.study.atlas.examples
    windows, predictions = _corpus(work, "token_windows", "token_windows"), _corpus(work, "position_predictions", "activation_histograms")
    passages = passages_around(example_places(histograms, examples), windows, predictions)
    texts = dict(work.read("token_counts").select("token_id", "token").iter_rows())
    work.write_in_parts("atlas_histograms", atlas_histograms(histograms))
    work.write_in_parts("atlas_examples", atlas_examples(histograms, passages, examples))
    work.write_in_parts("atlas_tokens", atlas_tokens(histograms, texts, work.study.min_count))


def _corpus(work: Work, table: str, asset: str) -> Iterator[pl.DataFrame]:
    """A table of all shards, some windows at a time."""
    return itertools.chain.from_iterable(work.parts(table, WINDOWS_AT_ONCE, shard) for shard in work.shards_of(asset))
