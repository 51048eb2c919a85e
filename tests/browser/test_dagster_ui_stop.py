"""A run in the Dagster UI, watched in its log, stopped in the middle of the counting and started again, in a real browser."""

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Page, expect  # noqa: E402

from assets.store import RECORD, Place  # noqa: E402
from assets.store.local import LocalFolder  # noqa: E402
from tests.browser.live_server import (  # noqa: E402
    SECONDS_TO_RUN,
    Server,
    assert_all_blocking_checks_hold,
    launch,
    logged,
    run_shown,
)
from tests.browser.test_report_pages import CHROMIUM  # noqa: E402
from tests.faults.evidence import damage  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")]

STUDY = "planted-long"
PROGRESS = re.compile(r"shard 0001, 2 of 2: ([\d,]+) of ([\d,]+) positions \(\d+%\), ([\d,]+) a second, [\d,]+ s left")
COUNTING = Place(STUDY, "activation_histograms", "0001")


def test_a_run_is_watched_stopped_in_the_middle_of_the_counting_and_goes_on_where_it_was(server: Server, page: Page) -> None:
    # Watch: the log tells how far the shard is, how fast it goes and how long it takes.
    run = launch(page, server, "planted_long")
    line = page.get_by_text(PROGRESS).first
    expect(line).to_be_visible(timeout=SECONDS_TO_RUN * 1000)
    told = PROGRESS.search(line.inner_text())

    # Stop.
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("button", name="Terminate 1 run").click()
    assert server.end_of(run) == "CANCELED"
    expect(page.get_by_text("Canceled", exact=True).first).to_be_visible()
    assert told is not None
    done, total, rate = (int(number.replace(",", "")) for number in told.groups())
    assert 0 < done < total
    assert rate > 0
    expect(logged(page, f"{COUNTING}: stopped; nothing half-written stays")).to_be_visible()

    # What is left: whole outputs up to the shard before, nothing of this one, and neither the pool nor the output is held.
    left = published(server.data / STUDY)
    assert "activation_histograms/0000" in left
    assert "activation_histograms/0001" not in left
    assert not any(entry.is_dir() for entry in (server.data / COUNTING.path).iterdir())
    assert damage(server.data) == []
    assert run not in server.holders_of_the_pool()
    with LocalFolder(server.data).one_writer(COUNTING, wait=False) as is_free:
        assert is_free

    # Again, by the button that the run's page offers: what was finished is kept, the rest is made, everything is green.
    page.get_by_role("button", name="Re-execute all").click()
    page.wait_for_url(lambda url: "/runs/" in url and run not in url)
    again = run_shown(page)
    assert server.end_of(again) == "SUCCESS"
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(logged(page, f"{STUDY}/activation_histograms shard 0000: nothing changed, kept as it is")).to_be_visible()
    expect(logged(page, f"{COUNTING}: published in")).to_be_visible()
    assert left.items() <= published(server.data / STUDY).items()
    assert_all_blocking_checks_hold(server.checks("planted_long"))


def published(folder: Path) -> dict[str, str]:
    """Record of every published output of a study: changes exactly when something is made again."""
    return {str(file.parent.relative_to(folder)): file.read_text() for file in folder.rglob(RECORD)}
