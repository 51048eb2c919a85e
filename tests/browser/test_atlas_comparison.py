"""Two neurons beside each other in a real browser: what both have, one axis and one scale of colour, and the ways that lead there."""

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Browser, expect  # noqa: E402

from assets.atlas.neuron_record import TABLES_READ, neuron_record  # noqa: E402
from reports.text import visible  # noqa: E402
from tests.browser.test_atlas_pages import title  # noqa: E402
from tests.browser.test_report_pages import CHROMIUM, Watched  # noqa: E402
from tests.reports.sample_data import LAYERS, report_data, texts  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")]

ONE, OTHER = (1, 17), (0, 5)
ADDRESS = "atlas/compare.html#L1-N17,L0-N5"


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    data = report_data()
    found = [neuron_record({name: data.table(name) for name in TABLES_READ}, *place) for place in (ONE, OTHER)]
    return [record for record in found if record is not None]


def listed(record: dict[str, Any], part: str, column: str) -> dict[int, float]:
    return {row["token_id"]: row[column] for row in record[part] if row[column] is not None}


@pytest.mark.parametrize(
    ("place", "part", "column"),
    [("writes", "writes", "congruence"), ("along", "tokens", "standardized_difference"), ("scores", "scores", "auroc")],
)
def test_what_both_have_comes_first_and_everything_of_either_is_there(
    watched: Watched, records: list[dict[str, Any]], place: str, part: str, column: str
) -> None:
    own = [listed(record, part, column) for record in records]
    common, either = own[0].keys() & own[1].keys(), own[0].keys() | own[1].keys()
    assert either
    page = watched.open(ADDRESS)
    title(page, "L1 N17 beside L0 N5")
    rows = page.locator(f"[data-{place}] tbody tr")
    assert rows.count() == len(either)
    if len(either) > 12:
        assert page.locator(f"[data-{place}] tbody tr:visible").count() == 12
        page.locator(f"[data-{place}] button").click()
    assert page.locator(f"[data-{place}] tbody tr:visible").count() == len(either)
    cells = rows.evaluate_all(
        "(rows) => rows.map((row) => [row.className, ...[...row.cells].map((cell) => cell.querySelector('[title]')?.title ?? cell.textContent)])"
    )
    assert [name for name, *_ in cells] == ["common"] * len(common) + [""] * (len(either) - len(common))
    named = dict(enumerate(texts()))
    ids = [
        next(token for token in either if visible(named[token]) == text)
        for _, text, *_ in cells
        if any(visible(named[t]) == text for t in either)
    ]
    assert set(ids[: len(common)]) == common
    for (_, _, *told), token in zip(cells, ids, strict=True):
        for shown, held in zip(told, own, strict=True):
            assert (shown == "–") == (token not in held)
            if token in held:
                assert float(shown.replace("−", "-").replace("+", "")) == pytest.approx(held[token], rel=6e-3, abs=6e-4)
    sizes = [max(abs(held.get(token, 0)) for held in own) for token in ids]
    assert sizes[: len(common)] == sorted(sizes[: len(common)], reverse=True)
    amounts = f"{len(common)} tokens" if len(common) > 1 else "1 token" if common else "No token"
    expect(page.locator(f"[data-{place}] p")).to_contain_text(f"{amounts} of {len(own[0])} and {len(own[1])} listed")


def test_histograms_lie_on_one_axis(watched: Watched, records: list[dict[str, Any]]) -> None:
    page = watched.open(ADDRESS)
    drawing = page.locator("[data-histogram] svg")
    expect(drawing).to_have_attribute("aria-label", re.compile("of L1 N17 and L0 N5"))
    assert page.locator("[data-histogram] .bar").count() == 2
    told = drawing.locator("title").all_text_contents()
    for place, (name, record) in enumerate(zip(("L1 N17", "L0 N5"), records, strict=True)):
        counts = record["histogram"]["counts"]
        shown = {
            int(found[1].replace("\u202f", ""))
            for text in told
            if (found := re.search(r": ([\d\u202f]+) position", text.split("\n")[place]))
        }
        assert all(text.split("\n")[place].startswith(f"{name}: activation ") for text in told)
        assert set(counts) <= shown | {0}
    mean = page.locator("[data-statistics] tbody tr", has_text="Mean").locator("td").all_inner_texts()
    for text, record in zip(mean[1:], records, strict=True):
        assert float(text.replace("−", "-")) == pytest.approx(record["statistics"]["mean"], rel=6e-3)


def test_colour_is_on_one_scale_for_both(watched: Watched, records: list[dict[str, Any]]) -> None:
    largest = max(abs(example["activation"]) for record in records for example in record["examples"])
    page = watched.open(ADDRESS)
    expect(page.locator("[data-examples] ol")).to_have_count(4)
    headings = page.locator("[data-examples] h3").all_inner_texts()
    assert headings == [f"{end} activations of {name}" for end in ("Highest", "Lowest") for name in ("L1 N17", "L0 N5")]
    lists = page.locator("[data-examples] ol")
    for place, (record, side) in enumerate((record, side) for side in ("top", "bottom") for record in records):
        strengths = (
            lists.nth(place).locator(".peak").evaluate_all("(words) => words.map((word) => parseInt(word.style.getPropertyValue('--p')))")
        )
        examples = [example["activation"] for example in record["examples"] if example["side"] == side]
        assert strengths == pytest.approx(
            [100 * abs(value) / largest for value in examples], abs=1.1
        )  # whole percents of the activation in half precision


