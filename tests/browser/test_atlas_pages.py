"""The atlas in a real browser, opened from disk: any neuron by address, by search and from a link; the map; texts that try to run.

As in test_report_pages.py a console error, an uncaught one or a request beyond the site's own files fails the test that opened the page.
"""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Browser, Page, expect  # noqa: E402

from assets.atlas.neuron_record import TABLES_READ, neuron_record  # noqa: E402
from assets.store.bucket_site import redirect  # noqa: E402
from reports.report_data import ReportData  # noqa: E402
from reports.site import build_site  # noqa: E402
from reports.text import visible, visible_in_running_text  # noqa: E402
from tests.browser.test_report_pages import CHROMIUM, Watched  # noqa: E402
from tests.reports.sample_data import LAYERS, NEURONS, report_data, texts  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")]

SWAPPED = {"highest": "lowest", "lowest": "highest", "higher": "lower", "lower": "higher"}  # words of a summary
HOSTILE = "</script><img src=x onerror=\"window.hacked='token'\">"


def title(page: Page, text: str) -> None:
    expect(page.locator("h1:visible")).to_have_text(text)


def test_a_neuron_is_opened_by_its_address_and_by_a_change_of_it(watched: Watched) -> None:
    page = watched.open("atlas/neuron.html#L1-N17")
    title(page, "Layer 1 · neuron 17")
    assert page.title() == "Layer 1 neuron 17 · Neuron Atlas"
    summary = page.locator("[data-summary]").inner_text()
    assert summary.startswith("At 3 of its 3 highest activations the token is ␣lemon, and after 3 of these the model predicts ␣an.")
    assert "it is 3.50 standard deviations higher than elsewhere" in summary
    assert "It writes ␣an more than any other neuron: +2.40 logits" in summary
    page.evaluate("location.hash = '#L2-N63'")
    title(page, "Layer 2 · neuron 63")
    page.go_back()
    title(page, "Layer 1 · neuron 17")


def test_a_page_shows_what_the_record_says(watched: Watched) -> None:
    data = report_data()
    record = neuron_record({name: data.table(name) for name in TABLES_READ}, 0, 5)
    assert record is not None
    named = dict(enumerate(texts()))
    page = watched.open("atlas/neuron.html#L0-N5")
    title(page, "Layer 0 · neuron 5")
    for side, amount in {"top": 3, "bottom": 3, "between_top": 2, "between_bottom": 1, "random": 2}.items():
        lines = page.locator(f'[data-examples="{side}"] p').all()
        examples = [example for example in record["examples"] if example["side"] == side]
        assert len(lines) == len(examples) == amount
        for line, example in zip(lines, examples, strict=True):
            shown = line.locator(".w").evaluate_all("(words) => words.map((word) => [word.textContent, word.title])")
            assert [text for text, _ in shown] == [visible_in_running_text(named[token]) for token in example["token_ids"]]
            assert line.locator(".peak").count() == 1
            predicted = [visible(named[token]) for token in example["prediction_ids"]]
            for (_, told), prediction in zip(shown, predicted, strict=True):
                assert f"predicts {prediction[:31]}" in told
    written = page.locator('[data-writes="top"] tbody tr td:nth-child(1)').all_inner_texts()
    assert written == [visible(named[row["token_id"]]) for row in record["writes"] if row["end"] == "top"]
    along = page.locator('[data-tokens="low"] tbody tr').count()
    assert along == sum(row["end"] == "low" for row in record["tokens"])
    for place in page.locator("[data-neighbours]").all():
        kind, end = (place.get_attribute("data-neighbours") or "").split()
        own = [row for row in record["neighbours"] if (row["kind"], row["end"]) == (kind, end)]
        assert place.locator("a").all_inner_texts() == [f"L{row['other_layer']} N{row['other_neuron']}" for row in own]
        assert place.locator("a").first.get_attribute("href") == f"neuron.html#L{own[0]['other_layer']}-N{own[0]['other_neuron']}"
    assert page.locator("[data-neighbours]").count() == 6
    assert page.locator("[data-ablated] tbody tr").count() == len(record["ablated"])
    assert page.locator("[data-patched] tbody tr").count() == len(record["patched"])
    current = page.locator('[data-current="high"] tbody tr td:nth-child(1)').all_inner_texts()
    assert current == [visible(named[row["token_id"]]) for row in record["current_tokens"] if row["end"] == "high"]
    liked = page.locator('[data-reads="bottom"] tbody tr td:nth-child(1)').all_inner_texts()
    assert liked == [visible(named[row["token_id"]]) for row in record["reads"] if row["end"] == "bottom"]
    assert page.locator("[data-histogram] .over").count() >= sum(amount > 0 for amount in record["histogram"]["counts"])
    assert page.locator("[data-study]").inner_text().startswith("neurons: [[0, 5]]\ntokens: [")


