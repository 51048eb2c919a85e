"""The part of a token's page that says how much one neuron tells, and how much a few, a layer and the residual stream; and the part of a
neuron's page that says what else it does. Words and rows alone: the numbers are those of the probes and bands.
"""

from typing import Any

import polars as pl

from assets.probes.kept_cases import LEAST_CASES
from assets.probes.neuron_behaviour import BANDS, BETWEEN, HIGH, LOW, TOKENS
from assets.probes.sparse_probes import FREQUENCY, LAYER, NEURONS, RESIDUAL
from reports.numbers import GROUP, count, fixed, percent, plural
from reports.outcome import told_by
from reports.report_data import ReportData

COMPARED = 8  # neurons that the sentence sets beside one
_KEY = ["layer", "neuron", "end", "band"]


def probes_of(data: ReportData, token_id: int) -> list[dict[str, Any]]:
    """For each outcome, the one that leads first: words, a sentence, and one row a probe; none without kept positions or of a group."""
    own = data.table("sparse_probes").filter(token_id=token_id)
    members = data.table("probe_neurons").filter(token_id=token_id)
    outcomes = sorted(own["outcome"].unique(), key=lambda outcome: (outcome != data.leading[token_id], outcome != "top_prediction"))
    return [_of_outcome(own.filter(outcome=outcome), members.filter(outcome=outcome), outcome) for outcome in outcomes]


def _of_outcome(rows: pl.DataFrame, members: pl.DataFrame, outcome: str) -> dict[str, Any]:
    by_probe = {(row["kind"], row["size"]): row for row in rows.iter_rows(named=True)}
    neurons = {
        size: list(part.sort("rank").select("layer", "neuron").iter_rows())
        for (size,), part in members.partition_by("size", as_dict=True).items()
    }
    order = [FREQUENCY, NEURONS, LAYER, RESIDUAL]
    ranked = sorted(by_probe.values(), key=lambda row: (order.index(row["kind"]), row["size"]))
    shown = [{**row, "label": _label(row), "neurons": neurons.get(row["size"], []) if row["kind"] == NEURONS else []} for row in ranked]
    frequency = by_probe[FREQUENCY, 0]
    return {"words": told_by(outcome), "rows": shown if len(shown) > 1 else [], "frequency": frequency, "said": _said(by_probe, neurons)}


def _label(row: dict[str, Any]) -> str:
    if row["kind"] == FREQUENCY:
        return "chance"
    if row["kind"] == LAYER:
        return f"all {count(row['size'])} neurons of layer {row['layer']}"
    if row["kind"] == RESIDUAL:
        return f"the residual stream, {count(row['size'])} numbers"
    return "one neuron" if row["size"] == 1 else plural(row["size"], "neuron")


def _said(by_probe: dict[tuple[str, int], dict[str, Any]], neurons: dict[int, list[tuple[int, int]]]) -> str:
    """What the probes come to, or why there are none."""
    one, frequency = by_probe.get((NEURONS, 1)), by_probe[FREQUENCY, 0]
    if one is None:
        least = min(frequency["discovery_cases"], frequency["telling_cases"])
        return (
            f"Too few of its positions were kept: {plural(least, 'case')} in one half of the documents, {LEAST_CASES} are needed in each. "
            "Nothing is said of it."
        )
    named = "".join(f" (L{layer} N{neuron})" for layer, neuron in neurons.get(1, []))
    few = max(size for kind, size in by_probe if kind == NEURONS and size <= COMPARED)
    parts = [f"One neuron{named} alone reaches an average precision of {fixed(one['average_precision'], 2)}"]
    if few > 1:
        parts[0] += f" where {plural(few, 'neuron')} reach {fixed(by_probe[NEURONS, few]['average_precision'], 2)}"
    beside = [(LAYER, "the whole layer"), (RESIDUAL, "the residual stream")]
    told = [
        f"{words} {fixed(row['average_precision'], 2)}" for kind, words in beside for (found, _), row in by_probe.items() if found == kind
    ]
    return f"{parts[0]}; {', '.join([*told, 'chance ' + fixed(frequency['average_precision'], 2)])}."


def behaviour_of(data: ReportData, neuron: tuple[int, int]) -> dict[str, Any] | None:
    """Bands of the neuron's activation from the highest to the lowest, each with its tokens, and sentences; None without kept positions."""
    here = (pl.col("layer") == neuron[0]) & (pl.col("neuron") == neuron[1])
    bands, tokens = data.table("neuron_bands").filter(here), data.table("neuron_band_tokens").filter(here)
    by_band = {(row["end"], row["band"]): row for row in bands.iter_rows(named=True)}
    highest, lowest = ([key for key in BANDS if key[0] == end and key in by_band] for end in (HIGH, LOW))
    order = [*highest, *(key for key in BANDS if key[0] == BETWEEN and key in by_band), *lowest[::-1]]
    if not order:
        return None
    rows = [{**by_band[key], "label": _band_label(by_band[key]), "told": _told(tokens.filter(end=key[0], band=key[1]))} for key in order]
    said = [_band_sentence(where, next(row for row in rows if (row["end"], row["band"]) == ends[0]))
            for where, ends in (("highest", highest), ("lowest", lowest)) if ends]  # fmt: skip
    return {"rows": rows, "said": said, "positions": bands["positions"].sum(), "tokens": TOKENS}


def _band_label(row: dict[str, Any]) -> str:
    if row["end"] == BETWEEN:
        return "between"
    way = "highest" if row["end"] == HIGH else "lowest"
    ends = f"{100 * row['to_share']:g}{GROUP}%"
    return f"{way} {ends}" if row["from_share"] == 0 else f"{way}, {100 * row['from_share']:g} to {ends}"


def _told(tokens: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """By outcome: the most frequent tokens, and the share of all tracked ones together."""
    return {
        outcome: {
            "first": of.drop_nulls("rank").filter(pl.col("positions") > 0).sort("rank").to_dicts(),
            "tracked": float(of.filter("is_tracked")["share"].sum()),
        }
        for outcome in ("top_prediction", "next_token")
        for of in (tokens.filter(outcome=outcome),)
    }


def _band_sentence(where: str, row: dict[str, Any]) -> str:
    predicted, following = (row["told"][outcome]["tracked"] for outcome in ("top_prediction", "next_token"))
    return (
        f"At its {where} activations ({plural(row['positions'], 'position')} of {plural(row['documents'], 'document')}), tracked tokens are "
        f"{percent(predicted)} of what is predicted and {percent(following)} of what comes next."
    )
