"""Domains: the parts that a corpus says it is made of. A document's own word for it, and the table `corpus_domains`.

At most MOST_DOMAINS are told apart, because everything that is counted by domain takes memory for each; the rest is one more. Reads
no file and cuts no text.
"""

from collections.abc import Mapping
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


def domain_name(given: str | None, is_told: bool) -> str:
    """The name of the domain of a document that gives `given`; "" for all where the study names no domains."""
    return "" if not is_told else given if given is not None and given.strip() else NONE_GIVEN


def numbered_domains(documents: Mapping[str, int]) -> tuple[dict[str, int], pl.DataFrame]:
    """The number of each domain by its name, and the table `corpus_domains`, from how many documents each has.

    Domains are numbered by their documents, most first, then by name. All beyond the largest are one more.
    """
    held = pl.DataFrame({"name": list(documents), "documents": list(documents.values())}, schema={"name": pl.String, "documents": pl.Int64})
    largest = held.filter(pl.col("name") != OTHER).sort("documents", "name", descending=[True, False]).head(MOST_DOMAINS)
    rest = held.filter(~pl.col("name").is_in(largest["name"].to_list()))["documents"]
    numbers = {name: number for number, name in enumerate(largest["name"])}
    others = pl.DataFrame({"name": [OTHER], "documents": [rest.sum()]}, schema=held.schema) if rest.len() else held.clear()
    table = pl.concat([largest, others]).with_row_index("domain").with_columns(pl.col("domain").cast(pl.Int32))
    return {name: numbers.get(name, largest.height) for name in documents}, table
