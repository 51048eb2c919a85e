"""What the cluster command asks of a running Dagster webserver, over its GraphQL API: start runs and a backfill, and how they stand.

The same requests that the UI sends, so everything started here can be followed and cancelled there.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import requests
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

from assets.errors import InputError

SECONDS_BETWEEN_LOOKS = 1.0
PATIENCE = 600.0  # seconds without any answer after which a wait ends: a webserver that is started again is back in one or two minutes
BACKFILL_UNDER_WAY = ("REQUESTED", "CANCELING", "FAILING", "COMPLETING")

LAUNCH_BACKFILL = """
mutation ($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on PartitionKeysNotFoundError { message }
  }
}"""

BACKFILL_STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status error { message } }
    ... on PythonError { message }
    ... on BackfillNotFoundError { message }
  }
}"""

RUNS = """
query ($filter: RunsFilter!) {
  runsOrError(filter: $filter) {
    __typename
    ... on Runs { results { runId status tags { key value } } }
    ... on PythonError { message }
    ... on InvalidPipelineRunsFilterError { message }
  }
}"""

EVENTS = """
query ($id: ID!, $after: String) {
  logsForRun(runId: $id, afterCursor: $after) {
    __typename
    ... on EventConnection {
      events {
        __typename
        ... on ExecutionStepFailureEvent { stepKey error { message causes { message } } }
        ... on RunFailureEvent { message }
      }
      cursor
      hasMore
    }
    ... on PythonError { message }
    ... on RunNotFoundError { message }
  }
}"""


class ClusterError(InputError):
    """A webserver that does not answer, or a run that it refused or that failed."""


class NoAnswerError(ClusterError):
    """A webserver that cannot be reached, or that answered with an error of its own; a moment later it may."""


