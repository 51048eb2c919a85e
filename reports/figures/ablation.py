"""Figures of ablating one neuron: its effect among those of control neurons, and its direct and mediated parts."""

from collections.abc import Mapping

import polars as pl

from reports.figures.extent import highest, lowest
from reports.figures.figure import SERIES, Figure, Json, View, axis, horizontal, layout, legend_on_top
from reports.numbers import fixed, number, percent, plural, rounded
from reports.text import plot_text, quoted

ABLATIONS = {"zero": "zero", "mean": "mean", "resample": "resample", "negation": "negation<br>(no ablation)"}
POSITIONS = {"predicted": "where predicted", "next_token": "where it follows", "other": "where not"}
SPREAD = 0.62  # of the room of one ablation, over which its controls are spread
GOLDEN = 0.6180339887  # multiples of it, without their whole part, are spread evenly: no random numbers, the same bytes again


def control_figure(effects: pl.DataFrame, controls: pl.DataFrame) -> Figure:
    """Change of the log-probability by ablation: a dot a control neuron, the neuron itself with its interval. One view a token and kind
    of positions. `effects` and `controls` hold the rows of one neuron, of the tables neuron_ablation and ablation_controls."""
    views = []
    for (token_id, token), of_token in _tokens(effects):
        for kind, words in POSITIONS.items():
            own = of_token.filter((pl.col("positions") == kind) & (pl.col("measure") == "log_probability"))
            if own.is_empty():
                continue
            beside = controls.filter((pl.col("token_id") == token_id) & (pl.col("positions") == kind))
            first = own.row(0, named=True)
            views.append(
                View(
                    f"{quoted(token)} {words}",
                    _strip(own, beside),
                    _layout("change of log-probability (nat)"),
                    f"{plural(first['position_count'], 'position')} of {plural(first['document_count'], 'document')}, "
                    f"{plural(first['controls'], 'control neuron')} of the same layer{_where(first)}. {_likeness(beside)}".strip(),
                )
            )
    return Figure(
        name="ablation-controls",
        title="What ablating it changes, among control neurons",
        note="Its activation is replaced at one position at a time. Bars: 95 % intervals from drawing documents again. Negation, as "
        "published, is no ablation: it makes the neuron write the opposite.",
        summary="Change of the token's log-probability when the neuron is ablated, and when each control neuron is.",
        height=420,
        views=tuple(views),
        legend_label="Token and positions",
    )


def _where(row: Mapping[str, int]) -> str:
    """At how many of the positions controls are ablated, where not at all of them."""
    some = row["compared_positions"] < row["position_count"]
    return f", ablated at {row['compared_positions']} of these positions" if some else ""


def _likeness(controls: pl.DataFrame) -> str:
    """How near the controls are to the neuron, in what they were chosen by; empty without controls."""
    if controls.is_empty():
        return ""
    norm, share = (controls.select(pl.col(name).first()).item() for name in ("neuron_output_norm", "neuron_share_above_zero"))
    norms, shares = controls["output_norm"], controls["share_above_zero"]
    return (
        f"Their output norm lies between {number(lowest(norms), 3)} and {number(highest(norms), 3)}, this neuron's is {number(norm, 3)}"
        f"{_beyond(norm, norms)}; they are above zero at {percent(lowest(shares))} to {percent(highest(shares))} of positions, this neuron "
        f"at {percent(share)}{_beyond(share, shares)}."
    )


def _beyond(value: float, controls: pl.Series) -> str:
    """What a reader must know where the layer has no neurons like this one."""
    if value > highest(controls):
        return ", more than any of them"
    return ", less than any of them" if value < lowest(controls) else ""


def parts_figure(effects: pl.DataFrame) -> Figure:
    """Direct and mediated part of the change of the logit by ablation; one view a token and kind of positions."""
    views = []
    for (_, token), of_token in _tokens(effects):
        for kind, words in POSITIONS.items():
            own = of_token.filter(pl.col("positions") == kind)
            if own.height:
                views.append(View(f"{quoted(token)} {words}", _bars(own), {**_layout("change of the logit"), "barmode": "group"}))
    return Figure(
        name="ablation-parts",
        title="Straight to the logit, or through later layers",
        note="Direct: through the final norm to the unembedding, while later layers write what they wrote. Mediated: what they write "
        "differently. The two sum to the whole change of the token's logit.",
        summary="Direct and mediated part of the change of the token's logit, by ablation.",
        height=380,
        views=tuple(views),
        legend_label="Token and positions",
    )


