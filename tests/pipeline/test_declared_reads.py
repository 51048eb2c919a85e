"""Every stage and every check reads all that it declares, and can read nothing else: recorded over whole runs of a small study."""

from collections import defaultdict
from typing import Any

import pytest

from assets.quality.check import Check
from assets.quality.every_check import NOT_JUDGED, checks_of
from assets.reading import Reading, unread
from assets.reads import reads
from assets.stages import STAGES, Stage
from assets.store import Place, Record
from assets.study import Study
from assets.study_view import UndeclaredError
from assets.work import Work
from tests.freshness import Ground, make_up_a_hub
from tests.stage_runs import run_stages

pytestmark = pytest.mark.slow  # two whole studies: a minute

# Two studies that together use everything: files and hub, bins of both kinds.
STUDIES: list[dict[str, Any]] = [
    {},
    {"corpus.files": None, "corpus.id": "planted/text", "bins": "calibrated", "embedding_predictions": True},
]
# Declared, and read only where a model lies on the hub, which these tests do not reach.
OUT_OF_REACH = {"model_snapshot": {"model.revision"}}


class Recorded:
    """What was read in all runs, and the outputs of each."""

    def __init__(self) -> None:
        self.work: dict[str, list[Reading]] = defaultdict(list)
        self.studies: list[tuple[Study, dict[Place, Record]]] = []


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    ground, found = Ground(tmp_path_factory.mktemp("ground")), Recorded()

    def watch(stage: Stage, work: Work) -> None:
        found.work[stage.name].append(work)

    with pytest.MonkeyPatch.context() as patch:
        make_up_a_hub(patch)
        for number, changes in enumerate(STUDIES):
            study = ground.study(changes)
            found.studies.append((study, run_stages(study, tmp_path_factory.mktemp(f"data-{number}"), watch)))
    return found


@pytest.mark.parametrize("asset", [asset for asset in STAGES if asset != "data_quality"])
def test_a_stage_reads_all_that_it_declares(recorded: Recorded, asset: str) -> None:
    declared, fields = unread(recorded.work[asset])
    assert declared == set()
    assert fields == OUT_OF_REACH.get(asset, set())


EVERY_CHECK = [check for asset in STAGES if asset not in NOT_JUDGED for check in checks_of(asset)]


@pytest.mark.parametrize("check", EVERY_CHECK, ids=lambda check: f"{check.asset} {check.name}")
def test_a_check_reads_all_that_it_declares(recorded: Recorded, check: Check) -> None:
    readings = []
    for study, outputs in recorded.studies:
        records = {f"{place.asset}/{place.shard}" if place.shard else place.asset: record for place, record in outputs.items()}
        reading = Reading(study, records, check.reads, check.fields, check.name)
        check.count(reading, "0000" if STAGES[check.asset].is_sharded else None)
        readings.append(reading)
    assert unread(readings) == (set(), set())


def test_what_is_not_declared_cannot_be_read(recorded: Recorded) -> None:
    study, outputs = recorded.studies[0]
    records = {place.asset: record for place, record in outputs.items() if place.shard is None}
    reading = Reading(study, records, reads("token_counts", "model_snapshot.layers"), ("corpus.windows", "tokens"), "stage made_up")
    assert reading.read("token_counts").height > 0
    assert reading.fact("model_snapshot", "layers") == 3
    assert (reading.study.corpus.windows, len(reading.study.tokens), reading.study.name) == ("all", 2, "planted")
    refused = {
        "field corpus.context_length": lambda: reading.study.corpus.context_length,
        "field min_count": lambda: reading.study.min_count,
        "field shards": lambda: reading.study.shard_names,
        "whole study": lambda: reading.study.hash,
        "model_snapshot.neurons of model_snapshot": lambda: reading.fact("model_snapshot", "neurons"),
        "reads model_snapshot of model_snapshot": lambda: reading.read("model_snapshot"),
        "token_counts/ of token_counts": lambda: reading.fetched("token_counts"),
        "token_counts.record of token_counts": lambda: reading.record("token_counts"),
        "reads proportion_curves of": lambda: reading.scan("proportion_curves"),
    }
    for named, read in refused.items():
        with pytest.raises(UndeclaredError, match=f"stage made_up reads the .*{named}|stage made_up {named}|stage made_up reads {named}"):
            read()


def test_the_files_of_an_output_come_without_what_only_people_see(recorded: Recorded) -> None:
    _, outputs = recorded.studies[0]
    study = recorded.studies[0][0]
    records = {place.asset: record for place, record in outputs.items() if place.shard is None}
    reading = Reading(study, records, reads("merged_histograms/", "merged_histograms.record"), (), "stage made_up")
    files, made = reading.files("merged_histograms"), reading.record("merged_histograms")
    assert records["merged_histograms"].summary
    assert (dict(files.summary), dict(files.facts), files.created_at) == ({}, {}, "")
    assert (dict(made.summary), dict(made.facts), made.created_at) == ({}, {}, records["merged_histograms"].created_at)
