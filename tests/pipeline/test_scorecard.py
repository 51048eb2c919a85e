"""The scorecard through the real job: the demo study's own claims hold, and an edited claims file is noticed, alone."""

import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from assets.claims.claims import ClaimsError
from assets.contracts import TABLES
from assets.store import Place
from assets.study import read_study
from assets.tables import read_table
from orchestration.run import faults_of, run_study
from orchestration.settings import SHIPPED_STUDIES, Settings
from tests.pipeline.conftest import Bench
from tests.planted import PLANTED_LAYER, PLANTED_NEURON

PLANTED_CLAIM = {
    "claim": "The planted neuron decides the prompt.",
    "quantity": "neuron_improvement_rank",
    "of": {"prompt": "fruit", "neuron": [PLANTED_LAYER, PLANTED_NEURON]},
    "expected": 1,
    "tolerance": 0,
    "convention": "published",
}
FOREIGN_CLAIM = {**PLANTED_CLAIM, "claim": "A neuron of another model decides it.", "of": {"prompt": "fruit", "neuron": [31, 892]}}


def write_claims(bench: Bench, *claims: dict) -> None:
    (bench.file.parent / "planted.claims.yaml").write_text(yaml.safe_dump({"source": "this test", "claims": list(claims)}))


def verdicts(bench: Bench) -> dict[str, str]:
    frame = read_table(bench.record("replication_scorecard").folder, TABLES["replication_scorecard"])
    return dict(frame.select("claim", "verdict").rows())


def test_an_edited_claims_file_makes_the_scorecard_and_the_report_again_and_nothing_else(published: Bench) -> None:
    bench = published
    assert verdicts(bench) == {}
    first = bench.made()

    write_claims(bench, PLANTED_CLAIM, FOREIGN_CLAIM)
    result = bench.run()
    assert result.success, faults_of(result)
    assert verdicts(bench) == {PLANTED_CLAIM["claim"]: "replicated", FOREIGN_CLAIM["claim"]: "not run"}
    changed = {name for name, record in bench.made().items() if record != first[name]}
    assert {"replication_scorecard", "report_site"} <= changed <= {"replication_scorecard", "data_quality", "report_site"}

    write_claims(bench, {**PLANTED_CLAIM, "expected": 2})
    assert bench.run().success
    assert verdicts(bench) == {PLANTED_CLAIM["claim"]: "not replicated"}
    page = (bench.settings.deployment.site_folder("planted") / "scorecard.html").read_text()
    assert "not replicated" in page


def test_a_claims_file_with_a_fault_stops_the_study_before_anything_is_computed(bench: Bench) -> None:
    write_claims(bench, {**PLANTED_CLAIM, "quantity": "beauty"})
    with pytest.raises(ClaimsError, match=r"planted\.claims\.yaml: field claims\.0\.quantity: given 'beauty'; allowed are "):
        bench.run()
    assert not bench.settings.data.exists()


@pytest.mark.slow  # the whole demo again, which `make demo` runs: a twentieth of the time of all tests that are not slow
def test_every_claim_of_the_demo_study_was_run_and_holds(tmp_path: Path) -> None:
    for name in ("demo.yaml", "demo.claims.yaml"):
        shutil.copy(SHIPPED_STUDIES / name, tmp_path / name)
    fields = yaml.safe_load((tmp_path / "demo.yaml").read_text())
    fields["model"]["id"] = str(SHIPPED_STUDIES / fields["model"]["id"])
    fields["corpus"] |= {"files": [str(SHIPPED_STUDIES / file) for file in fields["corpus"]["files"]]}
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(fields))
    settings = Settings(data=tmp_path / "data", studies=tmp_path, site_url="")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_study(read_study(tmp_path / "demo.yaml"), settings, instance)
    assert result.success, faults_of(result)
    record = settings.deployment.store.find(Place("demo", "replication_scorecard"))
    assert record is not None
    scorecard = read_table(record.folder, TABLES["replication_scorecard"])
    failed = scorecard.filter(pl.col("verdict") != "replicated").select("claim", "verdict", "observed_correct", "reason_correct")
    assert failed.rows() == []
    assert scorecard.height >= 5