def test_a_page_tells_what_is_known_of_cause_and_that_nothing_is(watched: Watched) -> None:
    page = watched.open("atlas/neuron.html#L1-N17")
    title(page, "Layer 1 · neuron 17")
    assert page.locator("[data-cause]").inner_text() == ""
    assert page.locator("[data-ablated] tbody tr").count() > 0
    assert "50.3" in page.locator("[data-patched]").inner_text()
    page.evaluate("location.hash = '#L2-N63'")
    title(page, "Layer 2 · neuron 63")
    assert page.locator("[data-cause]").inner_text().startswith("Not studied: no ablation.")
    assert page.locator("[data-ablated] tbody tr, [data-prompt-ablated] tbody tr, [data-evidence] tbody tr").count() == 0


def test_negated_weights_change_places_of_high_and_low_and_nothing_else(browser: Browser, watched: Watched, tmp_path: Path) -> None:
    build_site(negated(report_data()), tmp_path / "site")
    other = Watched(browser, tmp_path / "site")
    for layer, neuron in ((1, 17), (2, 3), (0, 9)):
        told = []
        for site in (watched, other):
            page = site.open(f"atlas/neuron.html#L{layer}-N{neuron}")
            title(page, f"Layer {layer} · neuron {neuron}")  # else the text may be that of the neuron before
            told.append(page.locator("[data-summary]").inner_text())
        plain, turned = told
        assert turned == re.sub("|".join(SWAPPED), lambda found: SWAPPED[found[0]], plain)
        assert turned != plain
        assert watched.page.locator("[data-study]").inner_text() == other.page.locator("[data-study]").inner_text()
    assert other.faults == []
    other.context.close()


def negated(data: ReportData) -> ReportData:
    """The sample as a gated model with every up and down weight negated: activations turn, what is written does not."""
    ends = {
        "top": "bottom",
        "bottom": "top",
        "between_top": "between_bottom",
        "between_bottom": "between_top",
        "high": "low",
        "low": "high",
    }
    examples, tokens, written = (data.tables[name] for name in ("atlas_examples", "atlas_tokens", "congruence_neurons"))
    turned = {
        "atlas_examples": examples.with_columns(side=pl.col("side").replace(ends), activation=-pl.col("activation"), activations=pl.col("activations") * -1),
        "atlas_tokens": tokens.with_columns(
            pl.col("end").replace(ends), *(-pl.col(name) for name in ("mean_there", "mean_elsewhere", "standardized_difference"))
        ),
        "congruence_neurons": written.with_columns(pl.col("end").replace(ends), -pl.col("congruence")),
    }  # fmt: skip
    return replace(
        data, tables={**data.tables, **{name: frame.sort("layer", "neuron", maintain_order=True) for name, frame in turned.items()}}
    )


def test_a_neuron_that_the_study_left_out_is_told_as_such(browser: Browser, tmp_path: Path) -> None:
    data = report_data()
    own = (pl.col("layer") == 1) & (pl.col("neuron") == 17)
    kept = {
        name: frame.filter(own) if name.startswith("atlas_") and "neuron" in frame.columns else frame for name, frame in data.tables.items()
    }
    build_site(replace(data, tables=kept), tmp_path / "site")
    some = Watched(browser, tmp_path / "site")
    title(some.open("atlas/neuron.html#L1-N17"), "Layer 1 · neuron 17")
    page = some.open("atlas/neuron.html#L0-N5")
    expect(page.locator("[data-notice]")).to_contain_text("The atlas holds no L0 N5: this study asks for the 1 neuron that it studies")
    expect(some.open("atlas/compare.html#L1-N17,L0-N5").locator("[data-notice]")).to_contain_text("The atlas holds no L0 N5")
    assert some.faults == []
    some.context.close()