def _tokens(effects: pl.DataFrame) -> list[tuple[tuple[int, str], pl.DataFrame]]:
    parts = effects.partition_by("token_id", "token", as_dict=True, maintain_order=True)
    return [((int(key[0]), str(key[1])), part) for key, part in parts.items()]


def _strip(own: pl.DataFrame, controls: pl.DataFrame) -> tuple[Json, ...]:
    by_ablation: Mapping[str, dict[str, float]] = {row["ablation"]: row for row in own.iter_rows(named=True)}
    dots: Json = {"x": [], "y": [], "customdata": []}
    for place, ablation in enumerate(ABLATIONS):
        rows = controls.filter(pl.col("ablation") == ablation).sort("control")
        dots["x"] += [round(place + SPREAD * ((number * GOLDEN) % 1 - 0.5), 4) for number in range(rows.height)]
        dots["y"] += rounded(rows["log_probability"])
        dots["customdata"] += rows["control"].to_list()
    present = [(place, by_ablation[ablation]) for place, ablation in enumerate(ABLATIONS) if ablation in by_ablation]
    return (
        {
            "type": "scatter",
            "mode": "markers",
            "name": "control neurons",
            **dots,
            "marker": {"size": 5, "color": "$muted", "opacity": 0.45},
            "hovertemplate": "control neuron %{customdata}<br>%{y:.4f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "this neuron",
            "x": [place for place, _ in present],
            "y": rounded(row["effect"] for _, row in present),
            "error_y": _error_bars([row for _, row in present], SERIES[0]),
            "customdata": [
                [plot_text(str(row["ablation"])), number(row["p_value"], 2), number(row["q_value"], 2), fixed(row["compared_effect"], 4)]
                for _, row in present
            ],
            "marker": {"size": 11, "color": SERIES[0], "symbol": "diamond"},
            "hovertemplate": "this neuron, %{customdata[0]}<br>%{y:.4f}, beside controls %{customdata[3]}, "
            "p = %{customdata[1]}, q = %{customdata[2]}<extra></extra>",
        },
    )


def _bars(own: pl.DataFrame) -> tuple[Json, ...]:
    traces = []
    for series, measure in enumerate(("direct", "mediated")):
        rows = {row["ablation"]: row for row in own.filter(pl.col("measure") == measure).iter_rows(named=True)}
        present = [(place, rows[ablation]) for place, ablation in enumerate(ABLATIONS) if ablation in rows]
        traces.append(
            {
                "type": "bar",
                "name": measure,
                "x": [place for place, _ in present],
                "y": rounded(row["effect"] for _, row in present),
                "error_y": _error_bars([row for _, row in present], "$ink"),
                "customdata": [[fixed(row["ci_low"]), fixed(row["ci_high"])] for _, row in present],
                "marker": {"color": SERIES[series]},
                "hovertemplate": f"{measure} %{{y:.4f}}<br>%{{customdata[0]}} to %{{customdata[1]}}<extra></extra>",
            }
        )
    return tuple(traces)


def _error_bars(rows: list[dict[str, float]], color: str) -> Json:
    """Interval ends as plotly takes them, as distances; 0 where there is none."""
    above = [0.0 if row["ci_high"] is None else max(0.0, row["ci_high"] - row["effect"]) for row in rows]
    below = [0.0 if row["ci_low"] is None else max(0.0, row["effect"] - row["ci_low"]) for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": rounded(above),
        "arrayminus": rounded(below),
        "color": color,
        "thickness": 1.5,
        "width": 5,
    }


def _layout(title: str) -> Json:
    places = list(range(len(ABLATIONS)))
    return layout(
        axis("", tickvals=places, ticktext=list(ABLATIONS.values()), range=[-0.5, len(places) - 0.5], showgrid=False),
        axis(title),
        shapes=[horizontal(0, "solid")],
        showlegend=True,
        legend=legend_on_top(),
    )
