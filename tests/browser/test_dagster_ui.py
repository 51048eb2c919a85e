"""The Dagster UI as people use it, in a real browser: a newcomer runs a study as it stands; a check fails, says why and is mended; a run is
watched in its log, stopped in the middle of the counting and started again. One file, so that one process of the tests starts the server.
"""

import re
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Page, expect  # noqa: E402

from assets.quality.every_check import checks_of  # noqa: E402
from assets.stages import STAGES, ancestors  # noqa: E402
from assets.store import RECORD, Place, Store  # noqa: E402
from assets.store.local import LocalFolder  # noqa: E402
from tests.browser.live_server import (  # noqa: E402
    SECONDS_TO_RUN,
    Server,
    assert_all_blocking_checks_hold,
    end_away,
    launch,
    logged,
    run_shown,
)
from tests.browser.test_report_pages import CHROMIUM  # noqa: E402
from tests.faults.evidence import damage  # noqa: E402
from tests.planted import PLANTED_LAYER, PLANTED_NEURON  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")]

SHARD = Place("planted", "activation_histograms", "0001")
BALANCED = "for every neuron, bins + underflow + overflow + NaN = counted positions"
DOWNSTREAM = [name for name in STAGES if "activation_histograms" in ancestors(name)]
STOPPED = "planted-long"
PROGRESS = re.compile(r"shard 0001, 2 of 2: ([\d,]+) of ([\d,]+) positions \(\d+%\), ([\d,]+) a second, [\d,]+ s left")
COUNTING = Place(STOPPED, "activation_histograms", "0001")


def test_a_newcomer_runs_a_study_as_it_stands_sees_its_checks_hold_and_opens_the_report(server: Server, page: Page) -> None:
    # Load and materialize: the study is a group of assets and a job, and the job's launchpad is used as it opens.
    run = launch(page, server, "planted")
    assert end_away(page, server, run) == "SUCCESS"
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


def test_a_failed_check_says_why_stops_everything_downstream_and_is_green_again_when_mended(server: Server, page: Page) -> None:
    if not (server.data / "planted" / "report_site" / RECORD).exists():  # the newcomer's test was not run before
        assert end_away(page, server, launch(page, server, "planted")) == "SUCCESS"
    good = published(server.data / "planted")
    publish_counts_that_do_not_add_up(Store(server.data))

    # The run fails, by the check alone.
    run = launch(page, server, "planted")
    assert end_away(page, server, run) == "FAILURE"
    expect(page.get_by_text("Failure", exact=True).first).to_be_visible()
    expect(logged(page, f"{SHARD}: nothing changed, kept as it is")).to_be_visible()
    steps = server.steps(run)
    assert [name for name, status in steps.items() if status == "FAILURE"] == ["planted__activation_histograms_checks"]

    # The check's page is red: what was expected, what was observed, where to mend it.
    page.goto(f"{server.ui}/assets/planted/activation_histograms?view=checks&checkDetail=bin_counts")
    expect(page.get_by_text("If it fails, nothing downstream is made.", exact=False)).to_be_visible()
    expect(page.get_by_text("14 of 15 expectations hold", exact=False).first).to_be_visible()
    row = page.locator("tr", has=page.get_by_text(BALANCED, exact=True)).last
    expect(row).to_contain_text("for every neuron")
    expect(row).to_contain_text(f"shard 0001: 1 of 48 neurons unbalanced; most in layer {PLANTED_LAYER} (1)")
    expect(page.get_by_text(str(server.data / "planted" / "activation_histograms"), exact=False)).to_be_visible()

    # Nothing downstream was made, and the last good report is still read.
    assert not [name for name in DOWNSTREAM if steps.get(f"planted__{name}", "SKIPPED") != "SKIPPED"]
    bad = published(server.data / "planted")
    assert [name for name in bad if bad[name] != good[name]] == ["activation_histograms/0001"]
    with urllib.request.urlopen(f"{server.site}/planted/index.html", timeout=30) as report:
        assert b'class="reply"' in report.read()

    # Mended as the check says: the shard is counted again, to the same integers, so that nothing else has to be.
    shutil.rmtree(server.data / SHARD.path)
    assert end_away(page, server, launch(page, server, "planted")) == "SUCCESS"
    expect(logged(page, f"{SHARD}: published in")).to_be_visible()
    mended = published(server.data / "planted")
    assert sorted(name for name in mended if mended[name] != good[name]) == [
        "activation_histograms/0001",
        "report_site",
    ]  # the report says when
    assert_all_blocking_checks_hold(server.checks("planted"))
    page.goto(f"{server.ui}/assets/planted/activation_histograms?view=checks&checkDetail=bin_counts")
    expect(page.get_by_text("15 of 15 expectations hold", exact=False).first).to_be_visible()


def publish_counts_that_do_not_add_up(store: Store) -> None:
    """What an engine that counts one position twice would have published: whole files, a true record, a wrong number."""
    import zarr

    record = store.find(SHARD)
    assert record is not None
    with store.one_writer(SHARD), store.publish(SHARD, record.fingerprint, record.inputs) as draft:
        shutil.copytree(record.folder, draft.folder, dirs_exist_ok=True)
        count = zarr.open_group(str(draft.folder), mode="r+")["count"]
        assert isinstance(count, zarr.Array)
        wrong = np.asarray(count[:])
        wrong[PLANTED_LAYER, PLANTED_NEURON, 7] += 1
        count[:] = wrong
        draft.facts.update(record.facts)
        draft.summary.update(record.summary)
        draft.provenance.update(record.provenance)


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
    left = published(server.data / STOPPED)
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
    assert end_away(page, server, again) == "SUCCESS"
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(logged(page, f"{STOPPED}/activation_histograms shard 0000: nothing changed, kept as it is")).to_be_visible()
    expect(logged(page, f"{COUNTING}: published in")).to_be_visible()
    assert left.items() <= published(server.data / STOPPED).items()
    assert_all_blocking_checks_hold(server.checks("planted_long"))


def published(folder: Path) -> dict[str, str]:
    """Record of every published output of a study: changes exactly when something is made again."""
    return {str(file.parent.relative_to(folder)): file.read_text() for file in folder.rglob(RECORD)}
