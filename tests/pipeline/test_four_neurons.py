"""Four planted neurons through the real job: a cause, a cause through a later layer, a congruent one that never fires, a mere sign.

Each of the four is taken for a cause by one kind of evidence or overlooked by another; only together do they tell them apart.
"""

from pathlib import Path
from typing import NamedTuple

import pytest

from assets.contracts import TABLES
from assets.tables import read_table
from orchestration.run import faults_of
from tests.pipeline.conftest import Bench
from tests.planted import ECHO, FINAL_GAIN, INDIRECT, PLANTED, SILENT, Role, planted_corpus, planted_model

pytestmark = pytest.mark.slow

PAIRS = {"cause": (" an", PLANTED), "indirect cause": (" up", INDIRECT), "silent": (" an", SILENT), "sign": (" an", ECHO)}


class Evidence(NamedTuple):
    """What the published tables say of a token and a neuron; effects are those of the mean ablation where the token is predicted."""

    auroc: float
    congruence: float
    log_probability: float
    flipped: float
    direct: float
    mediated: float
    p_value: float
    improvement: float
    clean_activation: float


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evidence]:
    """Kind of neuron -> evidence, of one run of the study."""
    files: Path = tmp_path_factory.mktemp("echo")
    planted_model(files / "model", has_echo=True)
    planted_corpus(files)
    bench = Bench(files, tmp_path_factory.mktemp("study"))
    result = bench.run(tokens=[" an", " up"], neurons=[[role.layer, role.neuron] for _, role in PAIRS.values()], ablation_positions=32)
    assert result.success, faults_of(result)
    return {kind: evidence_of(bench, token, role) for kind, (token, role) in PAIRS.items()}


def evidence_of(bench: Bench, token: str, role: Role) -> Evidence:
    def rows(table: str, **where: str):
        found = read_table(bench.record(TABLES[table].asset).folder, TABLES[table])
        return found.filter(layer=role.layer, neuron=role.neuron, **where)

    ablated = rows("neuron_ablation", token=token, positions="predicted", ablation="mean")
    effects = {row["measure"]: row for row in ablated.iter_rows(named=True)}
    (patched,) = rows("neuron_patching", positions="last").iter_rows(named=True)
    return Evidence(
        auroc=rows("token_neuron_scores", token=token)["auroc"].item(),
        congruence=rows("congruence_tracked_tokens", token=token, convention="logits", side="output")["congruence"].item(),
        log_probability=effects["log_probability"]["effect"],
        flipped=effects["flipped"]["effect"],
        direct=effects["direct"]["effect"],
        mediated=effects["mediated"]["effect"],
        p_value=effects["log_probability"]["p_value"],
        improvement=patched["improvement"],
        clean_activation=patched["clean_activation"],
    )


def test_the_cause_stands_out_in_all_of_them(evidence: dict[str, Evidence]) -> None:
    found = evidence["cause"]
    assert found.auroc == 1
    assert found.congruence == pytest.approx(FINAL_GAIN, abs=1e-3)
    assert found.log_probability < -1
    assert found.flipped == 1
    assert abs(found.mediated) < 0.02 * abs(found.direct)
    assert found.p_value < 0.1  # 15 other neurons in the layer: 1 of 15 or 16
    assert found.improvement == pytest.approx(1, abs=0.02)


def test_the_indirect_cause_has_no_congruence_and_works_through_later_layers(evidence: dict[str, Evidence]) -> None:
    found = evidence["indirect cause"]
    assert found.auroc == 1
    assert found.congruence == pytest.approx(0, abs=1e-3)
    assert found.log_probability < -1
    assert found.flipped == 1
    assert found.mediated < 0 <= found.direct
    assert found.p_value < 0.1


def test_the_silent_one_has_congruence_and_nothing_else(evidence: dict[str, Evidence]) -> None:
    found = evidence["silent"]
    assert found.congruence == pytest.approx(0.75 * FINAL_GAIN, abs=1e-3)
    assert found.auroc < 0.75
    assert [*found[2:6], found.improvement] == pytest.approx([0] * 5, abs=1e-6)
    assert found.p_value > 0.9


def test_the_sign_is_active_where_the_cause_is_and_causes_nothing(evidence: dict[str, Evidence]) -> None:
    found = evidence["sign"]
    assert found.auroc == 1
    assert found.clean_activation == pytest.approx(evidence["cause"].clean_activation)
    assert found.clean_activation > 4
    assert found.congruence == pytest.approx(0, abs=1e-6)
    assert [*found[2:6], found.improvement] == [0] * 5
    assert found.p_value == 1
