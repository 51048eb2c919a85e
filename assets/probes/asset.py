"""Dagster assets made from the kept positions: sparse probes, and what else a studied neuron does."""

import dagster as dg
import polars as pl

from assets.histograms.histogram_store import read_histograms
from assets.probes.neuron_behaviour import neuron_behaviour
from assets.probes.sparse_probes import sparse_probes
from assets.progress import Progress
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work


def probe_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [
        study_asset(study, "sparse_probes", _sparse_probes, page="index.html"),
        study_asset(study, "neuron_behaviour", _neuron_behaviour, page="index.html"),
    ]


def _sparse_probes(work: Work) -> None:
    texts = dict(work.read("tracked_tokens").select("token_id", "token").iter_rows())
    progress = Progress(work.tell, "sparse probes", "layers of tokens")
    found = sparse_probes(read_histograms(work.fetched("merged_histograms")), texts, progress)
    work.write("sparse_probes", found.probes)
    work.write("probe_neurons", found.neurons)
    single = found.probes.filter((pl.col("kind") == "neurons") & (pl.col("size") == 1))
    work.show(one_neuron={row["token"]: row["average_precision"] for row in single.iter_rows(named=True)})


def _neuron_behaviour(work: Work) -> None:
    studied = work.read("proportion_curves").select("layer", "neuron").unique().sort("layer", "neuron").rows()
    tracked = work.read("tracked_tokens").sort("row")["token_id"].to_list()
    texts = dict(work.read("token_counts").select("token_id", "token").iter_rows())
    found = neuron_behaviour(read_histograms(work.fetched("merged_histograms")), studied, tracked, texts)
    work.write("neuron_bands", found.bands)
    work.write("neuron_band_tokens", found.tokens)
