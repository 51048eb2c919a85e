"""The Dagster UI as a newcomer uses it, in a real browser: a study found, run as its launchpad stands, its checks green, its report open.

The server is the one of `make dev`, on free ports of the loopback address, with an instance and a data folder of its own.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402

from assets.quality.published import checks_of  # noqa: E402
from assets.stages import STAGES  # noqa: E402
from orchestration.serve import LOOPBACK, free_port  # noqa: E402
from tests.browser.test_report_pages import ARGUMENTS, CHROMIUM  # noqa: E402
from tests.pipeline.conftest import planted_fields  # noqa: E402
from tests.planted import PLANTED_LAYER, PLANTED_NEURON, planted_corpus, planted_model  # noqa: E402

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")

ROOT = Path(__file__).parents[2]
# Many times what an idle machine needs (9 s, 35 s, 1 s), so that a loaded one does not fail the test; every wait ends.
SECONDS_TO_LOAD, SECONDS_TO_RUN, SECONDS_TO_SHOW = 180, 420, 60

LOADED = "{workspaceOrError{... on Workspace{locationEntries{loadStatus locationOrLoadError{__typename}}}}}"
CHECKS = """{assetNodes(group: {groupName: "planted", repositoryName: "__repository__", repositoryLocationName: "neuron_atlas"})
  {assetChecksOrError{... on AssetChecks{checks{name blocking executionForLatestMaterialization{status evaluation{success}}}}}}}"""


@dataclass(frozen=True)
class Server:
    """Where the UI and the reports are served."""

    ui: str
    site: str

    def ask(self, query: str) -> dict[str, Any]:
        """What the UI itself would be told."""
        request = urllib.request.Request(f"{self.ui}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

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
                return
            time.sleep(0.5)
        raise AssertionError(f"nothing was loaded within {SECONDS_TO_LOAD} s")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The servers of `make dev` with one small study that has never been run."""
    folder = tmp_path_factory.mktemp("ui")
    planted_model(folder / "files" / "model")
    planted_corpus(folder / "files")
    (folder / "studies").mkdir()
    fields = planted_fields(folder / "files") | {"ablation_positions": 0, "shards": 2}
    (folder / "studies" / "planted.yaml").write_text(yaml.safe_dump(fields))
    (folder / "home").mkdir()
    shutil.copy(ROOT / "orchestration" / "instance" / "dagster.yaml", folder / "home")
    ui, site = free_port(3600), free_port(3700)
    environment = os.environ | {
        "NEURON_ATLAS_DATA": str(folder / "data"),
        "NEURON_ATLAS_STUDIES": str(folder / "studies"),
        "NEURON_ATLAS_UI_PORT": str(ui),
        "NEURON_ATLAS_SITE_PORT": str(site),
        "DAGSTER_HOME": str(folder / "home"),
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "orchestration.serve"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    served = Server(f"http://{LOOPBACK}:{ui}", f"http://{LOOPBACK}:{site}")
    try:
        served.wait_until_loaded(process)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        opened = chromium.new_page(viewport={"width": 1500, "height": 950})
        opened.set_default_timeout(SECONDS_TO_SHOW * 1000)
        expect.set_options(timeout=SECONDS_TO_SHOW * 1000)
        yield opened
        chromium.close()


def test_a_newcomer_runs_a_study_as_it_stands_sees_its_checks_hold_and_opens_the_report(server: Server, page: Page) -> None:
    # Load: the study is a group of assets and a job.
    page.goto(server.ui)
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name="planted_study").click()
    materialize = page.get_by_role("button", name=re.compile("Materialize all"))
    expect(materialize).to_be_enabled()

    # Materialize: the launchpad as it opens.
    _menu_beside(page, materialize)
    page.get_by_text("Open launchpad").click()
    page.locator("button", has_text=re.compile("^Materialize$")).last.click()
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url(re.compile("/runs/"))
    ended = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
    expect(ended).to_be_visible(timeout=SECONDS_TO_RUN * 1000)
    expect(ended).to_have_text("Success")

    # Checks: every one has looked at what was made and holds; the page of one says so in words.
    checks = [check for node in server.ask(CHECKS)["assetNodes"] for check in node["assetChecksOrError"].get("checks", [])]
    assert len(checks) == sum(len(checks_of(name)) for name in STAGES)
    looked = [check["executionForLatestMaterialization"] for check in checks if check["blocking"]]
    assert {look["status"] for look in looked} == {"SUCCEEDED"}
    assert all(look["evaluation"]["success"] for look in looked)
    page.goto(f"{server.ui}/assets/planted/merged_histograms?view=checks")
    expect(page.get_by_text("for every neuron, bins + underflow + overflow + NaN = counted positions", exact=True)).to_be_visible()
    expect(page.get_by_text("0 of 48 neurons unbalanced", exact=True)).to_be_visible()

    # The asset's page: its numbers, a look at its table, what its columns mean.
    page.goto(f"{server.ui}/assets/planted/token_neuron_scores")
    expect(page.get_by_text("Area under the ROC curve of the binned activation", exact=False).first).to_be_visible()
    row = page.locator("tr", has=page.get_by_text('" an"', exact=True)).first
    expect(row).to_contain_text(str(PLANTED_NEURON))

    # The report opens from the asset's page and answers the study's question.
    page.goto(f"{server.ui}/assets/planted/report_site")
    with page.expect_popup() as popup:
        page.get_by_role("link", name=f"{server.site}/planted/index.html").click()
    reply = popup.value.locator("h1.reply")
    expect(reply).to_contain_text(re.compile(f"layer {PLANTED_LAYER}.*{PLANTED_NEURON}", re.IGNORECASE))


def _menu_beside(page: Page, button: Any) -> None:
    """Open the menu that stands right of a button and belongs to it; it has no name of its own."""
    box = button.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] + 12, box["y"] + box["height"] / 2)