def test_texts_with_tags_stay_text(watched: Watched) -> None:
    for neuron in range(12):
        page = watched.open(f"atlas/neuron.html#L0-N{neuron}")
        title(page, f"Layer 0 · neuron {neuron}")
        assert page.locator("article img, article script, article b, article a[href^=javascript]").count() == 0
    page = watched.open("atlas/index.html")
    page.locator("[data-query]").fill("</script>")
    token = page.locator("[data-results] .token", has_text="</script>").first
    expect(token).to_be_visible()
    assert (token.get_attribute("title") or token.inner_text()) == visible(HOSTILE)
    assert page.locator("main img, main b:visible").count() == 0


def test_a_neuron_that_does_not_exist_is_told(watched: Watched) -> None:
    page = watched.open(f"atlas/neuron.html#L{LAYERS}-N0")
    notice = page.locator("[data-notice]")
    expect(notice).to_contain_text("There is no neuron L3 N0: this model has layers 0 to 2, and in each neurons 0 to 63.")
    page.evaluate(f"location.hash = '#L0-N{NEURONS}'")
    expect(notice).to_contain_text("There is no neuron L0 N64")
    assert page.locator("article").is_hidden()
    page.evaluate("location.hash = '#L0-N1'")
    title(page, "Layer 0 · neuron 1")
    assert notice.is_hidden()
    page = watched.open("atlas/neuron.html")
    expect(page.locator("[data-notice]")).to_contain_text("The address names no neuron")


