"""The front page: the question, its answer and the evidence, what was run, the verdict, and the way to every other page."""

from typing import Any

import polars as pl

from assets.statistics.candidates import NAMED
from assets.study import COMMIT
from reports.answer import Answer, Sentence, answer
from reports.cards import CardLine, card
from reports.evidence import Evidence, curve_of, evidence
from reports.figures.small_curve import small_curve
from reports.numbers import count, duration, moment, ordinal, plural, size
from reports.over_sets import set_neurons
from reports.pages.page import Page
from reports.pages.scorecard import VERDICTS
from reports.report_data import ReportData
from reports.roles import roles
from reports.verdict import verdict


def index_page(data: ReportData) -> Page:
    """index.html. Its one drawing is SVG in the page, so that it loads no plotly."""
    reply = answer(data)
    return Page(
        file="index.html",
        template="index.html",
        title=data.study.description or data.study.name,
        context={
            "answer": reply,
            "card": _answer_card(data, reply),
            "roles": _roles(data, reply.evidence) if reply.evidence else [],
            "drawing": _drawing(data, reply),
            "tokens": [_token_card(data, token_id, token) for token_id, token in data.tracked],
            "neurons": [_neuron_row(data, neuron) for neuron in data.studied],
            "every_neuron": data.table("atlas_histograms").height,
            "holds_all": data.neurons_of_atlas is None,
            "prompts": [_prompt_card(data, name) for name in data.prompts],
            "prompt_sets": [_set_card(data, name) for name in data.prompt_sets],
            "facts": _facts(data),
            "verdict": verdict(data),
            "claims": _claims(data),
        },
    )


def _roles(data: ReportData, found: Evidence) -> list[Sentence]:
    """The sentences behind the answer, which names the writer with what it adds where that is not the best predictor."""
    return roles(data, found.token_id, found.token, is_writer_told=found.contribution is not None and not found.predicts_best)


def _answer_card(data: ReportData, reply: Answer) -> list[CardLine]:
    """The evidence card of the pair that the answer names."""
    found = reply.evidence
    return [] if found is None or found.neuron is None else card(data, found.token_id, found.neuron)


def _drawing(data: ReportData, reply: Answer) -> dict[str, Any] | None:
    """The curve behind the answer, large."""
    found = reply.evidence
    if found is None or found.neuron is None or not found.cases:
        return None
    curve = small_curve(curve_of(data, found.token_id, found.neuron), width=640, height=230, margin=8)
    return None if curve is None else {"curve": curve, "neuron": found.neuron, "token": found.token, "outcome": found.outcome}


def _token_card(data: ReportData, token_id: int, token: str) -> dict[str, Any]:
    found = evidence(data, token_id, token)
    spark = small_curve(curve_of(data, token_id, found.neuron), width=150, height=40) if found.neuron else None
    return {"evidence": found, "spark": spark}


def _neuron_row(data: ReportData, neuron: tuple[int, int]) -> dict[str, Any]:
    """A studied neuron with the token that it predicts best, of those that it is studied for."""
    layer, number_in_layer = neuron
    scores = data.scores.filter((pl.col("layer") == layer) & (pl.col("neuron") == number_in_layer) & pl.col("separation").is_not_null())
    curves = data.table("proportion_curves").filter((pl.col("layer") == layer) & (pl.col("neuron") == number_in_layer))
    studied_for = scores.filter(pl.col("token_id").is_in(curves["token_id"].unique().to_list()))
    best = (studied_for if studied_for.height else scores).sort("separation", "token_id", descending=[True, False]).head(1).to_dicts()
    statistics = data.table("neuron_statistics").filter((pl.col("layer") == layer) & (pl.col("neuron") == number_in_layer)).to_dicts()
    return {
        "neuron": neuron,
        "is_of_interest": neuron in data.of_interest,
        "best": best[0] if best else None,
        "card": card(data, best[0]["token_id"], neuron) if best else [],
        "reasons": _reasons(data, neuron),
        "maximum": statistics[0]["maximum"] if statistics else None,
        "spark": small_curve(curve_of(data, best[0]["token_id"], neuron), width=110, height=26) if best else None,
    }


# What a line of evidence is called where it sends a neuron; {} is its place.
LINES = {
    "separation": "{} predictor of",
    "average_precision": "{} by average precision of",
    "contribution": "{} writer of",
    "contribution_against": "{} against",
    "congruence": "{} by congruence with",
    "patching": "{} by patching for",
    "prompt_set": "{} over prompt sets for",
    "contrast": "{} by contrast for",
    "screen": "{} by the screen for",
    "patched_together": "patched together for",
}


def _reasons(data: ReportData, neuron: tuple[int, int]) -> list[tuple[str, str]]:
    """(what, token) for every line of evidence that sends the neuron, in the study's order of tokens."""
    sent = data.table("candidates").filter((pl.col("layer") == neuron[0]) & (pl.col("neuron") == neuron[1]) & (pl.col("line") != NAMED))
    return [(LINES[row["line"]].format(ordinal(row["rank"])), row["token"]) for row in sent.iter_rows(named=True)]


