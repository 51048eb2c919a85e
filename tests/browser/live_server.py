"""What a live Dagster server is asked, and the clicks by which a person starts a study in it. Holds no test."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

# Many times what an idle machine needs (9 s, 35 s, 1 s), so that a loaded one does not fail the test; every wait ends.
SECONDS_TO_LOAD, SECONDS_TO_RUN, SECONDS_TO_SHOW = 180, 1200, 90

LOADED = "{workspaceOrError{... on Workspace{locationEntries{loadStatus locationOrLoadError{__typename}}}}}"
CHECKS = """{assetNodes(group: {groupName: "%s", repositoryName: "__repository__", repositoryLocationName: "neuron_atlas"})
  {assetChecksOrError{... on AssetChecks{checks{name blocking executionForLatestMaterialization{status evaluation{success}}}}}}}"""
STATUS = '{runOrError(runId: "%s"){... on Run{status}}}'
STEPS = '{runOrError(runId: "%s"){... on Run{stepStats{stepKey status}}}}'
POOL = '{instance{concurrencyLimit(concurrencyKey: "model"){claimedSlots{runId} pendingSteps{runId}}}}'
ENDS = ("SUCCESS", "FAILURE", "CANCELED")


@dataclass(frozen=True)
class Server:
    """Where the UI and the reports are served, and the folders of studies and outputs."""

    ui: str
    site: str
    studies: Path
    data: Path

    def ask(self, query: str) -> dict[str, Any]:
        """What the UI itself would be told."""
        request = urllib.request.Request(f"{self.ui}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            told = json.load(answer)
        assert "errors" not in told, told["errors"]
        return told["data"]

    def wait_until_loaded(self, process: subprocess.Popen) -> None:
        """Wait for the code location; fails with the server's end or after three minutes."""
        deadline = time.monotonic() + SECONDS_TO_LOAD
        while time.monotonic() < deadline:
            assert process.poll() is None, "the server ended before it was loaded"
            try:
                entries = self.ask(LOADED)["workspaceOrError"]["locationEntries"]
            except (urllib.error.URLError, ConnectionError, TimeoutError, KeyError):
                entries = []
            if entries and entries[0]["loadStatus"] == "LOADED":
                assert entries[0]["locationOrLoadError"]["__typename"] == "RepositoryLocation"
                assert process.poll() is None, f"another server answers at {self.ui}"
                return
            time.sleep(0.5)
        raise AssertionError(f"nothing was loaded within {SECONDS_TO_LOAD} s")

    def end_of(self, run: str) -> str:
        """How a run ended; waits for it. Fails after twenty minutes."""
        deadline = time.monotonic() + SECONDS_TO_RUN
        while (status := self.ask(STATUS % run)["runOrError"]["status"]) not in ENDS:
            assert time.monotonic() < deadline, f"run {run} is {status} after {SECONDS_TO_RUN} s"
            time.sleep(0.5)
        return status

    def checks(self, group: str) -> list[dict[str, Any]]:
        """Every check of a study, with how it judged the latest materialization."""
        return [check for node in self.ask(CHECKS % group)["assetNodes"] for check in node["assetChecksOrError"].get("checks", [])]

    def steps(self, run: str) -> dict[str, str]:
        """Status of every step that was begun or left out, by its name."""
        return {step["stepKey"]: step["status"] for step in self.ask(STEPS % run)["runOrError"]["stepStats"]}

    def holders_of_the_pool(self) -> list[str]:
        """Runs that hold a place in the pool of the model, or wait for one."""
        pool = self.ask(POOL)["instance"]["concurrencyLimit"]
        return [place["runId"] for places in pool.values() for place in places]


def assert_all_blocking_checks_hold(checks: list[dict[str, Any]]) -> None:
    """Every blocking check has looked at what was made last, and holds."""
    assert [check["name"] for check in checks if check["blocking"] and not check["executionForLatestMaterialization"]] == []
    looked = [check["executionForLatestMaterialization"] for check in checks if check["blocking"]]
    assert {look["status"] for look in looked} == {"SUCCEEDED"}
    assert all(look["evaluation"]["success"] for look in looked)


def launch(page: "Page", server: Server, group: str) -> str:
    """Start a study's job by its launchpad as it opens; the run's page is then shown. Returns the run's id."""
    from playwright.sync_api import expect

    page.goto(server.ui)
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name=f"{group}_study").click()
    materialize = page.get_by_role("button", name=re.compile("Materialize all"))
    expect(materialize).to_be_enabled()
    _menu_beside(page, materialize)
    page.get_by_text("Open launchpad").click()
    page.locator("button", has_text=re.compile("^Materialize$")).last.click()
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url(re.compile("/runs/"))
    return run_shown(page)


def end_away(page: "Page", server: Server, run: str) -> str:
    """How a run ended, waited for away from its page, which is then shown again: drawn while the run goes on it takes two thirds of a core."""
    page.goto("about:blank")
    status = server.end_of(run)
    page.goto(f"{server.ui}/runs/{run}")
    return status


def run_shown(page: "Page") -> str:
    """Id of the run whose page is open."""
    found = re.search(r"/runs/([0-9a-f-]{36})", page.url)
    assert found, page.url
    return found[1]


def logged(page: "Page", text: str) -> "Locator":
    """The line of the open run's log that holds `text`: what is left when the log is filtered by it."""
    page.get_by_placeholder(re.compile("^Filter")).fill(text)
    return page.get_by_text(text).first


def _menu_beside(page: "Page", button: "Locator") -> None:
    """Open the menu that stands right of a button and belongs to it; it has no name of its own."""
    box = button.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] + 12, box["y"] + box["height"] / 2)
