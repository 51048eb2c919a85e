"""A check, declared once: its name, what it promises, what it reads, how violations are counted, and the sentences that judge them.

Whether it can stop a run, or warn, or both, follows from the severities of its sentences. The declarations stand in `checks`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from assets.freshness import found_in, hash_of, values_of
from assets.quality.expectations import Expectation, Outcome, judge
from assets.reading import Reading
from assets.reads import Read, reads
from assets.store import Record
from assets.study import Study

Frames = Mapping[str, pl.DataFrame]
Count = Callable[[Reading, str | None], Frames]  # from what is read, of one shard where the asset has shards

WARNINGS = "_warnings"
REMEMBERED = 4096  # times that a check was made: some 200 of a study, and of each shard some 10 more

_known: dict[str, tuple[Outcome, ...]] = {}


@dataclass(frozen=True)
class Check:
    """What must hold of an asset's output. `sentences` are given by the frame of `count` that they judge.

    A frame that `count` leaves out is not judged: what it would count does not exist in that study. `needs` and `fields` are all that
    `count` can read: other outputs as assets/reads.py writes them, and the study's fields as dotted paths.
    """

    name: str
    asset: str
    promise: str
    sentences: Mapping[str, Sequence[Expectation]]
    needs: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    count: Count = lambda reading, shard: {}

    @property
    def reads(self) -> tuple[Read, ...]:
        """What it reads, as declarations."""
        return reads(*self.needs)

    @property
    def shown(self) -> list[tuple[str, bool]]:
        """(name, whether its failure stops everything downstream): a check that can do both is two in the UI."""
        severities = {sentence.severity for group in self.sentences.values() for sentence in group}
        return [(name, blocks) for name, severity, blocks in self._halves() if severity in severities]

    def promise_of(self, blocking: bool) -> str:
        """What it promises, and what its failure does: two sentences."""
        return f"{self.promise} {'If it fails, nothing downstream is made.' if blocking else 'If it fails, it warns and nothing stops.'}"

    def shown_as(self, outcome: Outcome) -> str:
        """The name under which an outcome of this check is shown."""
        return next(name for name, severity, _ in self._halves() if severity == outcome.severity)

    def outcomes(self, study: Study, records: Mapping[str, Record], shard: str | None = None) -> list[Outcome]:
        """Every outcome, of one shard if the asset has shards. Raises UndeclaredError where it reads what it does not declare.

        What it reads says what comes of it, by its SHA-256: data_quality asks again what the checks in the UI have asked in the same
        process, and is not told by counting once more (82 s of a study of SmolLM2-135M).
        """
        key = self._all_that_it_follows_from(study, records, shard)
        if key not in _known:
            reading = Reading(study, records, self.reads, self.fields, f"check {self.name} of {self.asset}")
            found = tuple(self.judged(self.count(reading, shard)))
            while len(_known) >= REMEMBERED:
                del _known[next(iter(_known))]
            _known[key] = found
        return list(_known[key])

    def _all_that_it_follows_from(self, study: Study, records: Mapping[str, Record], shard: str | None) -> str:
        """SHA-256 (hex) over the content of all that it declares to read, in the order of the shards, and the fields of the study it can see."""
        read = {read.asset for read in self.reads}
        content = [(label, found_in(record, self.reads)) for label, record in records.items() if record.place.asset in read]
        fields = values_of(study, [*self.fields, "name", "model.device"])
        return hash_of([self.asset, self.name, shard, content, fields, str(study.folder)])

    def judged(self, frames: Frames) -> list[Outcome]:
        """The outcomes of counted violations. Raises KeyError for a frame that no sentence judges."""
        return [outcome for name, frame in frames.items() for outcome in judge(self.asset, self.name, frame, self.sentences[name])]

    def _halves(self) -> list[tuple[str, str, bool]]:
        return [(self.name, "blocking", True), (f"{self.name}{WARNINGS}", "warning", False)]
