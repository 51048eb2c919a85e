"""The Dagster UI as a newcomer uses it, in a real browser: a study found, run as its launchpad stands, its checks green, its report open."""

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Page, expect  # noqa: E402

from assets.quality.every_check import checks_of  # noqa: E402
from assets.stages import STAGES  # noqa: E402
from tests.browser.live_server import Server, assert_all_blocking_checks_hold, launch  # noqa: E402
from tests.browser.test_report_pages import CHROMIUM  # noqa: E402
from tests.planted import PLANTED_LAYER, PLANTED_NEURON  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")]


def test_a_newcomer_runs_a_study_as_it_stands_sees_its_checks_hold_and_opens_the_report(server: Server, page: Page) -> None:
    # Load and materialize: the study is a group of assets and a job, and the job's launchpad is used as it opens.
    run = launch(page, server, "planted")
    assert server.end_of(run) == "SUCCESS"
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()

    # Checks: every one has looked at what was made and holds; the page of one says so in words.
    checks = server.checks("planted")
    assert len(checks) == sum(len(check.shown) for name in STAGES for check in checks_of(name))
    assert_all_blocking_checks_hold(checks)
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
