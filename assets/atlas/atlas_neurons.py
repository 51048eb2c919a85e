"""Which neurons the atlas of a study holds. Computes nothing of them."""

from collections.abc import Iterable, Iterator

import polars as pl

_PLACE = ("layer", "neuron")


def atlas_neurons(holds: str, candidates: pl.DataFrame) -> pl.DataFrame | None:
    """Layer and neuron of those that it holds, each once; None where it holds `all`. `studied` are those of the table candidates."""
    if holds == "all":
        return None
    studied = candidates.select(_PLACE).unique().sort(_PLACE)
    return studied if holds == "studied" else studied.clear()


def held(frames: Iterable[pl.DataFrame], neurons: pl.DataFrame | None) -> Iterator[pl.DataFrame]:
    """The rows of these neurons, of each frame; all where `neurons` is None."""
    return (frame if neurons is None else frame.join(neurons, on=_PLACE, how="semi", maintain_order="left") for frame in frames)
