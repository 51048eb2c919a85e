"""Two planted neurons that only together make the model predict " an", through the real job: found, sent to be studied, told and drawn.

Each restores less than half of the logit difference by itself. One writes " an", the other, a layer later, takes away what is written for
" a". With GELU and with gated neurons, and again with every gated neuron's weights negated, which must change nothing.
"""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.tables import read_table
from orchestration.run import faults_of
from tests.pipeline.conftest import Bench
from tests.planted import HALF_AGAINST, HALF_FOR, TOGETHER, planted_corpus, planted_model
from tests.planted_gated import GATED_TOGETHER, planted_gated_model

pytestmark = pytest.mark.slow

BOTH = [(HALF_FOR.layer, HALF_FOR.neuron), (HALF_AGAINST.layer, HALF_AGAINST.neuron)]
MODELS: dict[str, Callable[[Path], Path]] = {
    "GELU": lambda folder: planted_model(folder, roles=TOGETHER),
    "gated": lambda folder: planted_gated_model(folder, GATED_TOGETHER),
    "negated": lambda folder: planted_gated_model(folder, GATED_TOGETHER, up=-1.0),
}
BINS = {"per_unit": 16, "low": -8, "high": 8}


def run(kind: str, files: Path, folder: Path) -> Bench:
    """The study of one model, run; no neuron is named."""
    MODELS[kind](files / "model")
    planted_corpus(files)
    bench = Bench(files, folder)
    result = bench.run(tokens=[" an", " a"], neurons=[], shards=1, ablation_positions=4, bins=BINS)
    assert result.success, faults_of(result)
    blocking = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert [name for name in blocking if not name.endswith("_warnings")] == []
    return bench


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """One run of each model."""
    return {kind: run(kind, tmp_path_factory.mktemp(kind), tmp_path_factory.mktemp("study")) for kind in MODELS}


def table(bench: Bench, name: str) -> pl.DataFrame:
    return read_table(bench.record(TABLES[name].asset).folder, TABLES[name])


def words(file: Path) -> str:
    """What a page says, without markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", "", file.read_text(), flags=re.DOTALL)).split())


@pytest.mark.parametrize("kind", MODELS)
def test_each_restores_less_than_half_and_both_nearly_all(benches: dict[str, Bench], kind: str) -> None:
    sets = table(benches[kind], "patched_neuron_sets")
    assert sets.select("layer", "neuron").rows() == BOTH, "no third neuron adds anything"
    assert (sets["alone"] < 0.5).all()
    assert sets["restored"][1] == pytest.approx(1, abs=0.03)
    assert sets["is_told"].to_list() == [True, True]


@pytest.mark.parametrize("kind", MODELS)
def test_both_are_sent_to_be_studied_together(benches: dict[str, Bench], kind: str) -> None:
    sent = table(benches[kind], "candidates").filter(line="patched_together")
    assert sent.select("token", "rank", "layer", "neuron").rows() == [(" an", 1, *BOTH[0]), (" an", 2, *BOTH[1])]
    assert set(sent["value"]) == {table(benches[kind], "patched_neuron_sets")["restored"][1]}
    site = benches[kind].settings.deployment.site_folder("planted")
    assert "patched together for ␣an" in words(site / "index.html")


@pytest.mark.parametrize("kind", MODELS)
def test_the_answer_names_both_and_the_prompts_page_draws_them(benches: dict[str, Bench], kind: str) -> None:
    site = benches[kind].settings.deployment.site_folder("planted")
    told = re.search(
        r"Together, layer 1 neuron 3 and layer 2 neuron 6 restore (\d+)\s% of the logit difference; alone (\d+)\s% and (\d+)\s%\.",
        words(site / "index.html"),
    )
    assert told is not None
    together, first, second = map(int, told.groups())
    assert 97 <= together <= 103
    assert 40 < second <= first < 51
    page = words(site / "prompt-fruit.html")
    part = page[page.index("Neurons patched together") :]
    assert re.search(r"Together restore 1 L1 N3 .*? 2 L2 N6 ", part), "the two, first and in order"


def test_negating_a_gated_neurons_weights_changes_nothing(benches: dict[str, Bench]) -> None:
    one, other = (table(benches[kind], "patched_neuron_sets") for kind in ("gated", "negated"))
    assert one.equals(other)
    one, other = (table(benches[kind], "candidates").filter(line="patched_together") for kind in ("gated", "negated"))
    assert one.equals(other)
