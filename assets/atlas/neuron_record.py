"""The record of a neuron: all that the tables of a study hold of it, as plain values.

Holds how rows become records, and how far they are rounded. The page of a neuron, its JSON and whoever reads the atlas take the same record.
Its keys are the tables' columns; a token is its id, as its text stands in token_counts once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import polars.selectors as cs

from assets.atlas.atlas_texts import Texts
from assets.contracts import TABLES

Records = list[dict[str, Any]]
Tables = Mapping[str, pl.DataFrame | pl.LazyFrame]

DIGITS = 4  # of every number but an example's peak, which stands as it was counted
SHADES = 3  # digits of the largest activation of an example: all others have as many places behind the point
RIGHT = "logits"  # the convention of congruence that reports take as right
FIRST_PATCHED = 100  # of a prompt and a way of patching: of other neurons than these and the studied ones patching is not told
ABLATION, EFFECT = "mean", "log_probability"  # of the ablations and of their measures the ones that are told
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
                                         "activations")),
    _Part("writes", "congruence_neurons", ("end", "rank", "token_id", "congruence"), {"convention": RIGHT}),
    _Part("reads", "congruence_reads", ("end", "rank", "token_id", "congruence")),
    _Part("tokens", "atlas_tokens", _OF_TOKEN, {"by": "predicted"}),
    _Part("current_tokens", "atlas_tokens", _OF_TOKEN, {"by": "current"}),
    _Part("scores", "token_neuron_scores", ("token_id", "auroc", "direction", "separation", "average_precision", "highest_proportion")),
    _Part("screened", "token_neuron_screen", ("token_id", "predictions", "rank", "standardized_difference", "variance_explained")),
    _Part("contributions", "contribution_screen", ("token_id", "predictions", "end", "rank", "contribution")),
    _Part("neighbours", "atlas_neighbours", ("kind", "end", "rank", "other_layer", "other_neuron", "likeness")),
    _Part("evidence", "evidence_cards", ("token_id", "line", "verdict", "value")),
    _Part("patched", "neuron_patching", ("prompt", "positions", "rank", "improvement")),
    _Part("ablated", "neuron_ablation", ("token_id", "positions", "effect", "ci_low", "ci_high", "q_value"),
          {"ablation": ABLATION, "measure": EFFECT}),
    _Part("prompt_ablated", "prompt_ablation", ("prompt", "positions", "token_id", "before", "after"), {"ablation": ABLATION, "variant": "clean"}),
)  # fmt: skip
TABLES_OF_NEURONS = (
    "atlas_histograms",
    "neuron_statistics",
    "activation_bins",
    *dict.fromkeys(part.table for part in _LISTS),
)  # rows of neurons
TABLES_READ = (*TABLES_OF_NEURONS, "atlas_texts")


def neuron_records(tables: Tables, chosen: pl.Expr | None = None) -> Iterator[Records]:
    """The records of all neurons of atlas_histograms, ascending by layer and neuron, some at a time; their examples without the text.

    `tables` are those of TABLES_OF_NEURONS by name, whole: a place is one among all neurons. One that is absent counts as empty. `chosen`
    says of layer and neuron which are told.
    """
    lists = [part.name for part in _LISTS]
    for frame in neuron_frames(tables, chosen):
        yield [{**row, **{name: row[name] or [] for name in lists}} for row in frame.iter_rows(named=True)]


def neuron_frames(tables: Tables, chosen: pl.Expr | None = None) -> Iterator[pl.DataFrame]:
    """The same by columns: one row a neuron, a record's parts as structs and as lists of structs, null where there is nothing."""
    wanted = _told(tables).items()
    given = {name: (frame if chosen is None else frame.filter(chosen)).collect() for name, frame in wanted}
    neurons = given["atlas_histograms"].select(_PLACE).sort(_PLACE)
    for start in range(0, neurons.height, BLOCK):
        block = neurons.slice(start, BLOCK)
        yield _block(block, {name: frame.join(block, on=_PLACE, how="semi", maintain_order="left") for name, frame in given.items()})


def neuron_record(tables: Tables, layer: int, neuron: int) -> dict[str, Any] | None:
    """The record of one neuron, with the text of its examples; None where the atlas has none of that name.

    `tables` are those of TABLES_READ by name. Raises HistogramError where atlas_texts lacks the text of an example.
    """
    chosen = (pl.col("layer") == layer) & (pl.col("neuron") == neuron)
    texts = Texts.of(_frame(tables, "atlas_texts").collect())
    return next((record for records in neuron_records(tables, chosen) for record in with_text(records, texts)), None)


def with_text(records: Records, texts: Texts) -> Records:
    """The records, each example with its `token_ids` and `prediction_ids`. Raises HistogramError where `texts` lacks those of an example."""
    examples = [row for record in records for row in record["examples"]]
    if not examples:
        return records
    frame = pl.DataFrame(examples, schema_overrides=TABLES["atlas_examples"].schema, infer_schema_length=None)
    around = texts.around(frame).select("token_ids", "prediction_ids").iter_rows(named=True)
    return [{**record, "examples": [{**row, **next(around)} for row in record["examples"]]} for record in records]


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


def _frame(tables: Tables, name: str) -> pl.LazyFrame:
    return tables[name].lazy() if name in tables else TABLES[name].schema.to_frame().lazy()


def _told(tables: Tables) -> dict[str, pl.LazyFrame]:
    """The tables; of patching the rows alone that records tell, with each neuron's place among all of a prompt."""
    given = {name: _frame(tables, name) for name in TABLES_OF_NEURONS}
    rank = pl.col("improvement").rank("min", descending=True).over("prompt", "positions").cast(pl.Int64)
    studied = given["evidence_cards"].select(_PLACE, is_studied=pl.lit(True)).unique()
    patching = given["neuron_patching"].with_columns(rank=rank).join(studied, on=_PLACE, how="left", maintain_order="left")
    return given | {"neuron_patching": patching.filter((pl.col("rank") <= FIRST_PATCHED) | pl.col("is_studied"))}


def _block(neurons: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The frame of a block of neurons; `tables` hold its rows alone."""
    rows = neurons
    rows = _joined(rows, "statistics", _rounded(tables["neuron_statistics"].select(*_PLACE, *_STATISTICS)))
    rows = _joined(rows, "histogram", _histograms(tables))
    for part in _LISTS:
        is_own = pl.all_horizontal(pl.lit(True), *(pl.col(name) == value for name, value in part.where.items()))
        frame = tables[part.table].filter(is_own).select(*_PLACE, *part.columns)
        frame = _rounded_examples(frame) if part.name == "examples" else _rounded(frame)
        listed = frame.group_by(_PLACE, maintain_order=True).agg(pl.struct(part.columns).alias(part.name))
        rows = rows.join(listed, on=_PLACE, how="left", maintain_order="left")
    return rows


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
