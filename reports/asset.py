"""Dagster asset of the report: report_site, published in one step; the page of a study always shows the last good version."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dagster as dg
import polars as pl

from assets.contracts import TABLES
from assets.errors import InputError
from assets.product import PRODUCT_VERSION
from assets.progress import Progress
from assets.stages import STAGES
from assets.store import Record
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work
from reports.report_data import ReportData
from reports.site import build_site

# What the index says of model and corpus, by the names of the report's facts.
MODEL_FACTS = ("commit", "architecture", "layers", "neurons", "vocabulary", "dtype", "device", "is_gated", "normalization")
CORPUS_FACTS = {
    "corpus_commit": "commit",
    "corpus_fingerprint": "fingerprint",
    "documents": "documents",
    "empty_documents": "empty",
    "duplicate_documents": "duplicates",
}


def report_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [study_asset(study, "report_site", _report_site, page="index.html")]


def _report_site(work: Work) -> None:
    tables = {read.name: work.read(read.name) for read in work.reads if read.part == "table"}
    refuse_failed_checks(work.study, tables["data_quality"])
    data = ReportData(
        study=work.study,
        tables={name: tables[name] for name in TABLES if name in tables},
        provenance=[_lineage(record) for record in _records(work) if record.place.shard is None],
        facts=report_facts(work),
        refused=refusals(work),
    )
    files = build_site(data, work.draft.folder, Progress(work.tell, "report", "pages"))
    work.show(pages=sum(file.endswith(".html") for file in files), files=len(files))


def refuse_failed_checks(study: Study, data_quality: pl.DataFrame) -> None:
    """Raise InputError if a blocking expectation failed: a second look, in case data_quality was not made by this version."""
    failed = data_quality.filter((pl.col("severity") == "blocking") & ~pl.col("passed"))
    if failed.height or data_quality.is_empty():
        raise InputError(f"study {study.name}: data_quality holds {failed.height} blocking failures of {data_quality.height} expectations; "
                         "no report is published, the last good one stays")  # fmt: skip


def refusals(work: Work) -> dict[str, str]:
    """Of each asset whose tables are empty because they mean nothing of this model: why."""
    found = {}
    for stage in STAGES.values():
        if stage.may_be_refused:
            with suppress(KeyError):  # stated only where there is something to say
                found[stage.name] = str(work.fact(stage.name, "refused"))
    return found


def _lineage(record: Record) -> dict[str, Any]:
    """Where one output came from, for the report's provenance table."""
    return {
        "asset": record.place.asset,
        "fingerprint": record.fingerprint,
        "content": record.content,
        "code_version": record.provenance["code_version"],
        "inputs": sorted(record.inputs),
        "seconds": record.seconds,
        "created_at": record.created_at,
        "bytes": record.bytes,
        "files": {name: entry.bytes for name, entry in record.files.items()},
        "provenance": dict(record.provenance),
    }


def _records(work: Work) -> list[Record]:
    """How and when every output was made, in the order of the work."""
    shards: dict[str, Sequence[str | None]] = {
        asset: work.shards_of(asset) or [None] for asset in dict.fromkeys(read.asset for read in work.reads)
    }
    return [work.record(asset, shard) for asset in STAGES if asset in shards for shard in shards[asset]]


def report_facts(work: Work) -> dict[str, Any]:
    """What was run, on what, when and how long: stated by the outputs, and read off their records."""
    study, records = work.study, _records(work)
    passes = [record for record in records if record.place.asset == "activation_histograms"]
    seconds, positions = sum(record.seconds for record in passes), work.fact("merged_histograms", "positions")
    return {
        "model": study.model.id,
        "revision": study.model.revision,
        **{name: work.fact("model_snapshot", name) for name in MODEL_FACTS},
        "corpus": study.corpus.id or ", ".join(study.corpus.files),
        **{shown: work.fact("corpus_documents", name) for shown, name in CORPUS_FACTS.items()},
        "context_length": study.corpus.context_length,
        "positions": positions,
        "shards": study.shards,
        "counting_seconds": seconds,
        "positions_per_second": round(positions / seconds, 1) if seconds else None,
        "seconds": round(sum(record.seconds for record in records), 1),
        "bytes": sum(record.bytes for record in records),
        "finished_at": max(record.created_at for record in records),
        "windows": sum(work.fact("token_windows", "windows", shard) for shard in work.shards_of("token_windows")),
        "version": PRODUCT_VERSION,
        **{name: _made_with(passes, name) for name in ("torch", "transformer_lens")},
    }


def _made_with(passes: list[Record], library: str) -> str:
    """The version, or versions, that the shards were counted with."""
    return ", ".join(sorted({str(record.provenance[library]) for record in passes}))
