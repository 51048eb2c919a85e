"""What the tables say about one token: its best predictor, what that neuron writes, and what patching and ablating it do.

Holds the look-ups that the answer and the token pages share, as one frozen record per token. Words are in `answer`.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.ablation.ablated_positions import OWN_POSITIONS as POSITIONS_OF_OUTCOME
from assets.ablation.replacements import TOLD_ABLATION
from assets.counting.histograms import TOP_PREDICTION
from assets.evidence_cards.evidence_lines import STANDS_OUT
from reports.outcome import Outcome, told_by
from reports.report_data import ReportData

CONVENTIONS = ("logits", "published")  # the model's own effect first
COUNTS = ("occurrences", "predictions", "correct_predictions")
SIDES = {"output": "writes (output)", "input": "reads (input)"}
OWN_POSITIONS = tuple(
    POSITIONS_OF_OUTCOME.values()
)  # of a token: where it is the top prediction or, where that is rare, where it comes next


def congruence_unit(side: str, convention: str) -> str:
    """What a congruence is measured in: only the output weights, by the model's own unembedding, add to a logit."""
    return "logit per unit of activation" if (side, convention) == ("output", "logits") else "dot product"


@dataclass(frozen=True)
class Writing:
    """Congruence of one token under one convention: its most congruent neuron, and where the neuron that answers stands.

    Of a best predictor that is low where the token is predicted, the least congruent come first: low activations of a neuron that
    writes against the token favour it. The sign of a gated neuron is a convention: there neurons are ranked by the size of their
    congruence (`by_size`), that of the best predictor is read in its direction, as if activations were negated where it is low, and
    the first one's is given without its sign.
    """

    convention: str
    top: tuple[int, int]
    top_congruence: float
    congruence: float | None  # of the neuron
    rank: int | None  # of the neuron among all, 1 is first
    neurons: int
    by_size: bool = False

    @property
    def is_against(self) -> bool:
        """Whether a gated best predictor writes against the token in the direction in which it predicts."""
        return self.by_size and self.congruence is not None and self.congruence < 0


@dataclass(frozen=True)
class Patching:
    """One prompt that ends in the token: what patching the best predictor alone restores, and the neuron that restores most."""

    prompt: str
    improvement: float | None  # None if the neuron's layer was not patched
    rank: int | None
    top: tuple[int, int]
    top_improvement: float


@dataclass(frozen=True)
class Ablated:
    """What replacing a neuron's activation by its mean changes, at positions of the corpus where the token is predicted or comes next."""

    neuron: tuple[int, int]
    change: float  # of the token's log-probability, in nat
    low: float | None  # ends of the 95 % interval; None where the positions are of one document
    high: float | None
    flipped: float  # share of the top predictions that become another token
    p_value: float
    q_value: float
    times_largest_control: float | None  # of the change; None where no control changes anything
    positions: int
    controls: int

    @property
    def stands_out(self) -> bool:
        """Whether so large an effect is rare among the control neurons, and still rare for as many pairs as are told of."""
        return self.p_value <= STANDS_OUT and self.q_value <= STANDS_OUT


@dataclass(frozen=True)
class Evidence:
    """All kinds of evidence for one token, around the neuron that answers: who writes the token most where it has the outcome that leads;
    where nothing is known of that, or no neuron writes it, the best predictor.

    `best` is that neuron's row of ReportData.ranked_scores, `predictor` and `second` are the first two by separation. `contribution` is its
    row of ranked_contributions, `next_contribution` what the next neuron contributes.
    """

    token_id: int
    token: str
    occurrences: int
    predictions: int
    correct: int
    positions: int | None
    outcome: Outcome  # that leads for the token
    cases: float  # positions at which the token has it; under probability those that are expected
    best: dict[str, Any] | None
    predictor: dict[str, Any] | None
    second: dict[str, Any] | None
    contribution: dict[str, Any] | None
    next_contribution: float | None
    stays_above_half: bool  # no reliable bin of the neuron beyond half_activation, in its direction, has a proportion below 1/2
    precision_beyond_half: float | None  # share of the token among all positions at or beyond half_activation
    writing: tuple[Writing, ...]
    patching: tuple[Patching, ...]
    ablated: Ablated | None  # the neuron; None where the study ablates nothing, or the token is predicted too rarely

    @property
    def is_downwards(self) -> bool:
        """Whether the neuron is low where the token is predicted."""
        return self.best is not None and self.best["direction"] == -1

    @property
    def neuron(self) -> tuple[int, int] | None:
        """(layer, neuron) of the neuron that answers."""
        return None if self.best is None else (self.best["layer"], self.best["neuron"])

    @property
    def predicts_best(self) -> bool:
        """Whether it is the best predictor as well."""
        return self.best is not None and self.best == self.predictor

    @property
    def is_overtaken(self) -> bool:
        """Whether the next neuron writes the token more in the half of the documents that tells, though it was found behind this one."""
        if self.contribution is None or self.next_contribution is None:
            return False
        return bool(self.next_contribution > self.contribution["contribution"])

    def written(self, convention: str) -> Writing | None:
        """The congruence under one convention, if it was computed."""
        return next((writing for writing in self.writing if writing.convention == convention), None)