def test_every_way_leads_to_the_comparison(watched: Watched) -> None:
    page = watched.open("atlas/neuron.html#L1-N17")
    title(page, "Layer 1 · neuron 17")
    other = page.get_by_label("Compare with")
    for given, said in {
        "": "Name a neuron, such as L2 N117.",
        "<b>x</b>": "“<b>x</b>” names no neuron; write it as L2 N117.",
        "L9 N1": "There is no neuron L9 N1",
        "L1 N17": "That is this neuron.",
    }.items():
        other.fill(given)
        other.press("Enter")
        expect(page.locator("[data-comparison-said]")).to_contain_text(said)
    other.fill("l0.5")
    other.press("Enter")
    title(page, "L1 N17 beside L0 N5")
    page.locator("[data-turned]").click()
    title(page, "L0 N5 beside L1 N17")
    page.get_by_label("The other").fill("L2 N3")
    page.get_by_role("button", name="Compare").click()
    title(page, "L0 N5 beside L2 N3")
    assert page.url.endswith("#L0-N5,L2-N3")
    page.locator("[data-heads] .neuron").last.click()
    title(page, "Layer 2 · neuron 3")
    page = watched.open("atlas/index.html")
    page.locator("[data-query]").fill("L1 N17, L0 N5")
    page.get_by_role("link", name="L1 N17 beside L0 N5").click()
    title(page, "L1 N17 beside L0 N5")
    page = watched.open("atlas/index.html")
    page.locator("[data-query]").fill("L1 N17")
    page.get_by_role("link", name="compare it with another").click()
    assert page.get_by_label("One", exact=True).input_value() == "L1 N17"
    expect(page.locator("[data-notice]")).to_contain_text("The address names no two neurons")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("", "The address names no two neurons; it ends in #L2-N117,L0-N5, say. Write both above."),
        ("#L1-N17", "The address names no two neurons"),
        ("#L1-N17,L1-N17", "The address names no two neurons"),
        ("#L1-N17,L0-N5,L0-N6", "The address names no two neurons"),
        (f"#L1-N17,L{LAYERS}-N5", "There is no neuron L3 N5: this model has layers 0 to 2, and in each neurons 0 to 63."),
    ],
)
def test_what_cannot_be_compared_is_told(watched: Watched, names: str, said: str) -> None:
    page = watched.open(f"atlas/compare.html{names}")
    expect(page.locator("[data-notice]")).to_contain_text(said)
    assert page.locator("article").is_hidden()
    page.get_by_label("One", exact=True).fill("L1 N17")
    page.get_by_label("The other").fill("L1 N17")
    page.get_by_label("The other").press("Enter")
    expect(page.locator("[data-comparison-said]")).to_have_text("Both are one neuron; name another.")
    page.get_by_label("The other").fill("L2 N5")
    page.get_by_label("The other").press("Enter")
    title(page, "L1 N17 beside L2 N5")
    assert page.locator("[data-notice]").is_hidden()


def test_texts_with_tags_stay_text(watched: Watched) -> None:
    for neuron in range(8):
        page = watched.open(f"atlas/compare.html#L0-N{neuron},L2-N{neuron}")
        title(page, f"L0 N{neuron} beside L2 N{neuron}")
        page.locator("button.all-rows").evaluate_all("(buttons) => buttons.forEach((button) => button.click())")
        assert page.locator("tbody tr:not(:visible)").count() == 0
        assert page.locator("article img, article script, article b, article a[href^=javascript]").count() == 0


def test_a_context_is_read_out_by_key_and_the_skip_link_keeps_both(watched: Watched) -> None:
    page = watched.open(ADDRESS)
    title(page, "L1 N17 beside L0 N5")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === '#L1-N17,L0-N5'")
    line = page.locator(".contexts p[tabindex]").first
    line.scroll_into_view_if_needed()
    page.evaluate("new Promise((take) => requestAnimationFrame(() => requestAnimationFrame(take)))")  # scrolling hides what is read out
    line.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".w.reading.peak")).to_have_count(1)


@pytest.mark.parametrize("address", [ADDRESS, "atlas/neuron.html#L1-N17"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_schemes_and_prints(browser: Browser, site: Path, address: str, scheme: str) -> None:
    phone = Watched(browser, site, is_mobile=True, has_touch=True, color_scheme=scheme)
    phone.page.set_viewport_size({"width": 375, "height": 800})
    page = phone.open(address)
    page.wait_for_selector("[data-histogram] svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.emulate_media(media="print")
    assert page.locator(".comparison").is_hidden()
    assert len(page.pdf()) > 20_000
    phone.context.close()
    assert phone.faults == []
