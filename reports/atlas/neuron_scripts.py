"""Scripts of some tens of neurons each: their records by columns, so that numbers of one kind stand together and pack well.

An example's text is not in them: they say in which piece of text_scripts it begins. Holds the shape of a file, which static/atlas.js takes
apart again; what a record says is in assets/atlas/neuron_record.py.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from assets.atlas.atlas_texts import KEY, piece_of
from assets.atlas.neuron_record import SHADES
from assets.counting.histograms import HistogramError
from reports.atlas.scripts import packed_rows, write_scripts

NEURONS_PER_FILE = 32  # of some kilobytes each: a file is read within milliseconds
SINGLE = ("statistics", "histogram")  # one row a neuron, or none
LISTS = (
    "examples", "writes", "reads", "tokens", "current_tokens", "scores", "screened", "contributions", "neighbours", "evidence", "patched", "ablated",
    "prompt_ablated",
)  # fmt: skip


def write_neurons(site: Path, frames: Iterable[pl.DataFrame], neurons: int, texts: pl.DataFrame) -> Iterator[str]:
    """Write the records, `frames` as of neuron_frames, as neurons-0000.js and so on; gives each file. `neurons`: in a layer; `texts`: the
    table atlas_texts."""
    whole_files = _in_whole_files((with_pieces(frame, texts) for frame in frames), neurons)
    return write_scripts(site, ((f"neurons-{file:04d}", content) for held in whole_files for file, content in written(held)))


def _in_whole_files(frames: Iterable[pl.DataFrame], neurons: int) -> Iterator[pl.DataFrame]:
    """The rows of some files at a time, the number of each row's in the column `file`; a file may begin in one frame and end in the next."""
    begun = pl.DataFrame()
    for frame in frames:
        numbered = frame.with_columns(file=(pl.col("layer").cast(pl.Int64) * neurons + pl.col("neuron")) // NEURONS_PER_FILE)
        held = pl.concat([part for part in (begun, numbered) if part.height])
        is_begun = pl.col("file") == pl.col("file").last()
        begun = held.filter(is_begun)
        if begun.height < held.height:
            yield held.filter(~is_begun)
    if begun.height:
        yield begun


def written(held: pl.DataFrame) -> list[tuple[int, bytes]]:
    """Of each file its number and its JSON: `neurons`, layer and neuron of each; by part `rows`, how many each neuron has, and `columns`, the
    values of all, one neuron behind another. `held`: rows as of with_pieces and their `file`.

    Raises ValueError for a number that JSON does not have.
    """
    rows = [pl.col(name).is_not_null().cast(pl.Int64).alias(f"rows {name}") for name in SINGLE]
    rows += [pl.col(name).list.len().fill_null(0).alias(f"rows {name}") for name in LISTS]
    every = [pl.col(name).drop_nulls() for name in SINGLE]
    every += [pl.col(name).drop_nulls().explode(empty_as_null=False, keep_nulls=False) for name in LISTS]
    files = held.group_by("file", maintain_order=True).agg(pl.concat_list("layer", "neuron").alias("neurons"), *rows, *every)
    columns = [pl.struct(_column(name, of) for of in _fields(held.schema[name])).alias(name) for name in (*SINGLE, *LISTS)]
    told = files.select("neurons", rows=pl.struct(pl.col("^rows .*$").name.replace("^rows ", "")), columns=pl.struct(columns))
    return list(zip(files["file"].to_list(), packed_rows(told), strict=True))


def _fields(dtype: pl.DataType) -> list[pl.Field]:
    """What a struct, or each of a list of them, holds."""
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    assert isinstance(inner, pl.Struct)
    return inner.fields


def _column(name: str, of: pl.Field) -> pl.Expr:
    """One column of a list of structs. A float32 is told as the float64 that it is, with all its digits: as other languages read it from the tables."""
    column = pl.col(name).list.eval(pl.element().struct.field(of.name)).alias(of.name)
    return column.cast(pl.List(pl.Float64)) if of.dtype == pl.Float32 else column


def with_pieces(frame: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Rows of neuron_frames, each example with the piece that its text begins in, and with whole numbers for activations, in units of
    10 ** -places. What a piece says, or follows from the example's position, is left out. Raises HistogramError where a piece is not in `texts`."""
    number = texts.select(*KEY[:-1], first_piece=KEY[-1]).with_row_index("piece")
    examples = frame.select("layer", "neuron", "examples").drop_nulls().explode("examples").unnest("examples")
    placed = examples.with_columns(first_piece=piece_of(pl.col("first_position")), places=_places(pl.col("activations"))).join(
        number, on=[*KEY[:-1], "first_piece"], how="left", maintain_order="left"
    )
    if placed["piece"].null_count():
        raise HistogramError(f"atlas: {placed['piece'].null_count()} of {placed.height} examples have no text in atlas_texts; the tables are of two "
                             "runs: materialize the atlas again")  # fmt: skip
    whole = (pl.col("activations") * pl.lit(10.0).pow("places")).list.eval(pl.element().round().cast(pl.Int64))
    told = pl.struct("side", "rank", "position", "activation", whole, "piece", "places")
    lists = placed.group_by("layer", "neuron", maintain_order=True).agg(told.alias("examples"))
    return frame.drop("examples").join(lists, on=["layer", "neuron"], how="left", maintain_order="left")


def _places(activations: pl.Expr) -> pl.Expr:
    """Behind the point, with which no activation of a record loses anything; one more where the largest may have been rounded up to a power of ten."""
    largest = activations.list.eval(pl.element().abs()).list.max()
    places = SHADES - 1 - largest.log10().floor()
    one_more = (largest * pl.lit(10.0).pow(places)).round() == 10 ** (SHADES - 1)
    return pl.when(largest > 0).then(places + one_more).otherwise(0).clip(0).cast(pl.Int64)
