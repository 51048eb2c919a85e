"""What a stage or a check declares to read of other outputs: one short grammar, and what a fingerprint hashes of each read.

    token_counts                    a table; its asset follows from its contract
    model_snapshot.layers           one fact of an asset: a number or text that its record states
    merged_histograms/              all files of an asset
    corpus_documents.*              all files and all facts of an asset
    token_counts.record             how and when an asset was made
    token_windows:first             of the first shard; likewise `same` (the reader's own shard) and `all`

What is not declared cannot be read (assets/reading.py), and what is declared is in the reader's fingerprint: so nothing that an
output depends on can be forgotten. Reads no file.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from assets.contracts import TABLES
from assets.store import Record

Shards = Literal["none", "same", "first", "all"]
Part = Literal["table", "fact", "files", "everything", "record"]

_GRAMMAR = re.compile(r"(?P<asset>[a-z_]+)(?P<part>/|\.\*|\.[a-z_]+)?(:(?P<shards>[a-z]+))?")


@dataclass(frozen=True)
class Read:
    """One thing that is read. `name` is that of the table or fact, "" otherwise; `shards` says of which partitions it is read."""

    asset: str
    part: Part
    name: str = ""
    shards: Shards = "none"

    def __str__(self) -> str:
        part = {"table": "", "fact": f".{self.name}", "files": "/", "everything": ".*", "record": ".record"}[self.part]
        suffix = "" if self.shards == "none" else f":{self.shards}"
        return f"{self.name if self.part == 'table' else self.asset}{part}{suffix}"

    def covers(self, asset: str, part: Part, name: str = "") -> bool:
        """Whether this declaration allows the reading of a table, a fact or whatever else of an asset."""
        if self.asset != asset:
            return False
        return (self.part, self.name) == (part, name) or (self.part == "everything" and part != "record")

    def found_in(self, record: Record) -> Any:
        """What a reader finds there, as plain JSON values: equal values, equal reading."""
        if self.part == "table":
            entry = record.files.get(f"{self.name}.parquet")
            return entry.sha256 if entry else None
        if self.part == "fact":
            return record.facts.get(self.name)
        if self.part == "record":
            return [record.fingerprint, record.created_at, record.seconds, record.content]
        return record.files_content if self.part == "files" else record.content


def reads(*declarations: str) -> tuple[Read, ...]:
    """Declarations as the grammar above writes them. Raises ValueError for one that it does not know."""
    return tuple(_read(declaration) for declaration in declarations)


def _read(declaration: str) -> Read:
    found = _GRAMMAR.fullmatch(declaration)
    shards = (found["shards"] or "none") if found else ""
    if found is None or shards not in get_args(Shards):
        raise ValueError(f"read {declaration!r}: write a table, asset.fact, asset/, asset.* or asset.record, then :same, :first or :all")
    asset, part = found["asset"], found["part"]
    if part is None:
        if asset not in TABLES:
            raise ValueError(
                f"read {declaration!r}: there is no table {asset} in assets/contracts; for all files of an asset write {asset}/"
            )
        return Read(TABLES[asset].asset, "table", asset, shards)  # type: ignore[arg-type]
    whole: dict[str, Part] = {"/": "files", ".*": "everything", ".record": "record"}
    if part in whole:
        return Read(asset, whole[part], "", shards)  # type: ignore[arg-type]
    return Read(asset, "fact", part[1:], shards)  # type: ignore[arg-type]
