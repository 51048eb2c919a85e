"""What keeps long operation honest: retries for downloads only, one model at a time on a device, and alerts that say what failed."""

import json
import os
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import ConcurrencySlotsTable

from assets import wiring
from assets.deployment import Deployment
from assets.errors import InputError
from assets.stages import STAGES
from assets.study import Study, read_studies
from assets.wiring import DOWNLOADS, MODEL_POOL, await_place_in_pool, study_asset
from assets.work import Work
from orchestration.alerts import Alerts, AlertsError, alert_sensors, message
from orchestration.definitions import build_definitions
from orchestration.settings import SHIPPED_STUDIES, Settings

INSTANCE = Path(__file__).parents[2] / "orchestration" / "instance" / "dagster.yaml"


@pytest.fixture(scope="module")
def demo() -> Study:
    return next(study for study in read_studies(SHIPPED_STUDIES) if study.name == "demo")


def attempts(demo: Study, asset: str, error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often an asset whose work always raises `error` is tried."""
    monkeypatch.setattr(wiring, "DOWNLOAD_RETRIES", dg.RetryPolicy(max_retries=wiring.DOWNLOAD_RETRIES.max_retries, delay=0))
    tried = []

    def fail(work: Work) -> None:
        tried.append(work.study.name)
        raise error

    job = dg.Definitions(
        [study_asset(demo, asset, fail)], resources={"deployment": Deployment(folder)}
    ).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    return len(tried)


def test_a_lost_connection_is_tried_four_times_and_a_fault_of_the_input_once(
    demo: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert attempts(demo, "model_snapshot", ConnectionError("the hub hung up"), tmp_path / "lost", monkeypatch) == 4
    assert attempts(demo, "model_snapshot", InputError("no such model"), tmp_path / "fault", monkeypatch) == 1


def test_only_downloads_are_retried_and_each_wait_is_longer_than_the_last(demo: Study) -> None:
    for name in STAGES:
        policy = study_asset(demo, name, lambda work: None).op.retry_policy
        assert (policy is not None) == (name in DOWNLOADS)
        if policy is not None:
            waits = [policy.calculate_delay(attempt) for attempt in (1, 2, 3)]
            assert waits == [5, 15, 35]  # 5 x (2^attempt - 1) seconds
    assert set(DOWNLOADS) == {"model_snapshot", "corpus_documents"}


def test_every_asset_that_loads_the_model_waits_for_the_one_place_of_its_pool(demo: Study) -> None:
    for name, stage in STAGES.items():
        assert study_asset(demo, name, lambda work: None).op.pool == (MODEL_POOL if stage.runs_model else None)
    assert STAGES["activation_histograms"].runs_model
    pools = yaml.safe_load(INSTANCE.read_text())["concurrency"]["pools"]
    assert pools == {"granularity": "op", "default_limit": 1}


HOLD_THE_MODEL = f"""
import time, dagster as dg
from assets.wiring import await_place_in_pool

@dg.op(pool={MODEL_POOL!r})
def hold(context):
    await_place_in_pool(context.instance, context.run_id, "hold")
    print("held", time.time(), flush=True)
    time.sleep(0.7)
    print("freed", time.time(), flush=True)

@dg.job(executor_def=dg.in_process_executor)
def counting():
    hold()

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        counting.execute_in_process(instance=instance)
"""


@pytest.mark.slow
def test_two_runs_at_once_never_hold_the_model_together(tmp_path: Path) -> None:
    (tmp_path / "hold.py").write_text(HOLD_THE_MODEL)
    shutil.copy(INSTANCE, tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)):
        pass  # its database is laid out before two processes open it
    command = [sys.executable, "-W", "ignore", str(tmp_path / "hold.py")]
    environment = os.environ | {"DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(INSTANCE.parents[2])}
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    try:
        told = [
            dict(line.split() for line in run.communicate(timeout=120)[0].splitlines() if line[:5] in ("held ", "freed")) for run in runs
        ]
    finally:
        for run in runs:
            run.kill()
    first, second = sorted((float(one["held"]), float(one["freed"])) for one in told)
    assert second[0] >= first[1]


def test_a_step_whose_place_was_given_to_another_run_too_waits_until_that_one_is_done(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        places = instance.event_log_storage
        assert isinstance(places, SqlEventLogStorage)
        places.set_concurrency_slots(MODEL_POOL, 1)
        assert places.claim_concurrency_slot(MODEL_POOL, "early", "count").is_claimed
        await_place_in_pool(instance, "early", "count")  # its own: no wait
        places.add_pending_step(MODEL_POOL, "late", "count", should_assign=True)
        with places.index_connection() as connection:  # what the later of two simultaneous claims leaves
            connection.execute(ConcurrencySlotsTable.update().values(run_id="late"))
        waiting = threading.Thread(target=await_place_in_pool, args=(instance, "early", "count", 0.01), daemon=True)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        places.free_concurrency_slot_for_step("late", "count")
        waiting.join(30)
        assert not waiting.is_alive()
        assert [place.run_id for place in places.get_concurrency_info(MODEL_POOL).claimed_slots] == ["early"]


def test_a_step_waits_for_no_place_where_no_pool_is_limited(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        await_place_in_pool(instance, "only", "count")
        assert not instance.event_log_storage.get_concurrency_info(MODEL_POOL).pending_steps


@pytest.fixture
def failed(tmp_path: Path) -> Iterator[tuple[dg.DagsterInstance, dg.ExecuteInProcessResult]]:
    """A run in which one step failed with a sentence for the user, and one blocking check with what was observed."""

    @dg.asset
    def model_snapshot() -> None:
        raise dg.Failure(description="study demo: model.id 'nowhere': no such folder", allow_retries=False)

    @dg.asset
    def merged_histograms() -> None: ...

    @dg.asset_check(asset=merged_histograms, blocking=True)
    def bin_counts() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=False,
            metadata={"observed": "1 of 768 neurons unbalanced", "expected": "178,823", "to mend it": "remove /data", "other": "x"},
        )

    job = dg.define_asset_job("demo_study", executor_def=dg.in_process_executor)
    definitions = dg.Definitions([model_snapshot, merged_histograms], asset_checks=[bin_counts], jobs=[job])
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance, definitions.resolve_job_def("demo_study").execute_in_process(instance=instance, raise_on_error=False)


def failure_context(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult, sensor: str) -> dg.RunFailureSensorContext:
    (event,) = [event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE]
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor, dagster_event=event, dagster_instance=instance, dagster_run=result.dagster_run
    )
    return context.for_run_failure()


def test_an_alert_says_what_failed_in_the_words_of_the_command_line(failed: tuple) -> None:
    instance, result = failed
    told = message(failure_context(instance, result, "failed_run_by_webhook")).splitlines()
    assert told == [
        f"demo_study failed (run {result.run_id[:8]}):",
        "study demo: model.id 'nowhere': no such folder",
        "merged_histograms: check bin_counts failed. Expected: 178,823. Observed: 1 of 768 neurons unbalanced. To mend it: remove /data.",
    ]


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict]]]:
    """A webhook on loopback, and what was posted to it."""
    posted: list[dict] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path != "/hook":
                self.send_error(404)
                return
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
    finally:
        server.shutdown()
        server.server_close()


def test_a_failed_run_is_posted_to_the_webhook(failed: tuple) -> None:
    instance, result = failed
    with receiver() as (url, posted):
        (sensor,) = alert_sensors(Alerts(webhook=url))
        sensor(failure_context(instance, result, sensor.name))
    assert len(posted) == 1
    assert posted[0]["text"].startswith("demo_study failed")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize(
    "given", ["hooks.example.org/T0/SECRET", "file:///etc/SECRET", "https://", "https://example.org/SECRET\nx", "https://[SECRET"]
)
def test_a_webhook_that_is_no_address_is_refused_without_being_shown(given: str) -> None:
    with pytest.raises(AlertsError) as caught:
        alert_sensors(Alerts(webhook=given))
    assert str(caught.value).startswith("NEURON_ATLAS_ALERT_WEBHOOK: what is given is no address of the form https://host/path")
    assert "SECRET" not in str(caught.value)


def test_an_alert_that_cannot_be_delivered_is_told_without_the_address(failed: tuple) -> None:
    instance, result = failed
    with receiver() as (url, posted):
        for address, reason in ((url.replace("/hook", "/SECRET"), "it answered 404"), ("http://127.0.0.1:9/SECRET", "refused")):
            (sensor,) = alert_sensors(Alerts(webhook=address))
            with pytest.raises(Exception) as caught:  # noqa: PT011 (Dagster wraps what a sensor raises)
                sensor(failure_context(instance, result, sensor.name))
            told = "".join(traceback.format_exception(caught.value))
            assert "the receiver that NEURON_ATLAS_ALERT_WEBHOOK names did not take the message" in told
            assert reason in told
            assert "SECRET" not in told
    assert posted == []


def test_nobody_is_told_unless_the_environment_says_who(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEBHOOK", "EMAIL"):
        monkeypatch.delenv(f"NEURON_ATLAS_ALERT_{name}", raising=False)
    assert alert_sensors(Settings.from_environment().alerts) == []
    sensors = build_definitions([], Settings(tmp_path, tmp_path, "")).sensors or []
    assert [sensor.name for sensor in sensors] == ["across_models_refresh"]  # asks for runs, tells nobody

    monkeypatch.setenv("NEURON_ATLAS_ALERT_EMAIL", "one@example.org, two@example.org")
    with pytest.raises(ValueError, match="NEURON_ATLAS_ALERT_EMAIL is set, but not all of NEURON_ATLAS_SMTP_HOST"):
        alert_sensors(Settings.from_environment().alerts)
    for name in ("HOST", "USER", "PASSWORD"):
        monkeypatch.setenv(f"NEURON_ATLAS_SMTP_{name}", "secret")
    alerts = Settings.from_environment().alerts
    assert alerts.email_to == ("one@example.org", "two@example.org")
    assert [sensor.name for sensor in alert_sensors(alerts)] == ["failed_run_by_email"]
    assert "secret" not in repr(alerts).replace("smtp_host='secret', smtp_user='secret'", "")
