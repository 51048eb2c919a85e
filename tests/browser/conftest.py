"""One live Dagster server for all tests of this folder, with two small studies that have never been run, and a browser's page."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from orchestration.serve import LOOPBACK, free_port
from tests.browser.live_server import SECONDS_TO_SHOW, Server
from tests.browser.long_study import long_fields
from tests.pipeline.conftest import planted_fields
from tests.planted import planted_corpus, planted_model

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.browser.test_report_pages import Watched

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The servers of `make dev` on free ports of the loopback address, with an instance, studies and a data folder of their own."""
    folder = tmp_path_factory.mktemp("ui")
    planted_model(folder / "files" / "model")
    planted_corpus(folder / "files")
    fields = planted_fields(folder / "files") | {"ablation_positions": 0, "shards": 2}
    (folder / "studies").mkdir()
    (folder / "studies" / "planted.yaml").write_text(yaml.safe_dump(fields))
    (folder / "studies" / "planted-long.yaml").write_text(yaml.safe_dump(long_fields(fields, folder / "files" / "long")))
    (folder / "home").mkdir()
    shutil.copy(ROOT / "orchestration" / "instance" / "dagster.yaml", folder / "home")
    # A server takes its port seconds after it was found free: each process of the tests looks among ports of its own.
    own = 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ui, site = free_port(20_000 + own), free_port(20_050 + own)
    environment = os.environ | {
        "NEURON_ATLAS_DATA": str(folder / "data"),
        "NEURON_ATLAS_STUDIES": str(folder / "studies"),
        "NEURON_ATLAS_UI_PORT": str(ui),
        "NEURON_ATLAS_SITE_PORT": str(site),
        "DAGSTER_HOME": str(folder / "home"),
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "orchestration.serve"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    served = Server(f"http://{LOOPBACK}:{ui}", f"http://{LOOPBACK}:{site}", folder / "studies", folder / "data")
    try:
        served.wait_until_loaded(process)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the sample data, as files."""
    from reports.site import build_site
    from tests.reports.sample_data import report_data

    folder = tmp_path_factory.mktemp("site")
    build_site(report_data(), folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, for a file of tests."""
    from playwright.sync_api import sync_playwright

    from tests.browser.test_report_pages import ARGUMENTS, CHROMIUM

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page() -> "Iterator[Page]":
    """A window of Chromium."""
    from playwright.sync_api import expect, sync_playwright

    from tests.browser.test_report_pages import ARGUMENTS, CHROMIUM

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        opened = chromium.new_page(viewport={"width": 1500, "height": 950})
        opened.set_default_timeout(SECONDS_TO_SHOW * 1000)
        expect.set_options(timeout=SECONDS_TO_SHOW * 1000)
        yield opened
        chromium.close()


@pytest.fixture
def watched(browser: "Browser", site: Path) -> "Iterator[Watched]":
    """A page of the report of the sample data, of which no fault was told and no hostile text ran."""
    from tests.browser.test_report_pages import Watched

    page = Watched(browser, site)
    yield page
    hacked = page.page.evaluate("window.hacked ?? null")
    page.context.close()
    assert hacked is None, f"a hostile text ran: {hacked}"
    assert page.faults == []
