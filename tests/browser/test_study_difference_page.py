"""The page over two studies in a real browser, opened from disk: its figures, its switch, at the width of a phone, and texts that try to run."""

from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Browser  # noqa: E402

from reports.study_difference.site import build_study_difference_site  # noqa: E402
from tests.browser.test_report_pages import CHROMIUM, Watched  # noqa: E402
from tests.reports.study_difference.test_study_difference_page import LINKED, tables_of  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("difference")
    build_study_difference_site(tables_of(moved=True), LINKED, [], folder)
    return folder


def test_figures_are_drawn_the_curves_switch_and_follow_a_change_to_dark(browser: Browser, site: Path) -> None:
    watched = Watched(browser, site)
    page = watched.open("index.html")
    for name in ("distances", "layers", "curves"):
        watched.figure(name)
    shown = watched.hover("curves", 2, 8)
    assert "demo" in shown
    assert "half" in shown
    assert "␣an is predicted at" in shown
    label = page.locator('fieldset label:has(input[name="curves-view"])').nth(1)
    label.click()
    assert "</script><b>" in label.inner_text()
    plot = page.locator('[data-figure="curves"]')
    light = plot.evaluate("(plot) => plot.layout.font.color")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("(light) => document.querySelector('[data-figure=curves]').layout.font.color !== light", arg=light)
    watched.context.close()
    assert watched.faults == []


def test_the_page_is_no_wider_than_a_phone(browser: Browser, site: Path) -> None:
    phone = Watched(browser, site, is_mobile=True, has_touch=True)
    phone.page.set_viewport_size({"width": 375, "height": 800})
    page = phone.open("index.html")
    for name in ("distances", "layers", "curves"):
        phone.figure(name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    phone.context.close()
    assert phone.faults == []