class Webserver:
    """One Dagster webserver. Raises ClusterError naming its address where it does not answer or refuses."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClusterError(f"NEURON_ATLAS_UI: given {url!r}; give the address of the Dagster UI, such as http://127.0.0.1:3000")
        self.url = url.rstrip("/")
        self._ask("query { version }", {}, "version")
        self._client = DagsterGraphQLClient(
            parts.hostname, port_number=parts.port, use_https=parts.scheme == "https", path_prefix=parts.path.rstrip("/")
        )

    def start_run(self, job: str, assets: Sequence[dg.AssetKey], tags: Mapping[str, str]) -> str:
        """Queue one run of some assets of a job, their checks included; its id."""
        try:
            return str(self._client.submit_job_execution(job, asset_selection=assets, tags=dict(tags)))
        except DagsterGraphQLClientError as error:
            raise ClusterError(f"{self.url}: job {job} was not started: {error}") from None

    def start_backfill(self, asset: dg.AssetKey, partitions: Sequence[str], title: str, tags: Mapping[str, str]) -> str:
        """Start a backfill of some partitions of one asset; its id."""
        wanted = {
            "assetSelection": [{"path": list(asset.path)}],
            "partitionNames": list(partitions),
            "title": title,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        return str(self._ask(LAUNCH_BACKFILL, {"backfill": wanted}, "launchPartitionBackfill")["backfillId"])

    def wait_for_run(self, run: str, tell: Callable[[str], None]) -> bool:
        """Wait until the run, or the last of the runs that replaced it because its worker died, has ended. True if one succeeded."""
        told: set[tuple[str, str]] = set()
        looks_at_the_end = 0  # Dagster marks a run as failed a moment before it marks it to be started again: look twice
        while looks_at_the_end < 2:
            runs = self._patiently(lambda: self._runs_of(run), tell)
            self._tell_once(runs, told, tell)
            if any(one["status"] == "SUCCESS" for one in runs):
                return True
            is_over = all(_has_ended(one) for one in runs) and not _is_replaced_soon(runs)
            looks_at_the_end = looks_at_the_end + 1 if is_over else 0
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return False

    def wait_for_backfill(self, backfill: str, partitions: Sequence[str], tell: Callable[[str], None]) -> bool:
        """Wait until each partition has a run that succeeded, or Dagster gives the backfill up. True if every partition was made.

        Dagster itself looks at a backfill only every 30 seconds, and starts runs again whose worker died.
        """
        told: set[tuple[str, str]] = set()
        while True:
            found = self._patiently(lambda: self._ask(BACKFILL_STATUS, {"id": backfill}, "partitionBackfillOrError"), tell)
            runs = self._patiently(lambda: self._runs({"tags": [{"key": "dagster/backfill", "value": backfill}]}), tell)
            self._tell_once(runs, told, tell)
            if {_shard(run) for run in runs if run["status"] == "SUCCESS"} >= set(partitions):
                return True
            if found["status"] not in BACKFILL_UNDER_WAY:
                return bool(found["status"] == "COMPLETED_SUCCESS")
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _patiently(self, look: Callable[[], Any], tell: Callable[[str], None]) -> Any:
        """What a look gives, though some of its requests get no answer: a wait of hours must not end with one of them.

        Only looks are repeated. What starts something is asked for once, since an answer that was lost may have been a yes.
        """
        silent_since: float | None = None
        while True:
            try:
                found = look()
            except NoAnswerError as error:
                if silent_since is None:
                    silent_since = time.monotonic()
                    tell(f"{error}; asked again for {PATIENCE / 60:.0f} minutes. What was started goes on meanwhile")
                elif time.monotonic() - silent_since > PATIENCE:
                    raise
                time.sleep(SECONDS_BETWEEN_LOOKS)
                continue
            if silent_since is not None:
                tell(f"{self.url} answers again")
            return found

    def _runs_of(self, run: str) -> list[dict[str, Any]]:
        """A run and those that replaced it."""
        return self._runs({"runIds": [run]}) + self._runs({"tags": [{"key": "dagster/root_run_id", "value": run}]})

    def _runs(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = self._ask(RUNS, {"filter": dict(wanted)}, "runsOrError")["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def _tell_once(self, runs: Sequence[Mapping[str, Any]], told: set[tuple[str, str]], tell: Callable[[str], None]) -> None:
        for run in runs:
            if run["status"] in ("STARTED", "SUCCESS", "FAILURE", "CANCELED") and (run["runId"], run["status"]) not in told:
                told.add((run["runId"], run["status"]))
                again = (
                    " (in place of one whose worker died)" if run["status"] == "STARTED" and "dagster/parent_run_id" in run["tags"] else ""
                )
                why = f": {self._reason(run['runId'], tell)}" if run["status"] == "FAILURE" else ""
                what = f"shard {_shard(run)}, run" if "dagster/backfill" in run["tags"] else "run"
                tell(f"{what} {run['runId'][:8]} {run['status'].lower()}{again}{why}")

    def _reason(self, run: str, tell: Callable[[str], None]) -> str:
        """Why a run failed, in a line: its first step that failed and the innermost error, or what Dagster says of the whole run."""
        said, after, has_more = "no reason is in its log", None, True
        while has_more:
            page = self._patiently(partial(self._ask, EVENTS, {"id": run, "after": after}, "logsForRun"), tell)
            for event in page["events"]:
                if event["__typename"] == "ExecutionStepFailureEvent" and event["error"]:
                    innermost = (event["error"]["causes"] or [event["error"]])[-1]
                    return f"{event['stepKey']}: {_first_line(innermost['message'])}"
                if event["__typename"] == "RunFailureEvent":
                    said = _first_line(event["message"])
            after, has_more = page["cursor"], page["hasMore"]
        return said

    def _ask(self, query: str, variables: Mapping[str, Any], field: str) -> Any:
        try:
            answer = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60)
            if answer.status_code >= 500:  # a proxy whose server is away
                answer.raise_for_status()
            content = answer.json()
        except requests.RequestException:  # what is not JSON is one as well
            raise NoAnswerError(
                f"no Dagster webserver answers at {self.url}; start one (make local-cluster, or see docs/deployment.md), "
                "or give its address with NEURON_ATLAS_UI"
            ) from None
        found = (content.get("data") or {}).get(field)
        refused = found is None or (isinstance(found, dict) and "message" in found)
        if refused:
            raise ClusterError(f"{self.url}: {field} was refused: {found['message'] if found else content.get('errors')}")
        return found


def _shard(run: Mapping[str, Any]) -> str | None:
    """The partition of a backfill's run: a range of one."""
    return run["tags"].get("dagster/partition") or run["tags"].get("dagster/asset_partition_range_start")


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0]


def _has_ended(run: Mapping[str, Any]) -> bool:
    return run["status"] in ("FAILURE", "CANCELED")


def _is_replaced_soon(runs: Sequence[Mapping[str, Any]]) -> bool:
    """A run that Dagster has marked to be started again and that has no successor yet."""
    replaced = {run["tags"].get("dagster/parent_run_id") for run in runs}
    return any(run["tags"].get("dagster/will_retry") == "true" and run["runId"] not in replaced for run in runs)
