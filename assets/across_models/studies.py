"""Which studies can be compared: those whose outputs are there and are what the study asks for now. Every other one with its reason.

Reads records, never what is inside an output. A record or file that is damaged is no reason to leave a study out: it is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assets.across_models.across_models import COMPARED, TABLES_READ
from assets.freshness import Freshness
from assets.reading import Reading
from assets.reads import reads
from assets.store import Place, Record, Store, StoreError
from assets.study import Study

NOT_MATERIALIZED, STALE, NO_STUDY_FILE = "not materialized", "stale", "no study file"
FACTS = ("commit", "architecture", "layers", "neurons")  # of the model, as the comparison's table of studies shows them
READS = reads(*TABLES_READ, *(f"model_snapshot.{fact}" for fact in (*FACTS, "is_gated")), "merged_histograms.positions")
FIELDS = ("question", "model.id", "corpus.id", "corpus.files")
READ = tuple(dict.fromkeys(read.asset for read in READS))  # the assets


@dataclass(frozen=True)
class Entry:
    """One study that was looked at. `records` holds its outputs by asset, all of READ where `state` is `compared`, else none.

    `reading` is what the comparison may read of the study; None where there is no study file.
    """

    name: str
    reading: Reading | None
    state: str
    reason: str | None
    records: Mapping[str, Record]
    has_report: bool = False


def entries(studies: Sequence[Study], store: Store) -> list[Entry]:
    """The given studies by name, then studies with outputs in the store whose file is not among the given ones.

    Raises StoreError for a record that cannot be read, naming it.
    """
    known = [_entry(study, store) for study in sorted(studies, key=lambda study: study.name)]
    names = {study.name for study in studies}
    reason = "outputs of it are there, but its study file is not among those of this deployment; to compare it: make across STUDIES=path/to/the/file.yaml"
    strangers = [Entry(name, None, NO_STUDY_FILE, reason, {}) for name in _published_studies(store) if name not in names]
    return known + strangers


def _entry(study: Study, store: Store) -> Entry:
    missing = [asset for asset in READ if store.find(Place(study.name, asset)) is None]
    if missing:
        reason = "nothing of it was run" if len(missing) == len(READ) else f"not there yet: {', '.join(missing)}"
        return Entry(study.name, _reading(study, {}), NOT_MATERIALIZED, reason, {})
    freshness = Freshness(study, store)
    try:
        records = {asset: freshness.current(asset) for asset in READ}
    except StoreError as error:
        return Entry(study.name, _reading(study, {}), STALE, str(error), {})
    has_report = store.find(Place(study.name, "report_site")) is not None
    return Entry(study.name, _reading(study, records), COMPARED, None, records, has_report)


def _reading(study: Study, records: Mapping[str, Record]) -> Reading:
    return Reading(study, records, READS, FIELDS, "the comparison of all models")


def _published_studies(store: Store) -> list[str]:
    """Names of the studies that have a model_snapshot in the store."""
    return sorted({place.study for place in store.storage.places() if place.asset == "model_snapshot"})
