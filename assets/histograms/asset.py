"""Dagster assets of the histogram stage: activation_bins, activation_histograms, merged_histograms."""

import time
from typing import Any

import dagster as dg
from tqdm import tqdm

from assets.histograms.activation_bins import calibrated_bins, fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.histograms.histogram_store import read_histograms, write_histograms
from assets.histograms.histograms import ActivationBins, Histograms
from assets.histograms.merged_histograms import merge_histograms
from assets.study import FixedBins, Study
from assets.wiring import study_asset
from assets.work import Work

SECONDS_BETWEEN_PROGRESS = 10.0


def histogram_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [
        study_asset(study, "activation_bins", _activation_bins),
        study_asset(study, "activation_histograms", _activation_histograms, page="quality.html"),
        study_asset(study, "merged_histograms", _merged_histograms, page="quality.html"),
    ]


def _activation_bins(work: Work) -> None:
    snapshot, choice = work.inputs["model_snapshot"].summary, work.study.bins
    if isinstance(choice, FixedBins):
        bins = fixed_bins(snapshot["layers"], snapshot["neurons"], choice)
    else:
        windows = work.read("token_windows", work.study.shard_names[0])
        bins = calibrated_bins(work.model(), windows, choice, work.study.batch_positions, count_bos=work.study.count_bos)
    work.write("activation_bins", bins.to_frame())
    work.draft.summary.update(bins=bins.bins, narrowest_width=float(1 / bins.per_unit.max()), widest_width=float(1 / bins.per_unit.min()))


def _activation_histograms(work: Work) -> None:
    study, started = work.study, time.monotonic()
    histograms = count_windows(
        work.model(),
        work.read("token_windows", work.shard),
        ActivationBins.from_frame(work.read("activation_bins")),
        work.read("tracked_tokens").sort("row")["token_id"].to_list(),
        count_bos=study.count_bos,
        examples=study.examples,
        batch_positions=study.batch_positions,
        progress=Progress(work, started),
    )
    counted = time.monotonic() - started
    write_histograms(work.draft.folder, histograms)
    work.draft.summary.update(_summary(histograms), positions_per_second=round(histograms.positions / max(counted, 1e-9), 1))


def _merged_histograms(work: Work) -> None:
    parts = [read_histograms(work.record("activation_histograms", shard)) for shard in work.study.shard_names]
    merge_histograms(parts, work.draft.folder, names=work.study.shard_names)
    work.draft.summary.update(_summary(read_histograms(work.draft.folder)), shards=len(parts))


def _summary(histograms: Histograms) -> dict[str, Any]:
    return {
        "positions": histograms.positions,
        "layers": histograms.layers,
        "neurons_per_layer": histograms.neurons,
        "bins": histograms.bins,
        "tracked_predictions": int(sum(histograms["predictions"][:][token] for token in histograms.token_ids)),
    }


class Progress:
    """Tells the share done, the rate and the time left: a bar at a terminal, a line at most every ten seconds in the log."""

    def __init__(self, work: Work, started: float) -> None:
        self.work, self.started, self.told = work, started, started
        # disable=None: no bar where the output is not a terminal
        self.bar = tqdm(desc=f"shard {work.shard}", unit=" positions", unit_scale=True, leave=False, disable=None)

    def __call__(self, done: int, total: int) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)
        if done >= total:
            self.bar.close()
        now = time.monotonic()
        if now - self.told < SECONDS_BETWEEN_PROGRESS and done < total:
            return
        self.told = now
        rate = done / max(now - self.started, 1e-9)
        self.work.tell(f"shard {self.work.shard}: {done:,} of {total:,} positions ({done / max(total, 1):.0%}), {rate:,.0f} a second, "
                       f"{(total - done) / max(rate, 1e-9):,.0f} s left")  # fmt: skip
