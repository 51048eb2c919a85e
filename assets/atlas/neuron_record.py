"""The record of a neuron: all that the tables of a study hold of it, as plain values.

Holds how rows become records, and how far they are rounded. The page of a neuron, its JSON and whoever reads the atlas take the same record.
Its keys are the tables' columns; a token is its id, as its text stands in token_counts once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import polars.selectors as cs

from assets.contracts import TABLES

Records = list[dict[str, Any]]

DIGITS = 4  # of every number but an example's peak, which stands as it was counted
SHADES = 3  # digits of the largest activation of an example: all others have as many places behind the point
RIGHT = "logits"  # the convention of congruence that reports take as right
BLOCK = 1024  # neurons at a time: their examples are some hundred thousand numbers
_PLACE = ("layer", "neuron")
_STATISTICS = (
    "count", "mean", "variance", "skewness", "kurtosis", "minimum", "maximum", "share_above_zero", "underflow", "overflow", "nan", "is_dead",
)  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """One part of a record: rows of a table, with these of its columns. Where `where` names a column, those alone that have its value."""

    name: str
    table: str
    columns: tuple[str, ...]
    where: Mapping[str, str] = field(default_factory=dict)


_OF_TOKEN = ("end", "rank", "token_id", "positions", "mean_there", "mean_elsewhere", "standardized_difference")
_LISTS = (
    _Part("examples", "atlas_examples", ("side", "rank", "document", "window_in_document", "position", "activation", "first_position",
                                         "token_ids", "activations", "prediction_ids")),
    _Part("writes", "congruence_neurons", ("end", "rank", "token_id", "congruence"), {"convention": RIGHT}),
    _Part("reads", "congruence_reads", ("end", "rank", "token_id", "congruence")),
    _Part("tokens", "atlas_tokens", _OF_TOKEN, {"by": "predicted"}),
    _Part("current_tokens", "atlas_tokens", _OF_TOKEN, {"by": "current"}),
    _Part("scores", "token_neuron_scores", ("token_id", "auroc", "direction", "separation", "average_precision", "highest_proportion")),
    _Part("screened", "token_neuron_screen", ("token_id", "predictions", "rank", "standardized_difference", "variance_explained")),
    _Part("contributions", "contribution_screen", ("token_id", "predictions", "end", "rank", "contribution")),
)  # fmt: skip
TABLES_READ = ("atlas_histograms", "neuron_statistics", "activation_bins", *dict.fromkeys(part.table for part in _LISTS))


def neuron_records(tables: Mapping[str, pl.DataFrame]) -> Iterator[Records]:
    """The records of all neurons of atlas_histograms, ascending by layer and neuron, some at a time.

    `tables` are those of TABLES_READ by name. One that is absent counts as empty.
    """
    given = {name: _frame(tables, name) for name in TABLES_READ}
    neurons = given["atlas_histograms"].select(_PLACE).sort(_PLACE)
    for start in range(0, neurons.height, BLOCK):
        block = neurons.slice(start, BLOCK)
        yield _records(block, {name: frame.join(block, on=_PLACE, how="semi", maintain_order="left") for name, frame in given.items()})


def neuron_record(tables: Mapping[str, pl.DataFrame], layer: int, neuron: int) -> dict[str, Any] | None:
    """The record of one neuron; None where the atlas has none of that name."""
    own = {name: _frame(tables, name).filter(layer=layer, neuron=neuron) for name in TABLES_READ}
    return next((record for records in neuron_records(own) for record in records), None)


def token_ids_in(value: Any, key: str = "") -> Iterator[int]:
    """Every token id in a record: numbers below keys such as token_id and prediction_ids."""
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from token_ids_in(inside, name)
    elif isinstance(value, list):
        for inside in value:
            yield from token_ids_in(inside, key)
    elif isinstance(value, int) and key.endswith(("_id", "_ids")):
        yield value


def _frame(tables: Mapping[str, pl.DataFrame], name: str) -> pl.DataFrame:
    return tables[name] if name in tables else pl.DataFrame(schema=TABLES[name].schema)


def _records(neurons: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> Records:
    """The records of a block of neurons; `tables` hold its rows alone."""
    rows = neurons
    rows = _joined(rows, "statistics", _rounded(tables["neuron_statistics"].select(*_PLACE, *_STATISTICS)))
    rows = _joined(rows, "histogram", _histograms(tables))
    for part in _LISTS:
        is_own = pl.all_horizontal(pl.lit(True), *(pl.col(name) == value for name, value in part.where.items()))
        frame = tables[part.table].filter(is_own).select(*_PLACE, *part.columns)
        frame = _rounded_examples(frame) if part.name == "examples" else _rounded(frame)
        listed = frame.group_by(_PLACE, maintain_order=True).agg(pl.struct(part.columns).alias(part.name))
        rows = rows.join(listed, on=_PLACE, how="left", maintain_order="left")
    lists = [part.name for part in _LISTS]
    return [{**row, **{name: row[name] or [] for name in lists}} for row in rows.iter_rows(named=True)]


def _joined(rows: pl.DataFrame, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with one row of a table, whole, as a mapping; None where the table has none."""
    columns = [column for column in frame.columns if column not in _PLACE]
    return rows.join(frame.select(*_PLACE, pl.struct(columns).alias(name)), on=_PLACE, how="left", maintain_order="left")


def _histograms(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Counts by bin, with where the bins lie; a neuron without bins has None for these."""
    bins = tables["activation_bins"].select(*_PLACE, "per_unit", "first_bin")
    return (
        tables["atlas_histograms"]
        .join(_rounded(bins), on=_PLACE, how="left", maintain_order="left")
        .select(*_PLACE, "per_unit", "first_bin", "counts")
    )


def _rounded(frame: pl.DataFrame) -> pl.DataFrame:
    """Floats with DIGITS significant digits, and None where there is no number: neither NaN nor infinity is JSON."""
    rounded = cs.float().cast(pl.Float64).round_sig_figs(DIGITS)
    return frame.with_columns(pl.when(cs.float() == 0).then(0.0).when(cs.float().is_finite()).then(rounded).name.keep())


def _rounded_examples(frame: pl.DataFrame) -> pl.DataFrame:
    """Peaks to the digits that tell one float32 from the next; what lies around them to the places that the largest needs for SHADES digits.

    What is small beside the largest has no colour, and takes no room either.
    """
    activations = pl.col("activations").cast(pl.List(pl.Float64)).list.eval(pl.when(pl.element().is_finite()).then(pl.element()))
    largest = activations.list.eval(pl.element().abs()).list.max()
    places = pl.when(largest > 0).then(SHADES - 1 - largest.log10().floor()).otherwise(0).fill_null(0).clip(0, 12)
    scale = pl.lit(10.0).pow(places)
    return frame.with_columns(
        activation=pl.when(pl.col("activation").is_finite()).then(pl.col("activation").cast(pl.String).cast(pl.Float64)),
        activations=((activations * scale).list.eval(pl.element().round()) / scale).list.eval(
            pl.when(pl.element() == 0).then(0.0).otherwise(pl.element())  # a small number that is rounded away leaves no sign behind
        ),
    )
