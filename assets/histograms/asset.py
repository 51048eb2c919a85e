"""Dagster assets of the histogram stage: activation_bins, activation_histograms, merged_histograms."""

import time
from dataclasses import replace
from typing import Any

import dagster as dg
import polars as pl

from assets.counting.histograms import PROBABILITY, PROBABILITY_UNITS, ActivationBins, Histograms
from assets.counting.parts import Part, parts
from assets.counting.position_predictions import PositionPredictions
from assets.histograms.activation_bins import calibrated_bins, fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.histograms.histogram_store import create_group, finish_group, read_histograms, shapes_of, write_part
from assets.histograms.machine_memory import peak_bytes
from assets.histograms.memory_plan import MemoryPlan, PlannedModel
from assets.histograms.merged_histograms import merge_histograms
from assets.histograms.planned_sizes import ITEMSIZE, planned_model, planned_pass, prepacked_bytes, tell_plan, weight_bytes
from assets.histograms.screened_tokens import screened_tokens
from assets.model.freed_memory import hand_back_freed_memory
from assets.model.loading import choose_device, model_folder, model_of
from assets.progress import Progress
from assets.study import FixedBins, Study
from assets.wiring import study_asset
from assets.work import Work


def histogram_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [
        study_asset(study, "activation_bins", _activation_bins),
        study_asset(study, "screened_tokens", _screened_tokens, page="screen.html"),
        study_asset(study, "activation_histograms", _activation_histograms, page="quality.html"),
        study_asset(study, "merged_histograms", _merged_histograms, page="quality.html"),
    ]


def _activation_bins(work: Work) -> None:
    choice = work.study.bins
    if isinstance(choice, FixedBins):
        bins = fixed_bins(work.fact("model_snapshot", "layers"), work.fact("model_snapshot", "neurons"), choice)
    else:
        windows = work.read("token_windows", *work.shards_of("token_windows"))
        told = Progress(work.tell, "calibration", "positions")
        bins = calibrated_bins(model_of(work), windows, choice, work.study.batch_positions, count_bos=work.study.count_bos, progress=told)
    work.write("activation_bins", bins.to_frame())
    work.show(bins=bins.bins, narrowest_width=float(1 / bins.per_unit.max()), widest_width=float(1 / bins.per_unit.min()))


def _screened_tokens(work: Work) -> None:
    study, model = work.study, model_of(work)
    windows = work.read("token_windows", *work.shards_of("token_windows"))
    tracked = work.read("tracked_tokens").sort("row")["token_id"].to_list()
    told = Progress(work.tell, "pilot of the screen", "positions")
    tokens = screened_tokens(model, windows, tracked, study.screen, count_bos=study.count_bos, progress=told)
    work.write("screened_tokens", tokens)
    work.show(screened=tokens.height, vocabulary=model.facts.vocabulary)


def _activation_histograms(work: Work) -> None:
    study, started = work.study, time.monotonic()
    windows, bins = work.read("token_windows", work.shard), ActivationBins.from_frame(work.read("activation_bins"))
    tracked = work.read("tracked_tokens").sort("row")["token_id"].to_list()
    screened = work.read("screened_tokens")["token_id"].sort().to_list()  # not by rank: the same tokens give the same tensors
    domains = work.fact("corpus_documents", "domains")
    plan = shard_plan(work, windows, domains)  # before the model is loaded
    model = model_of(work)
    shapes = shapes_of(
        model.facts,
        bins.bins,
        len(tracked),
        len(screened),
        study.examples,
        study.embedding_predictions,
        study.further_outcomes,
        study.kept_positions,
        domains,
    )
    group = create_group(work.draft.folder, shapes)
    predictions = PositionPredictions()
    shards = work.whole_study.shard_names
    which = f"shard {work.shard}, {shards.index(str(work.shard)) + 1} of {len(shards)}"

    def count_part(part: Part, is_first: bool) -> int:
        """Count and write one part; its counters are freed before the next part's are made. Predictions are the same in every part."""
        histograms = count_windows(
            model,
            windows,
            bins,
            tracked,
            count_bos=study.count_bos,
            examples=study.examples,
            batch_positions=study.batch_positions,
            screened_ids=screened,
            embedding_predictions=study.embedding_predictions,
            outcomes=study.further_outcomes,
            kept_positions=study.kept_positions,
            domains=domains,
            part=part,
            predictions=predictions if is_first else None,
            progress=Progress(work.tell, which, "positions"),
        )
        hand_back_freed_memory()  # what batches took, before the counters are turned into what is stored
        write_part(group, part, histograms)
        return histograms.positions

    counted_parts = parts(model.facts.layers, len(tracked), len(screened), plan.layer_parts, plan.token_parts)
    positions = [count_part(part, place == 0) for place, part in enumerate(counted_parts)]
    counted = time.monotonic() - started
    work.write("position_predictions", predictions.frame())
    finish_group(group, positions[0], tracked)
    work.state(positions=positions[0])
    rate = round(positions[0] / max(counted, 1e-9), 1)
    work.show(**_shown(read_histograms(work.draft.folder)), positions_per_second=rate, **plan.summary(), measured_peak_bytes=peak_bytes())


