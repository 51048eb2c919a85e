"""The check of each table against its contract: columns, types, keys, missing values, limits, and whether it holds a whole grid."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from assets.contracts import TABLES, Table
from assets.quality import table_violations
from assets.quality.check import Check, Frames
from assets.quality.expectations import equal, none_of, unlike
from assets.reading import Reading
from assets.statistics.half_scores import MEASURES

Axes = Mapping[str, Sequence[int | str]]
ROWS_AT_ONCE = 2**14  # of a table with lists: 67 MB of windows of 1,024 tokens
PROMISE = "Columns, types, keys, missing values and limits are those of the contract."


@dataclass(frozen=True)
class Grid:
    """Values of key columns of which a table must hold every combination. `axes` gives None where the study asks for no grid."""

    axes: Callable[[Reading], Axes | None]
    needs: tuple[str, ...]
    fields: tuple[str, ...] = ()


def _neurons(reading: Reading) -> Axes:
    return {"layer": range(reading.fact("model_snapshot", "layers")), "neuron": range(reading.fact("model_snapshot", "neurons"))}


def _holds_all(reading: Reading) -> bool:
    """Whether the atlas holds every neuron."""
    layers, neurons = _neurons(reading).values()
    return reading.study.atlas.holds(len(layers) * len(neurons)) == "all"


def _vocabulary(reading: Reading) -> Axes:
    return {"token_id": range(reading.fact("model_snapshot", "vocabulary"))}


def _tracked(reading: Reading) -> Axes:
    return {"token_id": reading.raw("tracked_tokens")["token_id"].to_list()}


def _told(reading: Reading) -> Axes:
    """Tracked tokens, and groups of them."""
    return {"token_id": [*reading.raw("tracked_tokens")["token_id"], *reading.raw("token_groups")["token_id"].unique(maintain_order=True)]}


_SIDES: Axes = {"convention": ["published", "logits"], "side": ["output", "input"]}
_SIZES = ("model_snapshot.layers", "model_snapshot.neurons")
_TOLD = ("tracked_tokens", "token_groups")
GRIDS = {
    "activation_bins": Grid(_neurons, _SIZES),
    "neuron_statistics": Grid(_neurons, _SIZES),
    "atlas_histograms": Grid(lambda reading: _neurons(reading) if _holds_all(reading) else None, _SIZES, ("atlas.neurons",)),
    "token_counts": Grid(_vocabulary, ("model_snapshot.vocabulary",)),
    "embedding_predictions": Grid(
        lambda reading: _vocabulary(reading) if reading.study.embedding_predictions else None,
        ("model_snapshot.vocabulary",),
        ("embedding_predictions",),
    ),
    "token_neuron_scores": Grid(lambda reading: {**_told(reading), **_neurons(reading)}, (*_SIZES, *_TOLD)),
    "token_outcomes": Grid(lambda reading: {**_told(reading), "outcome": list(reading.study.outcomes)}, _TOLD, ("outcomes",)),
    "outcome_scores": Grid(
        lambda reading: {"outcome": list(reading.study.further_outcomes), **_told(reading), **_neurons(reading)},
        (*_SIZES, *_TOLD),
        ("outcomes",),
    ),
    "half_scores": Grid(
        lambda reading: {"outcome": list(reading.study.outcomes), **_told(reading), **_neurons(reading)}, (*_SIZES, *_TOLD), ("outcomes",)
    ),
    "half_agreement": Grid(
        lambda reading: {"outcome": list(reading.study.outcomes), **_told(reading), "measure": list(MEASURES)}, _TOLD, ("outcomes",)
    ),
    "congruence_tracked_tokens": Grid(lambda reading: {**_SIDES, **_tracked(reading), **_neurons(reading)}, (*_SIZES, "tracked_tokens")),
    "congruence_neurons_of_interest": Grid(
        lambda reading: {**_SIDES, **_vocabulary(reading)} if reading.study.neurons else None, ("model_snapshot.vocabulary",), ("neurons",)
    ),
}


def contract_check(table: Table, is_sharded: bool = False, grid: Grid | None = None) -> Check:
    """The check of one table; `grid` is what it must hold the whole of."""

    def count(reading: Reading, shard: str | None) -> Frames:
        if any(dtype.is_nested() for dtype in table.schema.dtypes()):  # tables with lists are long: of the corpus, or of all neurons
            parts = reading.raw_parts(table.name, ROWS_AT_ONCE, shard)
            return table_violations.of_contract_in_parts(table, parts, grid.axes(reading) if grid else None)
        return table_violations.of_contract(table, reading.raw(table.name, shard), grid.axes(reading) if grid else None)

    return Check(
        name=f"{table.name}_contract",
        asset=table.asset,
        promise=PROMISE,
        needs=(f"{table.name}:all" if is_sharded else table.name, *(grid.needs if grid else ())),
        fields=grid.fields if grid else (),
        count=count,
        sentences={
            "columns": [
                equal(
                    "columns, their order and their types are those of the contract",
                    "found",
                    "promised",
                    lambda frame: f"{(frame['promised'] != table_violations.ABSENT).sum()} columns",
                    unlike("column"),
                ),
                none_of("nothing is missing or NaN where the contract does not allow it", "missing", "missing values", by=("column",)),
                none_of("every number lies within the limits of its column", "outside", "numbers outside", by=("column",)),
            ],
            "rows": [none_of(f"each {', '.join(table.key)} stands in one row only", "repeated", "rows repeated", of="rows")],
            "grid": [
                none_of(
                    "the grid is complete",
                    "incomplete",
                    "cells missing",
                    of="cells",
                    expected=lambda frame: f"every combination of {frame['grid'][0]}",
                ),
                none_of("no row lies beside the grid", "beside", "rows beside it", of="rows"),
            ],
        },
    )


def contract_checks(tables: Sequence[str], is_sharded: bool) -> list[Check]:
    """The checks of an asset's tables."""
    return [contract_check(TABLES[name], is_sharded, GRIDS.get(name)) for name in tables]
