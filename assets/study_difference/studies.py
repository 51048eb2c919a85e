"""Which two studies can be compared, and what is read of each: outputs that stand and are what the study asks for now, of models of one shape.

Reads records, never what is inside an output. Everything else is refused, with what to do.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from assets.errors import InputError
from assets.freshness import Freshness
from assets.reading import Reading
from assets.reads import reads
from assets.store import Place, Record, Store
from assets.study import Study
from assets.study_view import EVERY_FIELD

TABLES_READ = ("activation_bins", "congruence_neurons", "token_counts", "contributions", "token_neuron_scores", "proportion_curves")
SHAPE = ("architecture", "layers", "neurons", "is_gated")
# Facts that are told side by side: by asset, those that it states. `refused`: why an asset's tables are empty.
FACTS = {
    "model_snapshot": ("commit", "architecture", "layers", "neurons", "vocabulary", "is_gated", "dtype"),
    "corpus_documents": ("commit", "documents"),
    "merged_histograms": ("positions",),
    "congruence": ("refused",),
    "contributions": ("refused",),
}
READS = reads(*TABLES_READ, "merged_histograms/", *(f"{asset}.{fact}" for asset, facts in FACTS.items() for fact in facts))
READ = tuple(dict.fromkeys(read.asset for read in READS))  # the assets
WHERE = frozenset({"name", "folder"})  # of a study file: where it lies, not what it asks


class DifferenceError(InputError):
    """Two studies that cannot be compared."""


@dataclass(frozen=True)
class Compared:
    """One of the two studies: what may be read of it, its records by asset, and whether it has a report to link to."""

    reading: Reading
    has_report: bool

    @property
    def name(self) -> str:
        """The study's name."""
        return self.reading.whole_study.name

    @property
    def records(self) -> Mapping[str, Record]:
        """Its outputs by asset, all of READ."""
        return self.reading.records

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of its study file, and the facts that its outputs state."""
        fields = self.reading.study.model_dump(mode="json", exclude=set(WHERE))
        stated: dict[str, dict[str, Any]] = {}
        for asset, facts in FACTS.items():
            for fact in facts:
                with suppress(KeyError):  # a refusal is stated only where there is one
                    stated.setdefault(asset, {})[fact] = self.reading.fact(asset, fact)
        return {**fields, **stated}


def compared_studies(one: Study, other: Study, store: Store) -> tuple[Compared, Compared]:
    """Both studies. Raises DifferenceError where they cannot be compared, StoreError for an output that is stale or cannot be read."""
    if one.name == other.name:
        raise DifferenceError(f"two studies are compared; given {one.name} twice. Name another study, or copy {one.name}.yaml under another name "
                              "and run it, to compare a study with itself")  # fmt: skip
    ours, theirs = _compared(one, store), _compared(other, store)
    for fact in SHAPE:
        found = [compared.reading.fact("model_snapshot", fact) for compared in (ours, theirs)]
        if found[0] != found[1]:
            raise DifferenceError(
                f"{one.name} and {other.name}: {fact} is {found[0]} of one model and {found[1]} of the other; two studies are compared neuron "
                f"by neuron, so both models need the same {', '.join(SHAPE)}. To set different models side by side: make across"
            )
    return ours, theirs


def _compared(study: Study, store: Store) -> Compared:
    missing = [asset for asset in READ if store.find(Place(study.name, asset)) is None]
    if missing:
        what = "nothing of it was run" if len(missing) == len(READ) else f"not there yet: {', '.join(missing)}"
        raise DifferenceError(f"{study.name}: {what}; run it first: make study STUDY={study.name}, or the path of its file")
    freshness = Freshness(study, store)
    records = {asset: freshness.current(asset) for asset in READ}
    has_report = store.find(Place(study.name, "report_site")) is not None
    return Compared(Reading(study, records, READS, (EVERY_FIELD,), "the difference of two studies"), has_report)