def shard_plan(work: Work, windows: pl.DataFrame, domains: int) -> MemoryPlan:
    """The plan of one shard's pass, told in one line. Raises HistogramError where the study's memory cannot hold it.

    It reads more than the stage declares: it decides in how many passes is counted, never what.
    """
    snapshot, study = work.records["model_snapshot"].facts, work.whole_study
    folder = model_folder(work)
    sizes = planned_model(folder, study.model)
    facts = {name: snapshot[name] for name in ("layers", "neurons", "vocabulary")}
    if sizes is None:  # a configuration that names its sizes in another way: what loading found, and heads of the usual width
        width = snapshot["model_width"]
        weights = weight_bytes(folder, study.model.dtype)
        prepacked = prepacked_bytes(folder, study.model, snapshot["vocabulary"])
        itemsize = ITEMSIZE[study.model.dtype]
        model = PlannedModel(width=width, heads=-(-width // 64), weights=weights, itemsize=itemsize, prepacked=prepacked, **facts)
    else:
        model = replace(sizes, **facts)
    return tell_plan(
        study,
        model,
        planned_pass(study, model, snapshot["context_length"], windows, domains),
        choose_device(study.model.device),
        work.tell,
        work.shard,
    )


def _merged_histograms(work: Work) -> None:
    shards = work.shards_of("activation_histograms")
    parts = [read_histograms(work.files("activation_histograms", shard)) for shard in shards]
    merge_histograms(parts, work.draft.folder, shards, Progress(work.tell, "merge", "layers"))
    merged = read_histograms(work.draft.folder)
    work.state(positions=merged.positions, shards=shards)
    work.show(**_shown(merged))


def _shown(histograms: Histograms) -> dict[str, Any]:
    tracked = list(histograms.token_ids)
    embedding = {}
    if histograms.counts_embedding_predictions:
        embedding["tracked_predictions_by_the_embedding"] = int(histograms["embedding_predictions"][:][tracked].sum())
    kept = {"kept_positions": int((histograms["kept_document"][:] >= 0).sum())} if histograms.keeps_positions else {}
    told = {f"tracked_{histograms.prediction_kinds[outcome]}": _whole(histograms, outcome) for outcome in histograms.outcomes[1:]}
    return {
        **embedding,
        **told,
        **kept,
        "layers": histograms.layers,
        "neurons_per_layer": histograms.neurons,
        "bins": histograms.bins,
        "tracked_predictions": int(histograms["predictions"][:][tracked].sum()),
        "screened_predictions": int(histograms["screen_count"][:][:-1].sum()),
    }


def _whole(histograms: Histograms, outcome: str) -> float:
    """Positions of all tracked tokens under an outcome; under probability those that are expected."""
    units = int(histograms[histograms.prediction_kinds[outcome]][:][list(histograms.token_ids)].sum())
    return units / PROBABILITY_UNITS if outcome == PROBABILITY else units
