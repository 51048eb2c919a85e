"""Documents and tokens that try to run, to overflow or to hide, from the corpus file to the report in a browser."""

import json
from pathlib import Path

import polars as pl
import pytest

from assets.contracts import TABLES, TOKEN_WINDOWS, conform
from assets.corpus.corpus_documents import CorpusError, documents_frame
from assets.corpus.token_windows import refuse_unknown_entries, token_windows
from assets.tables import read_table
from orchestration.run import faults_of
from tests.assets.corpus.test_corpus_documents import study
from tests.pipeline.conftest import Bench
from tests.planted import PLANTED_LAYER, PLANTED_NEURON, VOCABULARY, planted_corpus, planted_model, planted_tokenizer

HOSTILE = "</script><img src=x onerror=alert(1)>"
OTHERS = ('"><svg onload=alert(2)>', "\u202egnp.exe\u202c")  # ends an attribute; turns the direction of what follows
ATTRIBUTE = "<p onmouseover=\"alert(3)\" style='position:fixed'>"
DOCUMENTS = {
    "a megabyte": "I picked it. " * 80_000,
    "one character": "I",
    "NUL bytes": "\0\0 I picked\0 it.",
    "right to left": "קטפתי תפוח \u202e מן העץ",
    "emoji": "🍎🍏 I picked 👩‍👩‍👧‍👦 it.",
    "lone surrogate": "I picked \ud800 it.",
    "script": "<script>window.hacked = 1; alert(4)</script> I picked it.",
    "attribute": ATTRIBUTE + " I picked it.",
    "template": "{{ 7 * 7 }} {% raw %} ${alert(5)} I picked it.",
    "the token itself": f"I climbed up the apple tree and picked{HOSTILE} apple. I climbed up the orange tree and picked{OTHERS[0]} orange.",
    "every control character": "".join(map(chr, range(1, 32))) + "\x7f\u2028\u2029\ufeff I picked it.",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A study whose model predicts HOSTILE where it would predict " an", over the planted corpus and every hostile document."""
    files = tmp_path_factory.mktemp("hostile")
    planted_model(files / "model", padding_entries=1 + len(OTHERS))  # their vectors are twice that of " an": the first of them wins
    tokenizer = planted_tokenizer()
    assert tokenizer.add_tokens([HOSTILE, *OTHERS]) == 3
    tokenizer.save_pretrained(str(files / "model"))
    corpus = planted_corpus(files)
    with corpus.open("a", encoding="utf-8") as lines:
        for text in (*DOCUMENTS.values(), *["I picked it."] * 1000):
            lines.write(json.dumps({"text": text}) + "\n")
    bench = Bench(files, tmp_path_factory.mktemp("bench"))
    prompt = {**bench.fields["prompts"][0], "answer": HOSTILE}
    result = bench.run(
        question=f"Which neuron predicts {HOSTILE}?", description=ATTRIBUTE, tokens=[HOSTILE, " a", OTHERS[1]], prompts=[prompt],
        corpus={**bench.fields["corpus"], "windows": "first"},
    )  # fmt: skip
    assert result.success, faults_of(result)
    return bench


def test_hostile_documents_are_kept_counted_and_predicted_on_like_any_other(hostile: Bench) -> None:
    documents = read_table(hostile.record("corpus_documents").folder, TABLES["corpus_documents"])
    for name, text in DOCUMENTS.items():
        assert text.replace("\ud800", "\ufffd") in documents["text"], name
    assert documents["is_duplicate"].sum() >= 999
    counts = read_table(hostile.record("token_counts").folder, TABLES["token_counts"]).filter(token=HOSTILE)
    assert counts["predictions"].item() > 0
    assert counts["occurrences"].item() == 1  # in the document "the token itself"
    curves = read_table(hostile.record("proportion_curves").folder, TABLES["proportion_curves"])
    assert (curves.filter(token=HOSTILE, layer=PLANTED_LAYER, neuron=PLANTED_NEURON)["proportion"] > 0).any()


def test_the_files_of_the_report_have_names_that_no_text_chooses(hostile: Bench) -> None:
    site = hostile.record("report_site").folder
    pages = {file.name for file in site.glob("*.html")}
    assert f"token-{len(VOCABULARY)}.html" in pages
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.") for name in pages)


@pytest.mark.slow
def test_nothing_of_it_runs_in_the_report_and_it_is_shown_as_it_is_written(hostile: Bench) -> None:
    browser_tests = pytest.importorskip("tests.browser.test_report_pages")
    if browser_tests.CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    site = hostile.settings.deployment.site_folder("planted").resolve()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_tests.CHROMIUM, args=browser_tests.ARGUMENTS)
        watched = browser_tests.Watched(browser, site)
        for file in sorted(site.glob("*.html")):
            page = watched.open(file.name)
            for plot in page.locator("[data-figure]").all():
                plot.scroll_into_view_if_needed()
                plot.locator(".main-svg").first.wait_for()
            injected = page.evaluate("document.querySelectorAll('img, iframe, [onerror], [onload], [onmouseover], p[style]').length")
            assert (file.name, injected) == (file.name, 0)
            assert page.evaluate("window.hacked ?? null") is None
            assert watched.faults == [], file.name
        assert HOSTILE.replace(" ", "␣") in watched.open(f"token-{len(VOCABULARY)}.html").locator("h1").inner_text()
        assert HOSTILE in watched.open("index.html").locator("body").inner_text().replace("␣", " ")
        browser.close()


def test_a_hundred_thousand_duplicates_are_marked_and_cut_in_one_go() -> None:
    frame = documents_frame(["I picked it."] * 100_000)
    assert frame["is_duplicate"].sum() == 99_999
    windows = conform(TOKEN_WINDOWS, token_windows(planted_tokenizer(), 0, 10_000, frame, 8, "first"))
    assert windows.height == 100_000
    assert windows["token_ids"].n_unique() == 1


def test_a_document_of_ten_megabytes_is_cut_into_windows_that_hold_all_of_it() -> None:
    """In time and memory that grow with its tokens: a copy of all tokens for each window would be 650 GB."""
    windows = token_windows(planted_tokenizer(), 0, 10_000, documents_frame(["I picked it. " * 800_000]), 64, "all")
    tokens = 4 * 800_000 + 1  # I, picked, it, the full stop; and the space at the end
    assert int(windows["length"].sum()) - windows.height == tokens
    assert windows["window_in_document"].to_list() == list(range(windows.height))


def test_ids_that_the_model_lacks_are_refused_before_it_runs(tmp_path: Path) -> None:
    windows = pl.DataFrame({"token_ids": [[0, 3], [0, 34]]})
    refuse_unknown_entries(windows, 35, study(tmp_path, files=["c.txt"]))
    with pytest.raises(CorpusError) as caught:
        refuse_unknown_entries(windows, 34, study(tmp_path, files=["c.txt"]))
    assert str(caught.value) == (
        "study s: the tokenizer writes entry 34 for this corpus, the model's vocabulary ends at 33; the folder's tokenizer is of another model: "
        "save the right one there"
    )


def test_a_tokenizer_with_more_entries_than_the_model_is_told_and_nothing_is_left_half_written(tmp_path: Path) -> None:
    files = tmp_path / "files"
    planted_model(files / "model")
    tokenizer = planted_tokenizer()
    tokenizer.add_tokens(["lemonade"])
    tokenizer.save_pretrained(str(files / "model"))
    (planted_corpus(files)).write_text('{"text": "lemonade"}\n' * 3)
    bench = Bench(files, tmp_path)
    (fault,) = faults_of(bench.run())
    assert "the tokenizer writes entry 34 for this corpus, the model's vocabulary ends at 33" in fault
    assert [path for path in bench.settings.data.rglob("*-????????") if path.is_dir() and not (path.parent / "record.json").exists()] == []
