"""The published tables as claims look things up in them, and the two ways in which a look-up can end without a number.

Holds look-ups shared by several quantities. Tables are read lazily: of the long congruence tables only the rows asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.claims.subject import BEST, Subject


class NotRunError(Exception):
    """The claim could not be put to the test: the study has no such prompt, token, neuron, layer or table row. Says which."""


class NothingFoundError(Exception):
    """The claim was put to the test and what it speaks of does not occur. Says what."""


@dataclass(frozen=True)
class ClaimTables:
    """Tables by contract name. `counts_bos`: the study counts the beginning-of-sequence position; `min_count`: see Study."""

    tables: Mapping[str, pl.LazyFrame]
    counts_bos: bool
    min_count: int

    def rows(self, table: str, **where: Any) -> pl.DataFrame:
        """The rows in which every named column has the given value."""
        return self.tables[table].filter(*(pl.col(name) == value for name, value in where.items())).collect()

    def one(self, table: str, column: str, absent: str, **where: Any) -> float:
        """The number in the only such row. Raises NotRunError with `absent` where there is none."""
        found = self.rows(table, **where)[column].drop_nulls()
        if found.len() != 1:
            raise NotRunError(absent if found.is_empty() else f"{table} holds {found.len()} such rows")
        return float(found[0])

    def token_id(self, subject: Subject) -> int:
        """Vocabulary entry of the subject's token. Raises NotRunError where the model has none, or several that read alike."""
        token = subject.token
        found = self.rows("token_counts", **{"token_id" if isinstance(token, int) else "token": token})["token_id"]
        if found.is_empty():
            raise NotRunError(f"the model's vocabulary has no entry {token!r}")
        if found.len() > 1:
            raise NotRunError(f"entries {found.to_list()} all read {token!r}: give the claim an id")
        return int(found[0])

    def neuron(self, subject: Subject) -> dict[str, int]:
        """Columns layer and neuron of the subject. Raises NotRunError where the model has no such neuron."""
        if not isinstance(subject.neuron, tuple):
            return self._best(subject) if subject.neuron == BEST else self._writer(subject)
        layer, neuron = subject.neuron
        self.require_layer(layer)
        size = self.tables["neuron_statistics"].select(pl.col("neuron").max()).collect().item() + 1
        if neuron >= size:
            raise NotRunError(f"the model has no neuron {neuron}: its layers have neurons 0 to {size - 1}")
        return {"layer": layer, "neuron": neuron}

    def _best(self, subject: Subject) -> dict[str, int]:
        scores = self.rows("token_neuron_scores", token_id=self.token_id(subject)).drop_nulls("separation")
        if scores.is_empty():
            raise NotRunError(f"no neuron could be scored for token {subject.token!r}: it is not tracked or never the top prediction")
        return _first(scores, "separation", descending=True)

    def _writer(self, subject: Subject) -> dict[str, int]:
        """The neuron with the largest contribution to the token; as `writer_against` the one with the least."""
        token_id, is_against = self.token_id(subject), subject.neuron == "writer_against"
        tracked, screened = (self.rows(table, token_id=token_id) for table in ("contributions", "contribution_screen"))
        if tracked.is_empty() and screened.is_empty():
            raise NotRunError(
                f"no neuron's contribution to token {subject.token!r} is known: it is neither tracked nor screened, or predicted nowhere"
            )
        kept = tracked if tracked.height else screened
        found = kept.filter(pl.col("contribution") < 0 if is_against else pl.col("contribution") > 0)
        if found.is_empty():
            raise NothingFoundError(f"no neuron writes {'against ' if is_against else ''}token {subject.token!r}")
        return _first(found, "contribution", descending=not is_against)

    def require_layer(self, layer: int) -> None:
        """Raise NotRunError where the model has no such layer."""
        layers = self.tables["neuron_statistics"].select(pl.col("layer").max()).collect().item() + 1
        if layer >= layers:
            raise NotRunError(f"the model has no layer {layer}: its layers are 0 to {layers - 1}")

    def require_prompt(self, subject: Subject) -> None:
        """Raise NotRunError where the study has no such prompt, or not in this variant."""
        found = self.rows("prompt_predictions", prompt=subject.prompt)
        if found.is_empty():
            raise NotRunError(f"the study has no prompt {subject.prompt}")
        if subject.variant and subject.variant not in found["variant"].to_list():
            raise NotRunError(f"prompt {subject.prompt} has no {subject.variant} text")


def _first(frame: pl.DataFrame, by: str, descending: bool) -> dict[str, int]:
    """Layer and neuron of the first row; ties go to the lower layer, then neuron."""
    first = frame.sort(by, "layer", "neuron", descending=[descending, False, False]).row(0, named=True)
    return {"layer": first["layer"], "neuron": first["neuron"]}
