"""The page where a text is tried, in a real browser against its server: by mouse, by keyboard, on a phone, with texts that try to run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -r requirements.lock")

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect  # noqa: E402

from assets.publication import materialize  # noqa: E402
from assets.stages import STAGES  # noqa: E402
from assets.study import read_study  # noqa: E402
from orchestration.report_server import serve_reports  # noqa: E402
from orchestration.serve import LOOPBACK, free_port  # noqa: E402
from orchestration.settings import Settings  # noqa: E402
from orchestration.text_server import TextTrials, handler_of  # noqa: E402
from tests.browser.test_report_pages import CHROMIUM  # noqa: E402
from tests.pipeline.conftest import planted_fields  # noqa: E402
from tests.planted import PLANTED_LAYER, PLANTED_NEURON, planted_corpus, planted_model  # noqa: E402
from tests.stage_runs import compute_of  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")]

NAME = f"L{PLANTED_LAYER} N{PLANTED_NEURON}"
TEXT = "I climbed up the apple tree and picked"
SCRIPT = "<img src=x onerror=alert(1)></script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a server with the planted study, whose model is recorded and whose neuron has a page, and an idle one."""
    folder = tmp_path_factory.mktemp("texts")
    planted_model(folder / "model")
    planted_corpus(folder)
    (folder / "studies").mkdir()
    for name in ("idle", "planted"):
        (folder / "studies" / f"{name}.yaml").write_text(yaml.safe_dump(planted_fields(folder)))
    settings, stage = Settings(data=folder / "data", studies=folder / "studies", site_url=""), STAGES["model_snapshot"]
    study = read_study(folder / "studies" / "planted.yaml")
    materialize(study, stage, None, settings.deployment, compute_of(stage), lambda text: None)
    report = settings.data / "reports" / "planted"
    report.mkdir(parents=True)
    (report / f"neuron-{PLANTED_LAYER}-{PLANTED_NEURON}.html").write_text("<!doctype html><link rel=icon href=data:,><h1>its page</h1>")
    port = free_port(20_080 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))
    server = serve_reports(settings.data / "reports", port, handler_of(TextTrials(settings)))
    yield f"http://{LOOPBACK}:{port}/try_text/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Any]:
    """Opens the page; fails where the console complains, anything else is asked for, or a text runs."""
    faults: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if "422" not in message.text and "409" not in message.text:  # a browser notes every answer that is a refusal
            faults.append(message.text)

    def dismiss(dialog: Dialog) -> None:
        faults.append("a dialog opened")
        dialog.dismiss()

    def judge(request: Request) -> None:
        if not request.url.startswith((address.removesuffix("try_text/"), "data:")):
            faults.append(request.url)

    def opened(**options: Any) -> Page:
        page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
        page.set_default_timeout(90_000)
        expect.set_options(timeout=90_000)
        page.on("console", hear)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", dismiss)
        page.on("request", judge)
        page.goto(address)
        return page

    yield opened
    assert faults == []


def tried(page: Page, text: str) -> None:
    page.get_by_label("Text", exact=False).first.fill(text)
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("#state")).to_contain_text("read by the model of planted")


