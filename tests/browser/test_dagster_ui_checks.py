"""A check that fails in the Dagster UI, in a real browser: it is red and says why, nothing downstream is made, and it can be mended."""

import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Page, expect  # noqa: E402

from assets.stages import STAGES, ancestors  # noqa: E402
from assets.store import RECORD, Place, Store  # noqa: E402
from tests.browser.live_server import Server, assert_all_blocking_checks_hold, launch, logged  # noqa: E402
from tests.browser.test_report_pages import CHROMIUM  # noqa: E402
from tests.planted import PLANTED_LAYER, PLANTED_NEURON  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")]

SHARD = Place("planted", "activation_histograms", "0001")
BALANCED = "for every neuron, bins + underflow + overflow + NaN = counted positions"
DOWNSTREAM = [name for name in STAGES if "activation_histograms" in ancestors(name)]


def test_a_failed_check_says_why_stops_everything_downstream_and_is_green_again_when_mended(server: Server, page: Page) -> None:
    if not (server.data / "planted" / "report_site" / RECORD).exists():  # the newcomer's test was not run before
        assert server.end_of(launch(page, server, "planted")) == "SUCCESS"
    good = published(server.data / "planted")
    publish_counts_that_do_not_add_up(Store(server.data))

    # The run fails, by the check alone.
    run = launch(page, server, "planted")
    assert server.end_of(run) == "FAILURE"
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
    assert server.end_of(launch(page, server, "planted")) == "SUCCESS"
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


def published(folder: Path) -> dict[str, str]:
    """Record of every published output of a study: changes exactly when something is made again."""
    return {str(file.parent.relative_to(folder)): file.read_text() for file in folder.rglob(RECORD)}