def _prompt_card(data: ReportData, name: str) -> dict[str, Any]:
    predictions = data.table("prompt_predictions").filter(pl.col("prompt") == name)
    tops = {row["variant"]: row for row in predictions.filter(pl.col("rank") == 1).iter_rows(named=True)}
    return {"name": name, "text": data.prompt(name).text, "clean": tops.get("clean"), "corrupt": tops.get("corrupt")}


def _set_card(data: ReportData, name: str) -> dict[str, Any]:
    """A prompt set with the neuron whose median is largest."""
    first = set_neurons(data, name).head(1).to_dicts()
    return {**data.table("prompt_sets").filter(prompt_set=name).row(0, named=True), "first": first[0] if first else None}


def _claims(data: ReportData) -> str:
    """How the claims written beside the study came out."""
    verdicts = data.table("replication_scorecard")["verdict"].to_list()
    if not verdicts:
        return "No claims were written beside this study, so none was put to the test."
    amounts = [f"{count(verdicts.count(name))} {name}" for name in VERDICTS if name in verdicts]
    return f"Of {plural(len(verdicts), 'claim')}: {', '.join(amounts)}; with the values and the reasons."


def _domains(data: ReportData) -> str | None:
    """The corpus' domains, where it has several."""
    domains = data.table("corpus_domains").sort("domain")
    return f"domains: {', '.join(domains['name'])}" if domains.height > 1 else None


def _corpus(data: ReportData) -> str:
    """Which part of the corpus at which revision, and its files where there are several."""
    choice, files = data.study.corpus, data.table("corpus_files")
    return _joined(
        f"configuration {choice.config}" if choice.config else None,
        _revision(choice.revision, data.facts.get("corpus_commit")),
        f"{count(files.height)} files" if files.height > 1 else None,
        f"tokens of its column {choice.tokens_column}" if choice.tokens_column else None,
    )


def _facts(data: ReportData) -> list[tuple[str, str, str]]:
    """(what, value, detail) of the run; facts that are not known are left out."""
    known = data.facts.get
    last = max((str(record["created_at"]) for record in data.provenance if record.get("created_at")), default=None)
    finished = known("finished_at") or last
    rate = f"{count(known('positions_per_second'))} positions a second" if known("positions_per_second") else None
    every = (known("layers") or 0) * (known("neurons") or 0)
    seconds, taken = known("seconds"), known("bytes")
    of_neurons = f"{duration(seconds / every * 1000)} a thousand neurons" if seconds and every else None
    rows = [
        ("Model", known("model"), _joined(_revision(known("revision"), known("commit")))),
        (
            "Architecture",
            known("architecture"),
            _joined(
                _amount(known("layers"), "layer"),
                f"{count(known('neurons'))} neurons each" if known("neurons") else None,
                _amount(known("vocabulary"), "vocabulary entry", "vocabulary entries"),
                "gated MLP" if known("is_gated") else None,
            ),
        ),
        ("Corpus", known("corpus"), _corpus(data)),
        (
            "Read",
            _amount(known("documents"), "document"),
            _joined(
                _amount(known("windows"), "window"),
                f"at most {count(known('context_length'))} tokens a window" if known("context_length") else None,
                f"{count(known('empty_documents'))} empty ones dropped" if known("empty_documents") else None,
                f"{count(known('duplicate_documents'))} duplicates" if known("duplicate_documents") else None,
                _domains(data),
            ),
        ),
        (
            "Counted",
            _amount(known("positions"), "position"),
            _joined(
                _amount(known("shards"), "shard"), f"beginning-of-sequence positions {'included' if data.study.count_bos else 'left out'}"
            ),
        ),
        (
            "Computed in",
            known("dtype"),
            _joined(
                f"on {known('device')}" if known("device") else None,
                "the one pass with prepacked linear maps" if data.study.model.linear_maps == "prepacked" else None,
            ),
        ),
        ("Finished", moment(finished) if finished else None, ""),
        (
            "Took",
            duration(known("seconds")) if known("seconds") is not None else None,
            _joined(f"{duration(known('counting_seconds'))} of it the one pass" if known("counting_seconds") else None, of_neurons, rate),
        ),
        (
            "Takes up",
            size(taken) if taken else None,
            f"{size(round(taken / every))} a neuron" if taken and every else "",
        ),
        ("Study", data.study.name, f"hash {data.study.hash[:12]}"),
        (
            "Made with",
            f"Neuron Atlas {known('version')}" if known("version") else None,
            _joined(
                *(
                    f"{package} {known(name)}"
                    for package, name in (("torch", "torch"), ("TransformerLens", "transformer_lens"))
                    if known(name)
                )
            ),
        ),
    ]
    return [(what, str(value), detail) for what, value, detail in rows if value]


def _revision(revision: str | None, commit: str | None) -> str | None:
    if commit and not COMMIT.fullmatch(commit):
        return commit  # a local folder has no commit and says so
    if commit and commit != revision:
        return f"commit {commit[:12]}" + (f", resolved from {revision}" if revision else "")
    return f"revision {revision[:12] if len(revision) == 40 else revision}" if revision else None


def _amount(value: int | None, one: str, many: str | None = None) -> str | None:
    return None if value is None else plural(value, one, many)


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)
