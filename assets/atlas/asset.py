"""Dagster asset of the atlas: what the counters and the corpus hold of every neuron, studied or not; or of those that the study asks for."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import polars as pl

from assets.atlas.atlas_examples import atlas_examples, example_places
from assets.atlas.atlas_histograms import atlas_histograms
from assets.atlas.atlas_neighbours import KINDS, atlas_neighbours
from assets.atlas.atlas_neurons import atlas_neurons, held
from assets.atlas.atlas_texts import pieces_around
from assets.atlas.atlas_tokens import atlas_tokens
from assets.atlas.likeness import Neighbours, neighbours
from assets.atlas.neuron_directions import read_directions, written_directions
from assets.atlas.sampled_activations import sampled_activations
from assets.counting.histograms import Histograms
from assets.histograms.histogram_store import read_histograms
from assets.model.loading import model_of
from assets.model.refusals import UnsupportedModelError
from assets.progress import Progress, Tally
from assets.stages import STAGES
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work

WINDOWS_AT_ONCE = 1024  # of the corpus, while passages are looked up


def atlas_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [study_asset(study, "atlas", _atlas)]


def _atlas(work: Work) -> None:
    if work.study.atlas.neurons == "none":
        for table in STAGES["atlas"].tables:
            work.write_in_parts(table, [])
        return
    histograms = read_histograms(work.fetched("merged_histograms"))
    neurons = atlas_neurons(work.study.atlas.holds(histograms.layers * histograms.neurons), work.read("candidates"))
    work.write_in_parts("atlas_histograms", held(atlas_histograms(histograms), neurons))
    _write_examples(work, histograms, neurons)
    texts = dict(work.read("token_counts").select("token_id", "token").iter_rows())
    told = Progress(work.tell, "atlas, tokens", "layers")
    work.write_in_parts("atlas_tokens", held(atlas_tokens(histograms, texts, work.study.min_count, told), neurons))
    found = dict(_neighbours(work, histograms, neurons))
    work.write_in_parts("atlas_neighbours", held(atlas_neighbours(found, histograms.layers, histograms.neurons), neurons))


def _neighbours(work: Work, histograms: Histograms, neurons: pl.DataFrame | None) -> Iterator[tuple[str, Neighbours]]:
    """The neighbours by kind; of a kind only where its vectors are known. One kind's vectors are in memory at a time."""
    model, asked = model_of(work), None
    if neurons is not None:
        asked = neurons.select(pl.col("layer").cast(pl.Int64) * histograms.neurons + pl.col("neuron")).to_series().to_numpy()
    vectors = {
        "together": partial(sampled_activations, histograms),
        "writes": partial(written_directions, model),
        "reads": partial(read_directions, model),
    }
    for kind, of in KINDS.items():
        told = Progress(work.tell, f"atlas, neurons that are alike ({kind})", "pairs")
        try:
            yield kind, neighbours(vectors[kind](), of.told, of.is_centred, model.device.type, told, asked)
        except UnsupportedModelError as error:
            work.tell(f"atlas: no neurons that are alike by what they do ({kind}): {error}")


def _write_examples(work: Work, histograms: Histograms, neurons: pl.DataFrame | None) -> None:
    """The tables atlas_examples and atlas_texts. The text waits in a folder that is gone afterwards."""
    examples, told = work.study.atlas.examples, Progress(work.tell, "atlas, examples", "layers")
    with TemporaryDirectory(dir=work.draft.folder) as folder:
        tally = Tally(Progress(work.tell, "atlas, text around examples", "windows"), 2 * _number_of_windows(work))
        windows = _corpus(work, "token_windows", "token_windows", tally)
        predictions = _corpus(work, "position_predictions", "activation_histograms", tally)
        pieces = pieces_around(example_places(histograms, examples, neurons), windows, predictions, Path(folder))
        work.write_in_parts("atlas_texts", pieces.frames())
        work.write_in_parts("atlas_examples", atlas_examples(histograms, pieces.lengths, examples, neurons, told))


def _number_of_windows(work: Work) -> int:
    shards = (work.scan("token_windows", shard) for shard in work.shards_of("token_windows"))
    return sum(shard.select(pl.len()).collect().item() for shard in shards)


def _corpus(work: Work, table: str, asset: str, tally: Tally) -> Iterator[pl.DataFrame]:
    """A table of all shards, some windows at a time."""
    for shard in work.shards_of(asset):
        for part in work.parts(table, WINDOWS_AT_ONCE, shard):
            yield part
            tally.add(part.height)
