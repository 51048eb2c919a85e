"""From published outputs to the outcomes of their suites: which suite judges which asset, and with what beside it.

The promises are in `suites`; this module only reads what they need. Used by the checks in the UI and by data_quality alike, so
that both say the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from assets.contracts import TABLES
from assets.histograms.histogram_store import read_histograms
from assets.quality import suites
from assets.quality.expectations import Outcome
from assets.stages import STAGES
from assets.store import Record
from assets.study import Study

Records = Mapping[str, Record]

# Checks beside the contract of each table, and what each may say: a check that stops the run and one that warns are two in the UI.
OWN_CHECKS: dict[str, tuple[str, ...]] = {
    "model_parity": (suites.PARITY,),
    "corpus_documents": (suites.DOCUMENTS,),
    "activation_histograms": (suites.BIN_COUNTS, suites.SCREEN),
    "merged_histograms": (suites.BIN_COUNTS, suites.SCREEN, suites.MERGE),
    "neuron_statistics": (suites.NEURON_ACTIVITY,),
    "token_neuron_scores": (suites.SCORE_VALUES,),
    "token_neuron_screen": (suites.SCREEN_VALUES,),
    "proportion_curves": (suites.CURVE_VALUES,),
    "embedding_predictions": (suites.EMBEDDING_VALUES,),
    "neuron_contexts": (suites.CONTEXT_VALUES,),
    "activation_patching": (suites.PATCHING_VALUES,),
    "neuron_ablation": (suites.ABLATION_VALUES,),
    "prompt_ablation": (suites.ABLATION_VALUES,),
}
WARN = (
    suites.PARITY, suites.DOCUMENTS, suites.BIN_COUNTS, suites.SCREEN, suites.NEURON_ACTIVITY, suites.SCORE_VALUES, suites.SCREEN_VALUES,
    suites.CURVE_VALUES, suites.ABLATION_VALUES,
)  # fmt: skip
ONLY_WARN = (suites.NEURON_ACTIVITY,)
NEVER_WARN = ("prompt_ablation",)  # its suite only stops the run

# What a suite reads beside the output that it judges.
BESIDE: dict[str, tuple[str, ...]] = {
    "activation_bins": ("model_snapshot",),
    "merged_histograms": ("activation_histograms",),
    "token_counts": ("model_snapshot",),
    "neuron_statistics": ("model_snapshot",),
    "token_neuron_scores": ("model_snapshot", "tracked_tokens"),
    "token_neuron_screen": ("merged_histograms",),
    "proportion_curves": ("merged_histograms",),
    "embedding_predictions": ("model_snapshot", "merged_histograms"),
    "congruence": ("model_snapshot", "tracked_tokens"),
    "activation_patching": ("model_snapshot",),
    "neuron_ablation": ("tracked_tokens",),
}


def checks_of(asset: str) -> list[tuple[str, bool]]:
    """(name, whether a failure stops everything downstream) of every check of an asset."""
    names = [*(suites.contract_check(TABLES[table]) for table in STAGES[asset].tables), *OWN_CHECKS.get(asset, ())]
    blocking = [(name, True) for name in names if name not in ONLY_WARN]
    return blocking + [(warning_name(name), False) for name in names if name in WARN and asset not in NEVER_WARN]


def warning_name(check: str) -> str:
    """Name under which the warnings of a check are shown."""
    return f"{check}_warnings"


def unwarned(name: str) -> str:
    """The check of a name that may be that of its warnings."""
    return name.removesuffix(warning_name(""))


def outcomes_of(study: Study, asset: str, records: Records, shards: Sequence[str]) -> list[Outcome]:
    """Every outcome of one asset. `records` holds its output(s) and those of `BESIDE`; `shards` are looked at if it is partitioned."""
    found: list[Outcome] = []
    labels = [f"{asset}/{shard}" for shard in shards] if STAGES[asset].is_sharded else [asset]
    for label in labels:
        outcomes = _own(study, asset, label, records)
        for table in STAGES[asset].tables:
            frame = pl.read_parquet(records[label].folder / f"{table}.parquet", glob=False)
            outcomes += suites.table_quality(TABLES[table], frame, _grid(study, table, records))
        found += [_naming_shard(outcome, label) for outcome in outcomes]
    return _worst_of_each(found) if len(labels) > 1 else found


def _own(study: Study, asset: str, label: str, records: Records) -> list[Outcome]:
    record = records[label]
    if asset == "model_parity":
        return suites.parity_quality(_frame(record, "model_parity"), suites.PARITY_TOLERANCE[study.model.dtype])
    if asset == "corpus_documents":
        return suites.corpus_quality(record.facts["documents"], record.facts["duplicates"], record.facts["empty"])
    if asset == "activation_histograms":
        histograms = read_histograms(record)
        return suites.histogram_quality(histograms, asset) + suites.screen_quality(histograms, asset)
    if asset == "merged_histograms":
        return _merged(study, record, records)
    if asset == "neuron_statistics":
        return suites.neuron_quality(_frame(record, asset))
    if asset == "token_neuron_scores":
        return suites.score_quality(_frame(record, asset))
    if asset == "token_neuron_screen":
        merged = records["merged_histograms"].facts
        left_out = (record.facts["positions_left_out"] if record.facts["is_on"] else 0, merged["positions"])
        return suites.screen_table_quality(_frame(record, asset), study.min_count, left_out)
    if asset == "proportion_curves":
        return suites.curve_quality(_frame(record, asset), records["merged_histograms"].facts["positions"])
    return _of_prompts_and_neurons(study, asset, record, records)


def _of_prompts_and_neurons(study: Study, asset: str, record: Record, records: Records) -> list[Outcome]:
    if asset == "embedding_predictions":
        return suites.embedding_curve_quality(_frame(record, "embedding_curves"), records["merged_histograms"].facts["positions"])
    if asset == "neuron_contexts":
        return suites.context_quality(_frame(record, asset))
    if asset == "activation_patching":
        return suites.patching_quality(_frame(record, asset), records["model_snapshot"].facts["layers"])
    if asset == "neuron_ablation":
        tracked = _frame(records["tracked_tokens"], "tracked_tokens").height
        return suites.ablation_quality(_frame(record, asset), _frame(record, "ablation_controls"), tracked, study.ablation_positions)
    if asset == "prompt_ablation":
        return suites.prompt_ablation_quality(_frame(record, asset))
    return []


def _merged(study: Study, record: Record, records: Records) -> list[Outcome]:
    histograms = read_histograms(record.folder)
    merged = record.facts["shards"]
    positions = [records[f"activation_histograms/{shard}"].facts["positions"] for shard in merged]
    counters = suites.histogram_quality(histograms) + suites.screen_quality(histograms)
    return counters + suites.merge_quality(study.shard_names, merged, positions, histograms)


def _frame(record: Record, table: str) -> pl.DataFrame:
    return pl.read_parquet(record.folder / f"{table}.parquet", glob=False)


def _grid(study: Study, table: str, records: Records) -> dict[str, Sequence[int | str]] | None:
    """The values whose every combination the table must hold, for tables that are whole grids."""
    if "model_snapshot" not in records:
        return None
    facts: Mapping[str, Any] = records["model_snapshot"].facts
    neurons: dict[str, Sequence[int | str]] = {"layer": range(facts["layers"]), "neuron": range(facts["neurons"])}
    both: dict[str, Sequence[int | str]] = {"convention": ["published", "logits"], "side": ["output", "input"]}
    if table in ("neuron_statistics", "activation_bins"):
        return neurons
    if table == "token_counts" or (table == "embedding_predictions" and study.embedding_predictions):
        return {"token_id": range(facts["vocabulary"])}
    if table in ("token_neuron_scores", "congruence_tracked_tokens"):
        tokens = {"token_id": _frame(records["tracked_tokens"], "tracked_tokens")["token_id"].to_list()}
        return {**tokens, **neurons} if table == "token_neuron_scores" else {**both, **tokens, **neurons}
    if table == "congruence_neurons_of_interest" and study.neurons:
        return {**both, "token_id": range(facts["vocabulary"])}
    return None


def _naming_shard(outcome: Outcome, label: str) -> Outcome:
    """A failure in one of several shards says which."""
    shard = label.partition("/")[2]
    return outcome if outcome.passed or not shard else replace(outcome, observed=f"shard {shard}: {outcome.observed}")


def _worst_of_each(outcomes: list[Outcome]) -> list[Outcome]:
    """One outcome per expectation over all shards: the first that failed, or the first of all."""
    kept: dict[tuple[str, str, str, str], Outcome] = {}
    for outcome in outcomes:
        key = (outcome.asset, outcome.check, outcome.expectation, outcome.severity)
        if key not in kept or (kept[key].passed and not outcome.passed):
            kept[key] = outcome
    return list(kept.values())
