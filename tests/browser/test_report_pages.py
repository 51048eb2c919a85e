"""The rendered site in a real browser, opened from disk: every page, hover, clicks, switches, and texts that try to run.

Each page is watched: any console error, uncaught error or request beyond the site's own files fails the test that opened it.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Locator, Page, Request  # noqa: E402

from tests.reports.sample_data import SCRIPT_TOKEN  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")]

# A sandbox needs privileges that CI's root lacks; the rest keeps Chromium itself from calling out.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip


class Watched:
    """A page of the site, and everything that went wrong on it."""

    def __init__(self, browser: Browser, site: Path, **options: Any) -> None:
        self.site = site
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", self._judge)
        self.page.on("dialog", self._dismiss)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _dismiss(self, dialog: Dialog) -> None:
        self.faults.append(f"a dialog opened: {dialog.message}")
        dialog.dismiss()

    def _judge(self, request: Request) -> None:
        if not request.url.startswith((self.site.as_uri(), "data:", "blob:")):
            self.faults.append(f"request: {request.url}")

    def open(self, name: str) -> Page:
        file, mark, address = name.partition("#")
        self.page.goto((self.site / file).as_uri() + mark + address)
        return self.page

    def figure(self, name: str) -> Locator:
        """The figure, scrolled to and drawn."""
        plot = self.page.locator(f'[data-figure="{name}"]')
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
        return plot

    def hover(self, name: str, trace: int, point: int) -> str:
        """Point the mouse at one point of a figure and read what is shown there."""
        plot = self.figure(name)
        box = plot.locator(".svg-container").bounding_box()  # inside the figure's padding
        assert box is not None
        x, y = plot.evaluate(
            """(plot, [trace, point]) => {
                const { xaxis, yaxis } = plot._fullData[trace];
                const axis = (name) => plot._fullLayout[name.replace(/^(.)/, '$1axis')];
                const [x, y] = [axis(xaxis), axis(yaxis)];
                return [x._offset + x.d2p(plot.data[trace].x[point]), y._offset + y.d2p(plot.data[trace].y[point])];
            }""",
            [trace, point],
        )
        self.page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
        label = plot.locator(".hoverlayer .hovertext")
        label.first.wait_for()
        return " | ".join(label.all_text_contents())


def test_every_page_opens_from_disk_and_draws_all_its_figures(watched: Watched, site: Path) -> None:
    for file in sorted(site.glob("*.html")):
        page = watched.open(file.name)
        for plot in page.locator("[data-figure]").all():
            plot.scroll_into_view_if_needed()
            plot.locator(".main-svg").first.wait_for()
        assert page.evaluate("window.hacked ?? null") is None, file.name
        assert page.locator("h1").count() == 1, file.name
        assert watched.faults == [], file.name


def test_hovering_a_bin_names_the_token_its_count_and_its_interval(watched: Watched) -> None:
    watched.open("neuron-1-17.html")
    reliable = 3
    point = watched.page.evaluate(
        "JSON.parse(document.querySelector('[data-payload=proportion]').textContent)[0].data[3].y.findIndex((y) => y > 0.5)"
    )
    shown = watched.hover("proportion", reliable, point)
    assert "␣an is predicted at" in shown
    assert "95 % interval" in shown


def test_hovering_congruence_names_the_token(watched: Watched) -> None:
    watched.open("neuron-1-17.html")
    tracked = watched.page.evaluate("JSON.parse(document.querySelector('[data-payload=congruence]').textContent)[0].data.at(-1)")
    place = tracked["x"].index(11)
    trace = watched.page.evaluate("JSON.parse(document.querySelector('[data-payload=congruence]').textContent)[0].data.length - 1")
    assert watched.hover("congruence", trace, place).startswith("␣an")


def test_a_token_of_tags_is_shown_in_a_hover_as_it_is_written(watched: Watched) -> None:
    watched.open("neuron-1-17.html")
    tracked = watched.page.evaluate("JSON.parse(document.querySelector('[data-payload=congruence]').textContent)[0].data.at(-1)")
    trace = watched.page.evaluate("JSON.parse(document.querySelector('[data-payload=congruence]').textContent)[0].data.length - 1")
    assert watched.hover("congruence", trace, tracked["x"].index(SCRIPT_TOKEN)).startswith("</script><img␣src=x␣onerror=")
    assert watched.page.locator(".hoverlayer img, .hoverlayer a").count() == 0


def test_tokens_with_tags_stay_text_on_an_axis(watched: Watched) -> None:
    watched.open("prompt-apple.html")
    ticks = watched.figure("patching-residual").locator(".xtick text").all_text_contents()
    assert ticks[0] == "<|endoftext|>"
    assert ticks[5] == "␣apple"


def test_hovering_a_neuron_names_it_and_clicking_opens_its_page(watched: Watched) -> None:
    watched.open("token-11.html")
    drawn = watched.figure("congruence").evaluate("(plot) => plot.data[1].customdata.map((row) => row.slice(0, 2).join())")
    assert watched.hover("congruence", 1, drawn.index("1,17")).startswith("layer 1 neuron 17")
    watched.page.mouse.down()
    watched.page.mouse.up()
    watched.page.wait_for_url("**/neuron-1-17.html")


def test_a_switch_shows_the_other_view_and_works_from_the_keyboard(watched: Watched) -> None:
    page = watched.open("prompt-apple.html")
    plot = watched.figure("lens")
    before = plot.evaluate("(plot) => plot.data[0].y")
    page.get_by_role("radio", name="Own scale").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(before) => document.querySelector('[data-figure=lens]').data[0].y[0] !== before", arg=before[0])
    assert plot.evaluate("(plot) => plot.data[0].y")[0] == pytest.approx(before[0] * 0.4)
    assert "divided by the norm of the last layer" in page.locator("#lens [data-note]").inner_text()


def test_the_congruence_page_switches_convention_and_finds_tokens(watched: Watched) -> None:
    page = watched.open("congruence.html")
    assert page.locator('[data-part="published"]').is_hidden()
    page.get_by_role("radio", name="published").check()
    assert page.locator('[data-part="published"]').is_visible()
    assert page.locator('[data-part="logits"]').is_hidden()
    page.locator('[data-search="published"]').fill(" an")
    rows = page.locator('[data-results="published"] tr')
    assert rows.first.locator(".token").inner_text() == "␣an"
    assert rows.first.locator("a.neuron").get_attribute("href") == "neuron-1-17.html"
    assert rows.first.locator("a.plain").get_attribute("href") == "atlas/token.html#11"  # the token itself leads to its page
    page.locator('[data-search="published"]').fill("<b>")
    assert rows.first.locator(".token").inner_text() == "<b>bold</b>"
    page.locator('[data-search="published"]').fill("L1 N17")
    assert set(page.locator('[data-results="published"] tr td:nth-child(3)').all_inner_texts()) == {"L1 N17"}


def test_the_screen_page_finds_any_token_and_leads_to_its_neuron(watched: Watched) -> None:
    page = watched.open("screen.html")
    rows = page.locator('[data-results="screen"] tr')
    assert rows.count() == 50
    page.locator('[data-search="screen"]').fill(" an")
    cells = rows.first.locator("td").all_inner_texts()
    assert cells[:5] == ["␣an", "11", "300", "L1 N17", "+2.400"]  # who writes it most
    assert cells[5].startswith("L2 N9, L")  # and next
    assert cells[7].startswith("\u22120.1")  # who writes against it
    assert cells[8:] == ["L1 N17", "5.500", "0.900"]  # what stands out
    page.locator('[data-search="screen"]').fill("L1 N17")
    assert "\u2423an" in rows.locator("td:nth-child(1)").all_inner_texts()
    page.locator('[data-search="screen"]').fill("L2 N9")  # second writer of one token
    assert "\u2423an" in rows.locator("td:nth-child(1)").all_inner_texts()
    page.locator('[data-search="screen"]').fill("</script>")
    assert rows.first.locator(".token").inner_text() == "</script><img␣src=x␣onerror=\"window.hacked='token'\">"
    assert page.locator("main img").count() == 0
    page.locator('[data-search="screen"]').fill("11")
    assert rows.count() == 1
    rows.first.locator("a", has_text="L1 N17").first.click()
    page.wait_for_url("**/neuron-1-17.html")


def test_tables_sort_by_their_heads_and_keep_missing_values_last(watched: Watched) -> None:
    page = watched.open("neuron-1-17.html")
    table = page.locator("table.sortable").first
    table.get_by_role("button", name="AUROC").click()
    down = table.locator("tbody tr td:nth-child(2)").all_inner_texts()
    table.get_by_role("button", name="AUROC").click()
    up = table.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert (down[-1], up[-1]) == ("–", "–")
    assert up[:-1] == down[:-1][::-1]
    assert down[0].startswith("0.98")


def test_a_context_reads_out_activation_and_prediction_by_pointer_and_by_key(watched: Watched) -> None:
    page = watched.open("neuron-1-17.html")
    page.locator(".contexts .w.peak").first.hover()
    readout = page.locator(".readout")
    assert readout.inner_text().endswith("predicts ␣an")
    assert "activation 8.0" in readout.inner_text()
    page.mouse.move(5, 5)
    page.locator(".contexts p[tabindex]").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".w.reading.peak").count() == 1
    page.keyboard.press("ArrowLeft")
    assert page.locator(".w.reading").count() == 1
    assert page.locator(".w.reading.peak").count() == 0


def test_links_lead_from_the_front_page_to_a_token_a_neuron_a_prompt_and_back(watched: Watched) -> None:
    page = watched.open("index.html")
    page.locator("h1 a", has_text="Layer 1 neuron 17").click()
    assert page.locator("h1").inner_text() == "Layer 1 · neuron 17"
    page.get_by_role("link", name="apple").first.click()
    assert page.locator("h1").inner_text() == "apple"
    page.get_by_role("link", name="Overview").click()
    page.locator('.card[href="token-11.html"]').click()
    assert page.locator("h1").inner_text() == "␣an"


def test_figures_follow_a_change_to_dark(watched: Watched) -> None:
    page = watched.open("token-11.html")
    plot = watched.figure("scores")
    light = plot.evaluate("(plot) => plot.layout.font.color")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("(light) => document.querySelector('[data-figure=scores]').layout.font.color !== light", arg=light)
    assert (light, plot.evaluate("(plot) => plot.layout.font.color")) == ("#1c1e21", "#e8e6e1")


def test_no_page_is_wider_than_a_phone(browser: Browser, site: Path) -> None:
    phone = Watched(browser, site, is_mobile=True, has_touch=True)
    phone.page.set_viewport_size({"width": 375, "height": 800})
    for file in sorted(site.glob("*.html")):
        page = phone.open(file.name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, file.name
    phone.context.close()
    assert phone.faults == []


def test_a_table_that_is_wider_than_a_phone_is_reached_and_scrolled_by_keyboard(browser: Browser, site: Path) -> None:
    phone = Watched(browser, site)
    phone.page.set_viewport_size({"width": 375, "height": 800})
    page = phone.open("token-11.html")
    wide = page.get_by_role("region", name="Table: Best neurons")
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.classList.contains('scroll') && document.activeElement.scrollLeft > 0")
    page.set_viewport_size({"width": 1400, "height": 900})
    page.wait_for_function("!document.querySelector('.scroll[tabindex]')")
    phone.context.close()
    assert phone.faults == []


def test_a_page_prints_with_all_figures_in_light_colours(watched: Watched) -> None:
    page = watched.open("neuron-1-17.html")
    page.emulate_media(color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function("[...document.querySelectorAll('[data-figure]')].every((plot) => plot.data)")
    assert page.locator('[data-figure="congruence"]').evaluate("(plot) => plot.layout.font.color") == "#1c1e21"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(page.pdf()) > 20_000


def test_without_scripts_the_numbers_can_still_be_read(browser: Browser, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "congruence.html").as_uri())
    assert page.locator("table").first.is_visible()
    assert page.locator('[data-part="published"]').is_visible()
    page.goto((site / "neuron-1-17.html").as_uri())
    assert page.locator(".plot noscript").first.is_visible()
    context.close()


BOXES = """(plot) => {
    const box = (element) => { const { left, top, right, bottom } = element.getBoundingClientRect(); return { left, top, right, bottom }; };
    const seen = (element) => element.getClientRects().length > 0 && element.getBoundingClientRect().width > 0;
    const drawn = [".nsewdrag", ".colorbar", ".legend", ".annotation", ".gtitle"].flatMap((kind) => [...plot.querySelectorAll(kind)]);
    return { plot: box(plot), bars: [...plot.querySelectorAll(".modebar")].filter(seen).map(box), drawn: drawn.filter(seen).map(box) };
}"""


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    return one["left"] < other["right"] and other["left"] < one["right"] and one["top"] < other["bottom"] and other["top"] < one["bottom"]


@pytest.mark.parametrize("width", [1280, 660, 375])
@pytest.mark.parametrize("file", ["token-11.html", "neuron-1-17.html", "prompt-apple.html", "set-fruits.html"])
def test_the_buttons_of_a_figure_cover_nothing_of_it(watched: Watched, width: int, file: str) -> None:
    watched.page.set_viewport_size({"width": width, "height": 900})
    page = watched.open(file)
    bars, scales = 0, 0
    for plot in page.locator("[data-figure]").all():
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
        plot.hover()
        boxes = plot.evaluate(BOXES)
        bars += len(boxes["bars"])
        scales += plot.locator(".colorbar").count()
        for bar in boxes["bars"]:
            assert not [drawn for drawn in boxes["drawn"] if overlap(bar, drawn)]
            assert boxes["plot"]["top"] <= bar["top"] < bar["bottom"] <= boxes["plot"]["bottom"]
            assert boxes["plot"]["left"] <= bar["left"] < bar["right"] <= boxes["plot"]["right"]
        assert boxes["drawn"]
        assert max(drawn["bottom"] for drawn in boxes["drawn"]) <= boxes["plot"]["bottom"]
    assert bars == (0 if width == 375 else page.locator("[data-figure]").count())
    assert scales or file != "prompt-apple.html"
