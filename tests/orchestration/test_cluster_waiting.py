"""How the cluster command judges runs and backfills: which failures are final, and which are a worker that died."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import dagster as dg
import pytest

from orchestration.cluster import webserver as module
from orchestration.cluster.webserver import ClusterError, Webserver


def run(name: str, status: str, **tags: str) -> dict[str, Any]:
    return {"runId": name, "status": status, "tags": [{"key": f"dagster/{key}", "value": value} for key, value in tags.items()]}


DIED = "the worker died"
LOGS: dict[str | None, dict[str, Any]] = {  # by the cursor before: two pages
    None: {"events": [{"__typename": "LogMessageEvent"}], "cursor": "1", "hasMore": True},
    "1": {"events": [{"__typename": "RunFailureEvent", "message": f"{DIED}\nsee its log"}], "cursor": "2", "hasMore": False},
}


class Scripted(Webserver):
    """A webserver that answers what it is told to, a list of runs and a status a look; the last answer stays."""

    def __init__(self, *looks: tuple[str, list[dict[str, Any]]]) -> None:
        self.url = "http://scripted"
        self.looks = iter(looks)
        self.now = next(self.looks)
        self.patience = 30

    def _ask(self, query: str, variables: Any, field: str) -> Any:
        self.patience -= 1
        assert self.patience, "waits for ever"
        if field == "partitionBackfillOrError":
            self.now = next(self.looks, self.now)
            return {"status": self.now[0]}
        if field == "logsForRun":
            return LOGS[variables["after"]]
        if "runIds" in variables["filter"]:
            self.now = next(self.looks, self.now)
            return {"results": [one for one in self.now[1] if one["runId"] in variables["filter"]["runIds"]]}
        (tag,) = variables["filter"]["tags"]
        return {"results": [one for one in self.now[1] if tag in one["tags"]]}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda _: None)


LOST = run("a", "FAILURE", will_retry="true")
REPLACED = {"parent_run_id": "a", "root_run_id": "a"}


def test_a_run_whose_worker_died_is_waited_for_until_its_replacement_ends() -> None:
    looks = [[run("a", "STARTED")], [LOST], [LOST, run("b", "QUEUED", **REPLACED)], [LOST, run("b", "SUCCESS", **REPLACED)]]
    told: list[str] = []
    assert Scripted(("", []), *(("", look) for look in looks)).wait_for_run("a", told.append)
    assert told == ["run a started", f"run a failure: {DIED}", "run b success"]


def test_a_run_that_is_marked_for_a_new_start_only_after_it_failed_is_waited_for_as_well() -> None:
    looks = [[run("a", "FAILURE")], [LOST], [LOST, run("b", "SUCCESS", **REPLACED)]]
    assert Scripted(("", []), *(("", look) for look in looks)).wait_for_run("a", lambda _: None)


@pytest.mark.parametrize("status", ["FAILURE", "CANCELED"])
def test_a_run_that_is_not_started_again_has_failed(status: str) -> None:
    assert not Scripted(("", []), ("", [run("a", status)])).wait_for_run("a", lambda _: None)


def test_the_first_step_that_failed_says_why_by_its_innermost_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(step: str, *messages: str) -> dict[str, Any]:
        outer, *causes = ({"message": f"{message}\nTraceback"} for message in messages)
        return {"__typename": "ExecutionStepFailureEvent", "stepKey": step, "error": {**outer, "causes": causes}}

    failures = [failed("histograms", "an op failed", "StoreError: no room"), failed("later", "never told")]
    monkeypatch.setitem(LOGS, None, {"events": failures, "cursor": "1", "hasMore": True})
    told: list[str] = []
    assert not Scripted(("", []), ("", [run("a", "FAILURE")])).wait_for_run("a", told.append)
    assert told == ["run a failure: histograms: StoreError: no room"]


def test_the_last_replacement_decides() -> None:
    looks = [[LOST, run("b", "FAILURE", will_retry="false", **REPLACED)]]
    assert not Scripted(("", []), *(("", look) for look in looks)).wait_for_run("a", lambda _: None)


def shard(name: str, key: str, status: str, **tags: str) -> dict[str, Any]:
    return run(name, status, backfill="f", asset_partition_range_start=key, asset_partition_range_end=key, **tags)


def test_a_backfill_is_done_when_every_shard_has_a_run_that_succeeded_though_one_was_lost() -> None:
    lost = shard("a", "0000", "FAILURE", will_retry="true")
    done = [lost, shard("b", "0001", "SUCCESS"), shard("c", "0000", "SUCCESS", **REPLACED)]
    server = Scripted(("", []), ("REQUESTED", [lost, shard("b", "0001", "SUCCESS")]), ("REQUESTED", done))
    told: list[str] = []
    assert server.wait_for_backfill("f", ["0000", "0001"], told.append)
    assert told == [f"shard 0000, run a failure: {DIED}", "shard 0001, run b success", "shard 0000, run c success"]


@pytest.mark.parametrize("status", ["COMPLETED_FAILED", "FAILED", "CANCELED"])
def test_a_backfill_that_dagster_gave_up_has_failed(status: str) -> None:
    server = Scripted(("", []), (status, [shard("a", "0000", "SUCCESS"), shard("b", "0001", "FAILURE")]))
    assert not server.wait_for_backfill("f", ["0000", "0001"], lambda _: None)


class Flaky(BaseHTTPRequestHandler):
    """Answers each request by the next of `answers`, and with the last for ever: a status with a body, or a closed connection."""

    answers: list[tuple[int, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not status:
            self.close_connection = True  # no answer at all
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def flaky() -> Iterator[Callable[..., Webserver]]:
    """A webserver on this machine that gives these answers after its first."""
    servers = []

    def serve(*answers: tuple[int, str]) -> Webserver:
        handler = type("Answers", (Flaky,), {"answers": [(200, '{"data": {"version": "1"}}'), *answers]})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return Webserver(f"http://127.0.0.1:{server.server_port}")

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def runs(*found: dict[str, Any]) -> tuple[int, str]:
    return 200, json.dumps({"data": {"runsOrError": {"results": found}}})


def test_a_wait_goes_on_over_dropped_requests_and_errors_of_a_proxy_and_tells_both_ends_once(flaky: Callable[..., Webserver]) -> None:
    started, done = [runs(run("a", "STARTED")), runs()], [runs(run("a", "SUCCESS")), runs()]
    server = flaky(*started, (0, ""), (502, "<html>Bad Gateway</html>"), (503, "{}"), (200, "no JSON"), *done)
    told: list[str] = []
    assert server.wait_for_run("a", told.append)
    assert told[0] == "run a started"
    assert told[1].startswith(f"no Dagster webserver answers at {server.url}; start one")
    assert told[1].endswith("asked again for 10 minutes. What was started goes on meanwhile")
    assert told[2:] == [f"{server.url} answers again", "run a success"]


def test_a_wait_ends_with_its_sentence_when_the_webserver_never_comes_back(
    flaky: Callable[..., Webserver], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = flaky((502, ""))
    clock = iter(range(0, 100_000, 100))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with pytest.raises(ClusterError, match="no Dagster webserver answers at"):
        server.wait_for_backfill("f", ["0000"], lambda _: None)


def test_what_starts_something_is_asked_for_once(flaky: Callable[..., Webserver]) -> None:
    started = (200, json.dumps({"data": {"launchPartitionBackfill": {"backfillId": "f"}}}))
    server = flaky((0, ""), started)
    with pytest.raises(ClusterError, match="no Dagster webserver answers at"):
        server.start_backfill(dg.AssetKey(["demo", "activation_histograms"]), ["0000"], "title", {})
    assert server.start_backfill(dg.AssetKey(["demo", "activation_histograms"]), ["0000"], "title", {}) == "f"


def test_a_refusal_is_an_answer_and_ends_a_wait(flaky: Callable[..., Webserver]) -> None:
    server = flaky((200, json.dumps({"data": {"partitionBackfillOrError": {"message": "no such backfill"}}})))
    with pytest.raises(ClusterError, match="was refused: no such backfill"):
        server.wait_for_backfill("f", ["0000"], lambda _: None)


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://host", "http://"])
def test_an_address_that_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ClusterError, match="give the address of the Dagster UI, such as http://127.0.0.1:3000"):
        Webserver(url)
