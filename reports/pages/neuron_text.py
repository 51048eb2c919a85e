"""The part of a neuron's page that shows text: its highest contexts, random ones and the prompts side by side, on one colour scale."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from reports.figures.extent import highest, largest_size, lowest, middle
from reports.numbers import number, plural
from reports.report_data import ReportData

SIDES = ("top", "random", "bottom")


@dataclass(frozen=True)
class _Scale:
    """What full colour stands for, whether position 0 has a colour, and the tokens whose prediction is marked."""

    largest: float
    first_counted: int
    watched: set[int]


def neuron_text(data: ReportData, neuron: tuple[int, int], watched: set[int]) -> dict[str, Any]:
    """Contexts by side, `prompts`, and a `sentence` that compares them. `watched` tokens are marked where they are predicted.

    Each word has the strength of its colour, -100 to 100: its activation over the largest of all text shown. The
    beginning-of-sequence token takes no part in this unless the study counts it: it can be many times as large as all others.
    """
    own = (pl.col("layer") == neuron[0]) & (pl.col("neuron") == neuron[1])
    contexts = data.table("neuron_contexts").filter(own)
    prompts = data.table("prompt_activations").filter(own & pl.col("prompt").is_in(data.prompts))
    first_counted = 0 if data.study.count_bos else 1
    shown = [frame.filter(pl.col("position") >= first_counted)["activation"] for frame in (contexts, prompts)]
    scale = _Scale(max((largest_size(values) for values in shown if len(values)), default=1.0), first_counted, watched)
    return {
        **{side: list(_contexts(contexts.filter(pl.col("side") == side), scale)) for side in SIDES},
        "prompts": [entry for name in data.prompts for entry in _prompts(prompts.filter(pl.col("prompt") == name), scale)],
        "sentence": _sentence(contexts),
    }


def _contexts(frame: pl.DataFrame, scale: _Scale) -> Iterator[dict[str, Any]]:
    """The contexts of one side, best rank first."""
    for (rank,), rows in frame.sort("rank", "position").partition_by("rank", as_dict=True, maintain_order=True).items():
        first = rows.row(0, named=True)
        yield {
            "rank": rank,
            "document": first["document"],
            "peak": first["peak_activation"],
            "position": first["peak_position"],
            "words": _words(rows, first["peak_position"], scale),
            "starts_inside": first["position"] != 0,
        }


def _prompts(frame: pl.DataFrame, scale: _Scale) -> Iterator[dict[str, Any]]:
    """The variants of one prompt, clean first; the frame stands around the highest activation of a counted position."""
    for (variant,), rows in frame.sort("variant", "position").partition_by("variant", as_dict=True, maintain_order=True).items():
        counted = rows.filter(pl.col("position") >= scale.first_counted)
        peak = counted.sort("activation", descending=True, maintain_order=True).row(0, named=True)
        yield {
            "prompt": rows["prompt"][0],
            "variant": variant,
            "peak": peak["activation"],
            "position": peak["position"],
            "words": _words(rows, peak["position"], scale),
            "starts_inside": False,
        }


def _words(rows: pl.DataFrame, peak: int, scale: _Scale) -> list[dict[str, Any]]:
    return [
        {
            "token": row["token"],
            "activation": row["activation"],
            "prediction": row["prediction"],
            "strength": round(100 * row["activation"] / scale.largest) if row["position"] >= scale.first_counted else 0,
            "is_peak": row["position"] == peak,
            "is_watched": row["prediction_id"] in scale.watched,
        }
        for row in rows.iter_rows(named=True)
    ]


def _sentence(contexts: pl.DataFrame) -> str:
    """In plain words: how far the highest activations stand above those of random positions; empty where one of the two is missing."""
    places = contexts.select("side", "rank", "peak_activation").unique()
    top, drawn = (places.filter(pl.col("side") == side)["peak_activation"] for side in ("top", "random"))
    if top.is_empty() or drawn.is_empty():
        return ""
    above = int((drawn >= lowest(top)).sum())
    reaching = "none of them reaches" if not above else f"{above} of them {'reaches' if above == 1 else 'reach'}"
    return (
        f"At {plural(len(drawn), 'position')} drawn at random from the corpus the activation lies between {number(lowest(drawn), 3)} and "
        f"{number(highest(drawn), 3)} (median {number(middle(drawn), 3)}); {reaching} the lowest of the highest "
        f"activations shown, {number(lowest(top), 3)}."
    )