def evidence(data: ReportData, token_id: int, token: str) -> Evidence:
    """Collect what the tables say about one tracked token. Every part may be missing; none is made up."""
    entries = [entry for entry, _ in data.members(token_id)] or [token_id]
    counted = data.table("token_counts").filter(pl.col("token_id").is_in(entries)).select(pl.col(*COUNTS).sum()).row(0, named=True)
    ranked = best_neurons(data, token_id)
    first = [*ranked.head(2).to_dicts(), None, None]
    written = data.ranked_contributions.filter(pl.col("token_id") == token_id).head(2).to_dicts()
    writer = written[0] if written and written[0]["contribution"] > 0 else None
    best = (_row_of(ranked, (writer["layer"], writer["neuron"])) if writer else None) or first[0]
    neuron = (best["layer"], best["neuron"]) if best else None
    curve = curve_of(data, token_id, neuron or (-1, -1))
    direction = best["direction"] if best else 1
    half = best["half_activation"] if best else None
    beyond = None if half is None else _beyond(curve, half, direction)
    return Evidence(
        token_id=token_id,
        token=token,
        occurrences=counted["occurrences"],
        predictions=counted["predictions"],
        correct=counted["correct_predictions"],
        positions=data.facts.get("positions"),
        outcome=told_by(data.leading.get(token_id, TOP_PREDICTION)),
        cases=_cases(data, token_id, counted["predictions"]),
        best=best,
        predictor=first[0],
        second=first[1],
        contribution=writer if best else None,
        next_contribution=written[1]["contribution"] if len(written) > 1 else None,
        stays_above_half=beyond is not None and beyond.filter(pl.col("reliable") & (pl.col("proportion") < 0.5)).is_empty(),
        precision_beyond_half=None if beyond is None else _precision(beyond),
        writing=tuple(found for convention in CONVENTIONS if (found := _writing(data, token_id, neuron, convention, direction))),
        patching=tuple(_patching(data, token_id, neuron)),
        ablated=next((found for found in ablated_neurons(data, token_id) if found.neuron == neuron), None),
    )


def _cases(data: ReportData, token_id: int, predictions: int) -> float:
    """Of the outcome that leads; top predictions where outcomes are not told."""
    leading = data.table("token_outcomes").filter((pl.col("token_id") == token_id) & pl.col("leads"))
    return float(leading["cases"][0]) if leading.height else float(predictions)


def curve_of(data: ReportData, token_id: int, neuron: tuple[int, int]) -> pl.DataFrame:
    """The curve of one pair by the outcome that leads for the token, with `cases` for its count; no rows if the pair is not studied.

    It is that of the telling half, with intervals by document and the discovery half's proportion as `discovery_proportion`. Where halves
    are not known, it is the whole corpus' with Wilson's intervals.
    """
    outcome = data.leading.get(token_id, TOP_PREDICTION)
    halves = data.table("half_curves").filter(outcome=outcome, token_id=token_id, layer=neuron[0], neuron=neuron[1])
    if halves.height:
        found = halves.filter(half="discovery").select("bin_left", discovery_proportion=pl.when("reliable").then("proportion"))
        told = halves.filter(half="telling").join(found, on="bin_left", maintain_order="left")
        return told.rename({"document_low": "ci_low", "document_high": "ci_high"})
    if outcome == TOP_PREDICTION:
        curves = data.table("proportion_curves").rename({"top_prediction_count": "cases"})
    else:
        curves = data.table("outcome_curves").filter(pl.col("outcome") == outcome)
    return curves.filter((pl.col("token_id") == token_id) & (pl.col("layer") == neuron[0]) & (pl.col("neuron") == neuron[1]))


def _beyond(curve: pl.DataFrame, half_activation: float, direction: int) -> pl.DataFrame:
    """The bins from half_activation up, or in direction -1 from it down."""
    return curve.filter(pl.col("bin_right") <= half_activation if direction == -1 else pl.col("bin_left") >= half_activation)


def _precision(bins: pl.DataFrame) -> float | None:
    positions, predicted = int(bins["count"].sum()), float(bins["cases"].sum())
    return predicted / positions if positions else None


def best_neurons(data: ReportData, token_id: int) -> pl.DataFrame:
    """The scored neurons of one token, best separation first, with their `place`."""
    return data.ranked_scores.filter(pl.col("token_id") == token_id)


