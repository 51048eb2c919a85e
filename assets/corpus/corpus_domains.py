"""Domains: the parts that a corpus says it is made of. A document's own word for it, and the table `corpus_domains`.

At most MOST_DOMAINS are told apart, because everything that is counted by domain takes memory for each; the rest is one more. Reads
no file and cuts no text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

MOST_DOMAINS = 6
OTHER = "other"  # all domains beyond the largest; a domain of that very name is one of them
NONE_GIVEN = "none given"  # documents whose row leaves the column empty


class DomainError(ValueError):
    """A row whose domain is no text. The message says what the row holds; whoever knows where it stands adds that."""


def domain_of(row: Mapping[str, Any], column: str) -> str | None:
    """The domain that a row gives, None if it gives none. Dots of `column` reach nested fields, unless a column has them in its name.

    Raises DomainError for what is no text.
    """
    value: Any = row
    for field in (column,) if column in row else column.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise DomainError(
                f"{field!r} is looked for in {type(value).__name__}, which has no fields; name a field that has the domain as text"
            )
        value = value.get(field)
    if value is not None and not isinstance(value, str):
        raise DomainError(f"it holds {type(value).__name__}, not text; write the domain as text, or name a field that has it so")
    return value


def numbered_domains(given: Sequence[str | None], is_told: bool) -> tuple[pl.Series, pl.DataFrame]:
    """The domain of each document, Int32 [document], and the table `corpus_domains`, from what each document gives.

    Domains are numbered by their documents, most first, then by name. `is_told` is whether the study names domains at all: without,
    all documents are of the one domain 0, whose name is "".
    """
    names = pl.Series("name", [_told(name) if is_told else "" for name in given], dtype=pl.String)
    counted = names.to_frame().group_by("name").agg(pl.len().alias("documents"))
    largest = counted.filter(pl.col("name") != OTHER).sort("documents", "name", descending=[True, False]).head(MOST_DOMAINS)
    kept = [*largest["name"], OTHER]
    numbers = names.replace_strict(kept, range(len(kept)), default=len(largest), return_dtype=pl.Int32).alias("domain")
    held = pl.DataFrame({"domain": range(len(kept)), "name": kept}, schema={"domain": pl.Int32, "name": pl.String})
    table = held.join(numbers.to_frame().group_by("domain").agg(pl.len().alias("documents")), on="domain", maintain_order="left")
    return numbers, table


def _told(name: str | None) -> str:
    return name if name is not None and name.strip() else NONE_GIVEN
