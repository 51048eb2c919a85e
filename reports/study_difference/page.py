"""What the page over two studies shows: what differs between them, the neurons that moved, who leads for each token, and both curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.contracts import STUDY_DIFFERENCE_TABLES
from assets.quality.expectations import Outcome
from reports.downloads import CSV_ROWS
from reports.pages.atlas import atlas_neuron
from reports.pages.page import Page, neuron_page
from reports.study_difference.figures import curves_figure, distances_figure, layers_figure
from reports.study_difference.sentences import MOVED, WORDS, changed, is_unchanged, reply

SHOWN_NEURONS, SHOWN_CURVES = 25, 24
# Facts that are told whether they differ or not, in this order: what was run on what.
ALWAYS_TOLD = ("model.id", "model_snapshot.commit", "model_snapshot.dtype", "corpus.id", "corpus.files", "corpus.documents",
               "corpus_documents.documents", "merged_histograms.positions")  # fmt: skip
TOLD_AS = {
    "model.id": "model",
    "model_snapshot.commit": "commit of the model",
    "model_snapshot.dtype": "computed in",
    "corpus.id": "corpus",
    "corpus.files": "files of the corpus",
    "corpus.documents": "documents asked for",
    "corpus_documents.documents": "documents read",
    "corpus_documents.commit": "commit of the corpus",
    "merged_histograms.positions": "positions counted",
    "congruence.refused": "congruence was not measured",
    "contributions.refused": "contributions were not measured",
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Linked:
    """One of the two studies: its name, which neurons and tokens its report has a page of their own for, and whether its atlas has all
    neurons; none where there is no report."""

    name: str
    has_report: bool
    neurons: frozenset[tuple[int, int]] = frozenset()
    tokens: frozenset[int] = frozenset()
    has_atlas: bool = False

    def page_of(self, layer: int, neuron: int) -> str | None:
        """Address of a neuron's page, its own if it was studied, else the atlas's; None where there is none."""
        if (layer, neuron) in self.neurons:
            return f"../{self.name}/{neuron_page((layer, neuron))}"
        return f"../{self.name}/{atlas_neuron((layer, neuron))}" if self.has_atlas else None


def study_difference_page(tables: Mapping[str, pl.DataFrame], linked: tuple[Linked, Linked], outcomes: Sequence[Outcome]) -> Page:
    """index.html. `tables` are those of study_difference by contract name."""
    neurons, pairs = tables["study_difference_neurons"], tables["study_difference_pairs"]
    names = (linked[0].name, linked[1].name)
    moved = _farthest(neurons)
    drawn = _most_apart(pairs).head(SHOWN_CURVES).to_dicts()
    layers = (layers_figure(neurons),) if moved else ()
    curves = (curves_figure(tables["study_difference_curves"], drawn, names),) if drawn else ()
    return Page(
        file="index.html",
        template="study_difference.html",
        title=f"{names[0]} and {names[1]}",
        context={
            "linked": linked,
            "reply": reply(tables, names),
            "is_unchanged": is_unchanged(tables),
            "is_gated": _is_gated(tables["study_difference_facts"]),
            "facts": _facts(tables["study_difference_facts"]),
            "least_moved": MOVED,
            "moved": moved,
            "rewritten": _least_alike(neurons),
            "measures": WORDS,
            "tokens": _tokens(tables),
            "pairs": _most_apart(pairs).to_dicts(),
            "outcomes": outcomes,
            "contracts": list(STUDY_DIFFERENCE_TABLES.values()),
            "as_csv": {name for name in STUDY_DIFFERENCE_TABLES if tables[name].height <= CSV_ROWS},
        },
        figures=(distances_figure(neurons), *layers, *curves),
    )


def _facts(facts: pl.DataFrame) -> dict[str, list[Row]]:
    """`told`: what is told always; `other`: whatever else differs. Those that neither study has are left out."""
    rows = [
        {**row, "name": TOLD_AS.get(row["fact"], row["fact"])}
        for row in facts.filter(pl.col("value_a").is_not_null() | pl.col("value_b").is_not_null()).iter_rows(named=True)
    ]
    by_fact = {row["fact"]: row for row in rows}
    told = [
        by_fact[fact] for fact in ALWAYS_TOLD if fact in by_fact and (by_fact[fact]["value_a"], by_fact[fact]["value_b"]) != ("[]", "[]")
    ]
    return {"told": told, "other": [row for row in rows if not row["is_equal"] and row["fact"] not in ALWAYS_TOLD]}


def _is_gated(facts: pl.DataFrame) -> bool:
    return facts.filter(fact="model_snapshot.is_gated")["value_a"].to_list() == ["true"]


def _farthest(neurons: pl.DataFrame) -> list[Row]:
    moved = neurons.filter(pl.col("distance") > 0)
    return moved.sort("distance", "layer", "neuron", descending=[True, False, False]).head(SHOWN_NEURONS).to_dicts()


def _least_alike(neurons: pl.DataFrame) -> list[Row]:
    other = neurons.filter(pl.col("likeness") < 1)
    return other.sort("likeness", "layer", "neuron").head(SHOWN_NEURONS).to_dicts()


def _tokens(tables: Mapping[str, pl.DataFrame]) -> dict[str, list[Row]]:
    """By measure, the tokens of both studies in their order, those with another first neuron first, each with its first neurons in either."""
    tokens, neurons = tables["study_difference_tokens"], tables["study_difference_token_neurons"]
    other = {(row["measure"], row["token_id"]) for row in changed(tokens).iter_rows(named=True)}
    found: dict[str, list[Row]] = {}
    for row in tokens.iter_rows(named=True):
        own = neurons.filter(measure=row["measure"], token_id=row["token_id"]).sort("rank_a", "rank_b", nulls_last=True)
        shown = {**row, "is_changed": (row["measure"], row["token_id"]) in other, "neurons": own.to_dicts()}
        found.setdefault(row["measure"], []).append(shown)
    return {measure: sorted(rows, key=lambda row: not row["is_changed"]) for measure, rows in found.items()}


def _most_apart(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.sort("largest_difference", "token_id", "layer", "neuron", descending=[True, False, False, False], nulls_last=True)