def test_a_file_that_is_missing_or_damaged_is_told(browser: Browser, site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    (copy / "atlas/data/neurons-0001.js").unlink()
    (copy / "atlas/data/neurons-0002.js").write_text('atlasData("neurons-0002","AAAA");\n')
    page = Watched(browser, copy).open("atlas/neuron.html#L0-N40")
    notice = page.locator("[data-notice]")
    expect(notice).to_contain_text("The file atlas/data/neurons-0001.js cannot be read.")
    page.evaluate("location.hash = '#L1-N0'")
    expect(notice).to_contain_text("What atlas/data holds of L1 N0 is damaged")
    page.evaluate("location.hash = '#L0-N1'")
    title(page, "Layer 0 · neuron 1")
    (copy / "atlas/data/contents.js").unlink()
    page = Watched(browser, copy).open("atlas/neuron.html#L0-N1")
    expect(page.locator("[data-notice]")).to_contain_text("The file atlas/data/contents.js cannot be read.")


@pytest.mark.parametrize("query", ["L1 N17", "l1n17", "1.17", "L1-N17", " 1 17 "])
def test_a_search_opens_a_neuron_by_its_name(watched: Watched, query: str) -> None:
    page = watched.open("atlas/index.html")
    page.locator("[data-query]").fill(query)
    page.locator("[data-results] .neuron", has_text="L1 N17").first.click()
    title(page, "Layer 1 · neuron 17")


def test_a_search_answers_with_words_and_tokens_and_stays_in_the_address(watched: Watched) -> None:
    page = watched.open("atlas/index.html")
    page.locator("[data-query]").press_sequentially("lemon")
    first = page.locator(".fires li").first
    expect(first).to_contain_text("L1 N17 3× highest")
    row = page.locator("[data-results] tbody tr").first
    expect(row.locator("td").first).to_have_text("␣lemon")
    assert page.url.endswith("#q=lemon")
    page.reload()
    expect(first).to_contain_text("L1 N17")
    page.locator("[data-query]").fill(" an")
    expect(row.locator("td").first).to_have_text("␣an")
    assert row.locator("td:nth-child(4) .neuron").first.inner_text() == "L1 N17"
    assert row.locator("td:first-child a").get_attribute("href") == "token.html#11"
    page.locator("[data-query]").fill("nowhere at all")
    expect(page.locator("[data-said]")).to_have_text("No neuron, token or word of the examples goes by that.")
    page.locator("[data-query]").fill("")
    expect(page.locator("[data-results]")).to_be_empty()


# Tokens


def test_a_token_is_opened_by_its_id_its_text_and_a_change_of_address(watched: Watched) -> None:
    page = watched.open("atlas/token.html#11")
    title(page, "␣an")
    assert page.title() == "Token ␣an · Neuron Atlas"
    assert page.locator("[data-entry]").inner_text() == f"Vocabulary entry 11 of {len(texts())} entries."
    page.evaluate("location.hash = '#token=%20lemon'")
    title(page, "␣lemon")
    page.go_back()
    title(page, "␣an")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === '#11'")
    page.locator('[rel="next"]').click()
    title(page, "␣a")


def test_the_page_of_a_token_shows_what_the_tables_say(watched: Watched) -> None:
    data = report_data()
    counts = data.table("token_counts").row(by_predicate=pl.col("token_id") == 11, named=True)
    page = watched.open("atlas/token.html#11")
    title(page, "␣an")
    shown = [text.replace("\u202f", "") for text in page.locator("[data-counts] dd").all_inner_texts()]
    assert shown[:3] == [str(counts[name]) for name in ("occurrences", "predictions", "correct_predictions")]
    ends = data.table("contribution_screen").filter(token_id=11).sort("rank")
    for end in ("writes", "writes_against"):
        named = page.locator(f'[data-list="{end}"] .neuron').all_inner_texts()
        assert named == [f"L{layer} N{neuron}" for layer, neuron in ends.filter(end=end).select("layer", "neuron").iter_rows()]
    along = data.table("token_neuron_screen").filter(token_id=11).sort("rank")
    assert page.locator('[data-list="goes_along"] .neuron').count() == along.height
    first = page.locator('[data-list="writes"] tbody tr').first
    assert first.locator("td").nth(1).inner_text() == "+2.40"
    assert first.locator(".tag").all_inner_texts() == ["goes along", "weights", "own tokens", "tells"]
    assert page.locator('[data-list="scores"] .neuron').first.inner_text() == "L1 N17"
    page.locator("[data-elsewhere] a").click()
    page.wait_for_url("**/token-11.html")
    page.locator(".lead a", has_text="Vocabulary entry 11").click()
    title(page, "␣an")
    page.locator('[data-list="writes"] .neuron').first.click()
    title(page, "Layer 1 · neuron 17")
    page.locator('[data-tokens="high"] a.plain').first.click()
    title(page, "␣an")


def test_a_token_that_was_not_screened_says_why(watched: Watched) -> None:
    page = watched.open("atlas/token.html#400")
    title(page, "␣word400")
    assert page.locator("[data-scores-part]").is_hidden()
    expect(page.locator('[data-list="writes"]')).to_have_text(re.compile("^(Not told: it is predicted at|None. 60 tokens were screened)"))


@pytest.mark.parametrize(("text", "same", "begun", "beginnings"), [
    (" an", ["An", "␣An"], ["␣and", "␣another"], ["␣a"]), ("An", ["␣an", "␣An"], [], []), (" a", [], ["␣an", "␣and", "␣apple", "␣another"], []),
    (" ", [], [], []), ("</script><img src=x onerror=\"window.hacked='token'\">", [], [], []),
])  # fmt: skip
def test_relatives_are_those_of_reading_the_whole_vocabulary(
    watched: Watched, text: str, same: list[str], begun: list[str], beginnings: list[str]
) -> None:
    page = watched.open(f"atlas/token.html#{texts().index(text)}")
    title(page, visible(text)[:59] + "…" if len(visible(text)) > 60 else visible(text))
    titles = {"The same but for case and spaces": same, "It begins": begun, "It begins with": beginnings}
    found = {
        part.locator("h3").inner_text(): part.locator(".token").all_inner_texts() for part in page.locator("[data-relatives] > div").all()
    }
    assert found == {name: listed for name, listed in titles.items() if listed}
    assert page.locator("article img, article script, article b").count() == 0


def test_a_mark_for_a_space_is_a_space_to_relatives(watched: Watched) -> None:
    page = watched.open("atlas/token.html#11")
    title(page, "␣an")
    told = page.evaluate('relativesOf(1, ["\u2581an", "an", "AN\u2581", "\u2581", "ann", "a", ""])')
    assert told == {"same": [0, 2], "begun": [4], "beginnings": [5]}


def test_a_token_that_does_not_exist_is_told(watched: Watched) -> None:
    page = watched.open(f"atlas/token.html#{len(texts())}")
    notice = page.locator("[data-notice]")
    expect(notice).to_contain_text(f"There is no token {len(texts())}: the vocabulary has entries 0 to {len(texts()) - 1}.")
    assert page.locator("article").is_hidden()
    page.evaluate("location.hash = '#token=%3Cb%3Enone'")
    expect(notice).to_contain_text("No entry of the vocabulary has exactly the text <b>none")
    page.evaluate("location.hash = '#12'")
    title(page, "␣a")
    assert notice.is_hidden()
    page = watched.open("atlas/token.html")
    expect(page.locator("[data-notice]")).to_contain_text("The address names no token")


def test_plain_pages_lead_to_the_page_of_a_token(watched: Watched) -> None:
    page = watched.open("screen.html")
    page.locator('[data-results="screen"] a[href="atlas/token.html#20"]').click()
    title(page, "␣lemon")


@pytest.mark.parametrize(
    ("query", "first"),
    [("an", "An"), (" an", "␣an"), ("AN", "An"), ("11", "␣an"), ("a", "␣a"), ("␣an", "␣an"), ("↵", "↵"), ("word3", "␣word300")],
)
def test_a_search_finds_tokens_as_reading_them_one_by_one_does(watched: Watched, query: str, first: str) -> None:
    asked, word = query.lower(), query.lower().strip()
    seen = {id: visible(text).lower() for id, text in enumerate(texts())}

    def closeness(id: int) -> int:
        text = texts()[id].lower()
        bare = text.strip()
        return 0 if text == asked or str(id) == word else 1 if bare == word else 2 if bare.startswith(word) else 3

    is_seen = bool(set(asked) & set("␣↵⇥␍"))
    found = [
        id
        for id, text in enumerate(texts())
        if word in text.lower() or str(id) == word or (is_seen and asked.replace(" ", "␣") in seen[id])
    ]
    ordered = sorted(found, key=lambda id: (closeness(id) if word in texts()[id].lower() or str(id) == word else 3, len(texts()[id]), id))
    page = watched.open("atlas/index.html")
    page.locator("[data-query]").fill(query)
    rows = page.locator("[data-results] tbody tr td:nth-child(2)")
    expect(page.locator("[data-results] tbody tr td:nth-child(1)").first).to_have_text(first)
    assert [int(text) for text in rows.all_inner_texts()] == ordered[:12]


def test_the_map_names_opens_filters_and_keeps_its_view(watched: Watched) -> None:
    page = watched.open("atlas/index.html#x=mean&y=maximum&colour=maximum")
    expect(page.locator("[data-shown]")).to_have_text("192 of 192 neurons in view")
    page.locator('[name="kurtosis"]').fill("16")
    expect(page.locator("[data-shown]")).to_have_text("5 of 192 neurons in view")
    listed = page.locator("[data-listed] .neuron")
    expect(listed).to_have_count(5)
    assert listed.all_inner_texts()[:2] == ["L1 N17", "L0 N5"]
    page.wait_for_function("location.hash.includes('kurtosis=16')")
    page.reload()
    expect(page.locator("[data-shown]")).to_have_text("5 of 192 neurons in view")
    canvas = page.locator("[data-map]")
    canvas.focus()
    page.keyboard.press("+")
    page.wait_for_function("location.hash.includes('view=')")
    page.keyboard.press("0")
    page.wait_for_function("!location.hash.includes('view=')")
    expect(page.locator("[data-shown]")).to_have_text("5 of 192 neurons in view")
    left, top = page.evaluate("""() => {
        const canvas = document.querySelector("[data-map]"), box = canvas.getBoundingClientRect();
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        for (let y = 20; y < canvas.height - 60; y += 1) for (let x = canvas.width - 20; x > 70; x -= 1) { // the highest point
            const [red, green, blue] = pixels.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3);
            if (red > 180 && green < 120 && blue < 80) return [box.left + x, box.top + y];
        }
        return [0, 0];
    }""")
    page.mouse.move(left, top)
    expect(page.locator("[data-reading] b")).to_have_text("L1 N17")
    page.mouse.down()
    page.mouse.up()
    title(page, "Layer 1 · neuron 17")


def test_the_map_filters_by_contribution_and_by_the_way_a_neuron_is_read(watched: Watched) -> None:
    data = report_data()
    best = data.table("token_neuron_scores").drop_nulls("separation").sort("separation", descending=True, maintain_order=True)
    aurocs = best.unique(["layer", "neuron"], keep="first", maintain_order=True)["auroc"]
    page, shown = watched.open("atlas/index.html#x=mean&y=maximum&colour=auroc"), watched.page.locator("[data-shown]")
    for way, amount in (("down", (aurocs < 0.5).sum()), ("up", (aurocs >= 0.5).sum())):
        assert amount > 0
        page.locator('[name="read"]').select_option(way)
        expect(shown).to_have_text(f"{amount} of 192 neurons in view")
        page.wait_for_function(f"location.hash.includes('read={way}')")
    page.locator('[name="read"]').select_option("")
    sizes = data.table("contribution_screen").group_by("layer", "neuron").agg(pl.col("contribution").abs().max())["contribution"]
    page.locator('[name="contribution"]').fill("1")
    expect(shown).to_have_text(f"{(sizes >= 1).sum()} of 192 neurons in view")
    assert 0 < (sizes >= 1).sum() < sizes.len()


def test_the_wheel_comes_closer_and_a_drag_moves(watched: Watched) -> None:
    page = watched.open("atlas/index.html")
    expect(page.locator("[data-shown]")).to_contain_text("191 of 192 neurons in view")  # the dead one has no kurtosis
    page.locator("[data-map]").hover()
    page.mouse.wheel(0, -400)
    expect(page.locator("[data-shown]")).not_to_contain_text("191 of")
    page.wait_for_function("location.hash.includes('view=')")
    before = page.url
    page.mouse.down()
    box = page.locator("[data-map]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2 + 80, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    page.wait_for_function("(before) => location.href !== before", arg=before)
    assert "/atlas/index.html" in page.url  # a drag opens nothing
    page.get_by_role("button", name="All").click()
    expect(page.locator("[data-shown]")).to_contain_text("191 of 192 neurons in view")


def test_links_lead_to_the_atlas_and_back_to_the_pages_of_studied_neurons(watched: Watched) -> None:
    page = watched.open("index.html")
    page.locator(".card", has_text="All 192 neurons").click()
    title(page, "All 192 neurons")
    page = watched.open("screen.html")
    page.locator('[data-results="screen"] a[href^="atlas/neuron.html#"]').first.click()
    expect(page.locator("h1:visible")).to_contain_text("· neuron")
    page = watched.open("atlas/neuron.html#L1-N17")
    title(page, "Layer 1 · neuron 17")
    page.locator("[data-elsewhere] a").click()
    page.wait_for_url("**/neuron-1-17.html")
    page = watched.open("atlas/neuron.html#L0-N63")
    title(page, "Layer 0 · neuron 63")
    page.locator('[rel="next"]').click()
    title(page, "Layer 1 · neuron 0")
    page = watched.open(f"atlas/neuron.html#L{LAYERS - 1}-N{NEURONS - 1}")
    title(page, "Layer 2 · neuron 63")
    assert page.locator('[rel="next"]').count() == 0


def test_the_stable_address_of_a_bucket_keeps_the_neuron(browser: Browser, site: Path, tmp_path: Path) -> None:
    (tmp_path / "version 1").symlink_to(site)
    stable = tmp_path / "reports/atlas/neuron.html"
    stable.parent.mkdir(parents=True)
    stable.write_bytes(redirect("reports/atlas/neuron.html", "version 1/atlas/neuron.html"))
    page = Watched(browser, tmp_path).open("reports/atlas/neuron.html#L2-N3")
    title(page, "Layer 2 · neuron 3")


def test_a_context_of_the_atlas_is_read_out_by_key(watched: Watched) -> None:
    page = watched.open("atlas/neuron.html#L1-N17")
    title(page, "Layer 1 · neuron 17")
    line = page.locator(".contexts p[tabindex]").first
    line.scroll_into_view_if_needed()
    page.evaluate("new Promise((take) => requestAnimationFrame(() => requestAnimationFrame(take)))")  # scrolling hides what is read out
    line.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".w.reading.peak")).to_have_count(1)
    assert "predicts ␣an" in page.locator(".readout:visible").first.inner_text()


@pytest.mark.parametrize("address", ["atlas/index.html#q=lemon", "atlas/neuron.html#L1-N17", "atlas/token.html#11"])
def test_pages_of_the_atlas_fit_a_phone_and_print(browser: Browser, site: Path, address: str) -> None:
    phone = Watched(browser, site, is_mobile=True, has_touch=True)
    phone.page.set_viewport_size({"width": 375, "height": 800})
    page = phone.open(address)
    page.wait_for_function("document.querySelector('.fires li, [data-histogram] svg, .relatives li')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert len(page.pdf()) > 20_000
    phone.context.close()
    assert phone.faults == []
