"""Planted roles through the real job, in a GELU and in a gated model: a neuron that predicts by being low, one that writes against.

Each is the best predictor of " an" beside the neuron that writes it, is named with its role in the report's sentences, and stands first
on the token's page.
"""

import functools
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.tables import read_table
from orchestration.run import faults_of
from reports.pages.page import neuron_page, token_page
from tests.pipeline.conftest import Bench
from tests.planted import FALLING, OPPOSED, PLANTED, Role, planted_corpus, planted_model, planted_token_id
from tests.planted_gated import planted_gated_model

pytestmark = pytest.mark.slow

AN = planted_token_id(" an")


class Case(NamedTuple):
    is_gated: bool
    role: Role
    is_negated: bool = False  # its sign, which in a gated model is a convention


CASES = {
    "falling, gelu": Case(False, FALLING),
    "falling, gated": Case(True, FALLING),
    "opposed, gelu": Case(False, OPPOSED),
    "opposed, gated": Case(True, OPPOSED),
    "opposed, gated, negated": Case(True, OPPOSED, is_negated=True),
}


class Run:
    """One study of a planted model that has one more role."""

    def __init__(self, case: Case, files: Path, folder: Path) -> None:
        self.case = case
        if case.is_gated:
            planted_gated_model(files / "model", extra=(case.role,), negated=(case.role,) if case.is_negated else ())
        else:
            planted_model(files / "model", extra=(case.role,))
        planted_corpus(files)
        self.bench = Bench(files, folder)
        result = self.bench.run(shards=1, bins={"per_unit": 5, "low": -20, "high": 20})  # a negated neuron's activations are below 0
        assert result.success, faults_of(result)

    def row(self, table: str, role: Role, **where: object) -> dict:
        found = read_table(self.bench.record(TABLES[table].asset).folder, TABLES[table])
        return found.filter(token_id=AN, layer=role.layer, neuron=role.neuron, **where).row(0, named=True)

    def table(self, name: str) -> pl.DataFrame:
        return read_table(self.bench.record(TABLES[name].asset).folder, TABLES[name])

    def page(self, name: str) -> str:
        return (self.bench.settings.deployment.site_folder("planted") / name).read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The run of a case, made once."""
    return functools.cache(lambda case: Run(CASES[case], tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("study")))


of_falling = pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.role is FALLING])
of_opposed = pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.role is OPPOSED])


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).replace("\u202f", " ").split())


def sentence_and_roles(run: Run) -> tuple[str, list[str]]:
    page = run.page("index.html")
    reply = re.search(r'<h1 class="reply">(.*?)</h1>', page, re.DOTALL)
    listed = re.search(r'<ul class="roles">(.*?)</ul>', page, re.DOTALL)
    assert reply is not None
    assert listed is not None
    return words(reply[1]), [words(item) for item in re.findall(r"<li>(.*?)</li>", listed[1], re.DOTALL)]


def named(role: Role) -> str:
    return f"layer {role.layer} neuron {role.neuron}"


def first_neuron(page: str, heading: str) -> str:
    """The file that the first neuron of the table under a heading leads to."""
    found = re.search(rf"<h[23]>{heading}</h[23]>.*?<tbody>.*?href=\"(neuron-[^\"]+)\"", page, re.DOTALL)
    assert found is not None
    return found[1]


@of_falling
def test_the_neuron_that_is_low_where_the_token_is_predicted_is_the_best_predictor(runs: Callable[[str], Run], case: str) -> None:
    falling = runs(case)
    score = falling.row("token_neuron_scores", FALLING)
    assert (score["auroc"], score["direction"], score["separation"]) == (0, -1, 1)
    sentence, roles = sentence_and_roles(falling)
    assert sentence.startswith(f"Layer {PLANTED.layer} neuron {PLANTED.neuron} writes ␣an most, +")
    assert "; as a predictor it is 2nd, AUROC 1.000" in sentence
    assert roles[0].startswith(f"The best predictor, {named(FALLING)}, ")
    assert " writes against it" not in roles[0]
    lead = words(falling.page(token_page(AN)))
    assert f"Best predictor: L{FALLING.layer} N{FALLING.neuron}, which is low where the model predicts it" in lead
    assert "(AUROC 0.000, read downwards 1.000); read downwards, the proportion first reaches one half below activation " in lead
    assert any(role.startswith(f"On prompt fruit, {named(PLANTED)} patched alone") for role in roles)


@of_falling
def test_the_neuron_that_is_low_writes_the_token_by_not_holding_it_back(runs: Callable[[str], Run], case: str) -> None:
    falling = runs(case)
    own, writer = (falling.row("contributions", role) for role in (FALLING, PLANTED))
    assert own["contribution_elsewhere"] < -1
    assert abs(own["contribution_where_predicted"]) < 0.2
    assert 1 < own["contribution"] < writer["contribution"]


@of_opposed
def test_a_predictor_that_writes_against_its_token_is_the_best_and_named_as_such(runs: Callable[[str], Run], case: str) -> None:
    opposed = runs(case)
    score = opposed.row("token_neuron_scores", OPPOSED)
    assert (score["separation"], score["direction"]) == (1, -1 if opposed.case.is_negated else 1)
    sentence, roles = sentence_and_roles(opposed)
    assert sentence.startswith(f"Layer {PLANTED.layer} neuron {PLANTED.neuron} writes ␣an most, +")
    assert re.fullmatch(
        rf"The best predictor, {named(OPPOSED)}, writes against it more than any other neuron \(−[0-9.]+ logits\): "
        "it goes along with the prediction and holds it back.",
        roles[0],
    )
    assert sum("against" in role for role in roles) == 1


@of_opposed
def test_a_predictor_that_writes_against_its_token_comes_from_the_line_of_those(runs: Callable[[str], Run], case: str) -> None:
    opposed = runs(case)
    lines = opposed.table("candidates").filter(token_id=AN, layer=OPPOSED.layer, neuron=OPPOSED.neuron, rank=1)["line"].to_list()
    assert {"separation", "contribution_against"} <= set(lines)
    last = opposed.table("contribution_screen").filter(token_id=AN, end="writes_against", rank=1).row(0, named=True)
    assert (last["layer"], last["neuron"]) == (OPPOSED.layer, OPPOSED.neuron)
    assert first_neuron(opposed.page(token_page(AN)), "Write against it") == neuron_page((OPPOSED.layer, OPPOSED.neuron))


@pytest.mark.parametrize("case", CASES)
def test_each_stands_first_on_the_tokens_page_and_has_its_own_with_the_token_first(runs: Callable[[str], Run], case: str) -> None:
    run = runs(case)
    page, own = run.page(token_page(AN)), neuron_page((run.case.role.layer, run.case.role.neuron))
    assert first_neuron(page, "Best neurons") == own
    assert first_neuron(page, "Write it") == neuron_page((PLANTED.layer, PLANTED.neuron))
    first_token = re.search(r"<tbody>.*?href=\"(token-[^\"]+)\"", run.page(own), re.DOTALL)
    assert first_token is not None
    assert first_token[1] == token_page(AN)
