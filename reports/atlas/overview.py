"""One number of each kind for every neuron, by columns: what the map draws and filters.

Holds which numbers these are and how they are packed. Every number comes from a table; a size is the same whichever sign a gated neuron has.
"""

from pathlib import Path

import numpy as np
import polars as pl

from assets.atlas.neuron_record import RIGHT
from reports.atlas.scripts import write_script
from reports.report_data import ReportData

_PLACE = ["layer", "neuron"]
_KEPT_BITS = np.uint32(0xFFFFF000)  # eleven of a float32's twenty-three bits behind the point: three digits; zeros are packed away
# Column, what a reader is told, and whether it is drawn on a scale of powers of ten.
COLUMNS = (
    ("mean", "Mean", False),
    ("deviation", "Standard deviation", True),
    ("skewness", "Skewness", False),
    ("kurtosis", "Kurtosis", True),
    ("minimum", "Minimum", False),
    ("maximum", "Maximum", False),
    ("share_above_zero", "Share above zero", False),
    ("separation", "Best separation of a tracked token", False),
    ("auroc", "AUROC of that token", False),
    ("difference", "Largest difference where a token is predicted", True),
    ("contribution", "Largest contribution to a token", True),
    ("congruence", "Largest congruence with a token", True),
)


def overview(data: ReportData, layers: int, neurons: int) -> dict[str, np.ndarray]:
    """By column float32 [layer x neuron], NaN where there is no number."""
    every = pl.DataFrame({"number": np.arange(layers * neurons)}).select(
        (pl.col("number") // neurons).cast(pl.Int32).alias("layer"), (pl.col("number") % neurons).cast(pl.Int32).alias("neuron")
    )
    statistics = data.table("neuron_statistics").with_columns(deviation=pl.col("variance").sqrt())
    frames = [
        statistics.select(*_PLACE, "mean", "deviation", "skewness", "kurtosis", "minimum", "maximum", "share_above_zero"),
        _best_scores(data.table("token_neuron_scores")),
        _largest(data.table("atlas_tokens").filter(by="predicted"), "standardized_difference", "difference"),
        _largest(data.table("contribution_screen"), "contribution", "contribution"),
        _largest(data.table("congruence_neurons").filter(convention=RIGHT), "congruence", "congruence"),
    ]
    for frame in frames:
        every = every.join(frame, on=_PLACE, how="left", maintain_order="left")
    return {name: every[name].cast(pl.Float32).fill_null(float("nan")).to_numpy() for name, _, _ in COLUMNS}


def write_overview(site: Path, columns: dict[str, np.ndarray]) -> str:
    """Write overview.js: the columns one behind the other, little-endian float32; returns the file."""
    values = np.stack([columns[name] for name, _, _ in COLUMNS])  # [column, neuron]
    bits = np.ascontiguousarray(values.astype("<f4")).view("<u4")
    bits = np.where(np.isnan(values), bits, bits & _KEPT_BITS)
    return write_script(site, "overview", np.ascontiguousarray(bits).tobytes())


def _best_scores(scores: pl.DataFrame) -> pl.DataFrame:
    """Of each neuron the separation and the AUROC of the tracked token that it separates best; below one half it is read downwards."""
    known = scores.drop_nulls("separation").sort(*_PLACE, "separation", "token_id", descending=[False, False, True, False])
    return known.select(*_PLACE, "separation", "auroc").unique(_PLACE, keep="first", maintain_order=True)


def _largest(rows: pl.DataFrame, column: str, name: str) -> pl.DataFrame:
    """The largest size of a column by neuron."""
    return rows.group_by(_PLACE).agg(pl.col(column).abs().max().alias(name))
