"""Planted neurons that top predictions cannot show, through the real job, GELU and gated: a writer of a token that is never the top
prediction, and one neuron that serves a group of tokens. Each is found by where the tokens come next, named, and first on its page."""

import functools
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.tables import read_table
from orchestration.run import faults_of
from reports.pages.page import neuron_page, token_page
from tests.pipeline.conftest import Bench
from tests.planted import CONSONANT_FRUIT, GIVER, GROWER, VOCABULARY, VOWEL_FRUIT, Role, planted_corpus, planted_model, planted_token_id
from tests.planted_gated import planted_gated_model

pytestmark = pytest.mark.slow

FRUIT = (*VOWEL_FRUIT, *CONSONANT_FRUIT)
MODELS: dict[str, Callable[[Path, Role], Path]] = {
    "gelu": lambda folder, role: planted_model(folder, extra=(role,)),
    "gated": lambda folder, role: planted_gated_model(folder, extra=(role,)),
    "negated": lambda folder, role: planted_gated_model(folder, extra=(role,), negated=(role,)),
}


class Case(NamedTuple):
    role: Role
    token: str  # or the group's name
    token_id: int
    fields: dict[str, Any]


CASES = {
    "never first": Case(GROWER, " tree", planted_token_id(" tree"), {"tokens": [" an", " tree"]}),
    "group": Case(GIVER, "fruit", len(VOCABULARY), {"tokens": [" an", *FRUIT], "groups": {"fruit": list(FRUIT)}}),
}


class Run:
    """A study of a planted model that has one more role and asks for its token."""

    def __init__(self, case: Case, model: str, files: Path, folder: Path) -> None:
        self.case = case
        MODELS[model](files / "model", case.role)
        planted_corpus(files)
        self.bench = Bench(files, folder)
        asked = {"question": f'Which neuron predicts "{case.token}"?', "bins": {"per_unit": 5, "low": -20, "high": 20}, "min_count": 5}
        result = self.bench.run(shards=2, **asked, **case.fields)
        assert result.success, faults_of(result)

    def rows(self, table: str, **where: object) -> pl.DataFrame:
        found = read_table(self.bench.record(TABLES[table].asset).folder, TABLES[table])
        return found.filter(token_id=self.case.token_id, **where)

    def page(self, name: str) -> str:
        return (self.bench.settings.deployment.site_folder("planted") / name).read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Run]:
    """The run of a case in a kind of model, made once."""
    return functools.cache(lambda case, model: Run(CASES[case], model, tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("study")))


every_run = pytest.mark.parametrize(("case", "model"), [(case, model) for case in CASES for model in MODELS])


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).replace("\u202f", " ").split())


@every_run
def test_the_token_is_told_by_where_it_comes_next(runs: Callable[[str, str], Run], case: str, model: str) -> None:
    outcomes = runs(case, model).rows("token_outcomes")
    cases = dict(outcomes.select("outcome", "cases").iter_rows())
    assert cases["top_prediction"] == 0
    assert cases["next_token"] >= 24
    assert outcomes.filter("leads")["outcome"].to_list() == ["next_token"]


@every_run
def test_its_writer_is_the_answer_and_first_on_its_page(runs: Callable[[str, str], Run], case: str, model: str) -> None:
    run = runs(case, model)
    role = run.case.role
    first, second = (
        run.rows("outcome_contributions", outcome="next_token").sort("contribution", descending=True).head(2).iter_rows(named=True)
    )
    assert (first["layer"], first["neuron"]) == (role.layer, role.neuron)
    assert first["contribution"] > 3 * max(second["contribution"], 0)
    sent = run.rows("candidates", line="contribution", rank=1)
    assert (sent["layer"].item(), sent["neuron"].item()) == (role.layer, role.neuron)
    reply = re.search(r'<h1 class="reply">(.*?)</h1>', run.page("index.html"), re.DOTALL)
    assert reply is not None
    shown = run.case.token.replace(" ", "␣")
    opening = (
        f"{shown} is never the top prediction, so it is told by where it comes next in the text. Layer {role.layer} neuron {role.neuron} "
    )
    assert words(reply[1]).startswith(f"{opening}writes {shown} most")
    page = run.page(token_page(run.case.token_id))
    writers = re.search(r"<h3>Write it</h3>.*?<tbody>.*?href=\"(neuron-[^\"]+)\"", page, re.DOTALL)
    assert writers is not None
    assert writers[1] == neuron_page((role.layer, role.neuron))


@every_run
def test_it_tells_where_the_token_comes_next_and_no_gated_sign_matters(runs: Callable[[str, str], Run], case: str, model: str) -> None:
    run = runs(case, model)
    own = run.rows("outcome_scores", outcome="next_token", layer=run.case.role.layer, neuron=run.case.role.neuron)
    assert own["separation"].item() > (0.6 if case == "group" else 0.9)  # fruit comes after " an" and " a" as well
    assert own["direction"].item() == (-1 if model == "negated" else 1)


@pytest.mark.parametrize("model", MODELS)
def test_a_groups_counts_are_its_members_and_it_has_a_curve_and_a_page(runs: Callable[[str, str], Run], model: str) -> None:
    run = runs("group", model)
    every = read_table(run.bench.record("outcome_scores").folder, TABLES["token_outcomes"]).filter(outcome="next_token")
    members = every.filter(pl.col("token").is_in(FRUIT))
    assert members.height == len(FRUIT)
    assert members["cases"].sum() == every.filter(token="fruit")["cases"].item()
    assert run.rows("outcome_curves", outcome="next_token", layer=GIVER.layer, neuron=GIVER.neuron)["cases"].sum() == members["cases"].sum()
    assert "A group that is told as one" in words(run.page(token_page(len(VOCABULARY))))
    ablated = read_table(run.bench.record("neuron_ablation").folder, TABLES["neuron_ablation"])
    assert len(VOCABULARY) not in ablated["token_id"].to_list()
    assert set(ablated.filter(pl.col("token").is_in(FRUIT))["positions"].unique()) == {"next_token", "other"}