def test_a_sentence_is_read_coloured_and_linked(open_page: Any) -> None:
    page = open_page()
    tried(page, TEXT)
    words = page.locator("#text bdi")
    expect(words).to_have_count(9)
    expect(page.locator("#token")).to_contain_text("the model predicts ␣an")  # the last token is chosen at first
    expect(page.locator("#token tbody tr").first).to_contain_text(NAME)
    expect(page.locator("#neurons button[aria-pressed=true]")).to_have_count(1)
    page.get_by_role("button", name=f"Colour the text by {NAME}").click()
    expect(page.locator("#neurons button[aria-pressed=true]")).to_have_text(NAME)
    assert words.nth(8).evaluate("word => word.style.getPropertyValue('--p')") == "100%"
    assert words.nth(0).evaluate("word => word.style.getPropertyValue('--p')") == "0%"
    expect(page.locator("#of-neuron")).to_have_text(f"Activation of {NAME}")
    expect(page.locator("#neurons a")).to_have_attribute("href", f"/planted/neuron-{PLANTED_LAYER}-{PLANTED_NEURON}.html")
    words.nth(2).click()
    expect(page.locator("#token")).to_contain_text("Behind ␣climbed the model predicts ␣up")
    other = page.locator("#token tbody tr").first.locator("td").first.inner_text()
    page.get_by_role("button", name=f"Colour the text by {other}").first.click()  # another run of the model
    expect(page.locator("#neurons button[aria-pressed=true]")).to_have_text(other)
    expect(page.locator("#neurons a")).to_be_hidden()
    assert NAME in page.locator("input[name=neurons]").input_value()
    expect(page.locator("#token")).to_contain_text("Behind ␣climbed")  # the token that was read stays chosen
    page.locator("#table a", has_text=NAME).first.click()
    expect(page.locator("h1")).to_have_text("its page")


def test_all_is_done_by_keyboard(open_page: Any) -> None:
    page = open_page()
    page.locator("textarea").focus()
    page.keyboard.type(TEXT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#tried")).to_be_visible()
    page.locator("#text bdi[tabindex='0']").focus()
    for key, token in (
        ("ArrowLeft", "␣and"),
        ("Home", "<|endoftext|>"),
        ("ArrowLeft", "<|endoftext|>"),
        ("ArrowRight", "I"),
        ("End", "␣picked"),
    ):
        page.keyboard.press(key)
        expect(page.locator("#token .token").first).to_have_text(token)
        expect(page.locator("#text bdi[aria-pressed=true]")).to_be_focused()
        expect(page.locator("#table tr[aria-current] .token").first).to_have_text(token)


def test_texts_that_try_to_run_are_shown(open_page: Any) -> None:
    page = open_page()
    tried(page, f"I picked an {SCRIPT}")
    assert page.locator("#tried img, #tried script").count() == 0


def test_what_cannot_be_tried_is_told_and_the_next_text_is_tried(open_page: Any) -> None:
    page = open_page()
    page.locator("textarea").fill(TEXT)
    page.locator("select").select_option("idle")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("#state.fault")).to_contain_text("idle/model_snapshot: not there yet; materialize it first")
    page.locator("select").select_option("planted")
    page.locator("input[name=neurons]").fill(SCRIPT)
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("#state.fault")).to_contain_text("write a neuron as L1 N3")
    page.locator("input[name=neurons]").fill("L0 N1")
    tried(page, TEXT)
    expect(page.locator("#state.fault")).to_have_count(0)
    expect(page.locator("#neurons button")).to_have_text(["L0 N1"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_stands_beyond_the_edge(open_page: Any, scheme: str) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    tried(page, TEXT)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_another_site_is_not_answered_in_a_browser(browser: Browser, address: str, tmp_path: Path) -> None:
    """A page from elsewhere (here: from disk, whose origin is null) sends what its browser lets it send, and nothing is tried."""
    other = tmp_path / "other.html"
    other.write_text("<!doctype html><title>other</title>")
    page = browser.new_page()
    page.goto(other.as_uri())
    sent = """async ([address, kind]) => { try { const answered = await fetch(address + "tried", {method: "POST", mode: kind ? "cors" : "no-cors",
      headers: kind ? {"Content-Type": kind} : {}, body: JSON.stringify({study: "planted", text: "I", neurons: ""})});
      return [answered.type, answered.status]; } catch (error) { return ["failed", 0]; } }"""
    for kind in (
        "application/json",
        "",
    ):  # the first asks for leave and gets none; the second is sent, and its answer is kept from the page
        assert page.evaluate(sent, [address, kind]) == ["failed", 0]
    page.close()