def token_row(data: ReportData, token_id: int, convention: str, side: str = "output") -> pl.DataFrame:
    """Congruence of one tracked token with every neuron: columns layer, neuron, congruence, rank (1 is highest, ties share).

    What gated neurons write is ranked by size.
    """
    frame = data.table("congruence_tracked_tokens").filter(
        (pl.col("token_id") == token_id) & (pl.col("convention") == convention) & (pl.col("side") == side)
    )
    value = pl.col("congruence").abs() if side == "output" and writes_by_size(data) else pl.col("congruence")
    ranked = frame.with_columns(rank=value.rank("min", descending=True).cast(pl.Int64))
    return ranked.select("layer", "neuron", "congruence", "rank").sort("layer", "neuron")


def writes_by_size(data: ReportData) -> bool:
    """Whether the sign of what a neuron writes is a convention, as in gated MLPs."""
    return bool(data.facts.get("is_gated"))


def _writing(data: ReportData, token_id: int, neuron: tuple[int, int] | None, convention: str, direction: int) -> Writing | None:
    frame = token_row(data, token_id, convention)
    if frame.is_empty():
        return None
    by_size = writes_by_size(data)
    if direction == -1 and not by_size:
        frame = frame.with_columns(rank=pl.col("congruence").rank("min").cast(pl.Int64))
    top = frame.sort("rank", "layer", "neuron").row(0, named=True)
    own = _row_of(frame, neuron)
    return Writing(
        convention=convention,
        top=(top["layer"], top["neuron"]),
        top_congruence=abs(top["congruence"]) if by_size else top["congruence"],
        congruence=own["congruence"] * (direction if by_size else 1) if own else None,
        rank=own["rank"] if own else None,
        neurons=frame.height,
        by_size=by_size,
    )


def _patching(data: ReportData, token_id: int, neuron: tuple[int, int] | None) -> list[Patching]:
    """One entry for each patched prompt whose answer is the token, in the study's order; all positions, as published."""
    answers = data.table("prompt_predictions").filter((pl.col("token_id") == token_id) & (pl.col("role") == "answer"))
    prompts = set(answers["prompt"].to_list())
    found = []
    for prompt in (name for name in data.prompts if name in prompts):
        frame = neuron_patching_of(data, prompt, "all")
        if frame.is_empty():
            continue
        top, own = frame.row(0, named=True), _row_of(frame, neuron)
        found.append(
            Patching(
                prompt=prompt,
                improvement=own["improvement"] if own else None,
                rank=own["rank"] if own else None,
                top=(top["layer"], top["neuron"]),
                top_improvement=top["improvement"],
            )
        )
    return found


def neuron_patching_of(data: ReportData, prompt: str, positions: str) -> pl.DataFrame:
    """The patched neurons of one prompt, largest improvement first, with their `rank` among all that were patched (`of`)."""
    return data.ranked_patching.filter((pl.col("prompt") == prompt) & (pl.col("positions") == positions))


def neuron_sets_of(data: ReportData, prompt: str) -> pl.DataFrame:
    """The neurons that were patched together on one prompt, in the order in which they were chosen."""
    return data.table("patched_neuron_sets").filter(pl.col("prompt") == prompt).sort("size")


def ablated_neurons(data: ReportData, token_id: int) -> list[Ablated]:
    """The studied neurons that were ablated where the token is predicted, or comes next, the largest change first."""
    rows = data.table("neuron_ablation").filter(
        (pl.col("token_id") == token_id) & pl.col("positions").is_in(OWN_POSITIONS) & (pl.col("ablation") == TOLD_ABLATION)
    )
    by_measure = {name: rows.filter(pl.col("measure") == name) for name in ("log_probability", "flipped")}
    flipped = {(row["layer"], row["neuron"]): row["effect"] for row in by_measure["flipped"].iter_rows(named=True)}
    found = [
        Ablated(
            neuron=(row["layer"], row["neuron"]),
            change=row["effect"],
            low=row["ci_low"],
            high=row["ci_high"],
            flipped=flipped[row["layer"], row["neuron"]],
            p_value=row["p_value"],
            q_value=row["q_value"],
            times_largest_control=row["times_largest_control"],
            positions=row["position_count"],
            controls=row["controls"],
        )
        for row in by_measure["log_probability"].iter_rows(named=True)
    ]
    return sorted(found, key=lambda one: (-abs(one.change), one.neuron))


def _row_of(frame: pl.DataFrame, neuron: tuple[int, int] | None) -> dict[str, Any] | None:
    if neuron is None:
        return None
    rows = frame.filter((pl.col("layer") == neuron[0]) & (pl.col("neuron") == neuron[1])).to_dicts()
    return rows[0] if rows else None
