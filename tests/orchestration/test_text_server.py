"""The page where a text is tried, over HTTP: what it answers, and to whom it answers nothing."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from assets.publication import materialize
from assets.stages import STAGES
from assets.study import read_study
from assets.tried_text import study_models
from orchestration import text_server
from orchestration.report_server import serve_reports
from orchestration.serve import LOOPBACK, free_port
from orchestration.settings import Settings
from orchestration.text_server import MOST_BYTES, MOST_WAITING, RefusedRequest, TextTrials, handler_of, pages_of_neurons
from tests.pipeline.conftest import planted_fields
from tests.planted import PLANTED_LAYER, PLANTED_NEURON, planted_corpus, planted_model
from tests.stage_runs import compute_of

TEXT = "I climbed up the apple tree and picked"
SCRIPT = "</script><script>alert(1)</script>"
JSON = "application/json"


class Place(NamedTuple):
    """A server with one study whose model is recorded, planted, and one that was never run, idle."""

    port: int
    settings: Settings
    trials: TextTrials

    def send(self, path: str, body: bytes | None, method: str = "POST", host: str = "", **headers: str) -> tuple[int, bytes, Any]:
        """Status, content and headers of an answer; what is sent is sent as it stands."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"{LOOPBACK}:{self.port}")
        length = {} if body is None else {"Content_Length": str(len(body))}
        for name, value in (length | headers).items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        answered = connection.getresponse()
        return answered.status, answered.read(), answered.headers

    def ask(self, body: Any, path: str = "/try_text/tried", **headers: str) -> tuple[int, Any]:
        """Status of a request as the page sends it, and what is told."""
        status, content, _ = self.send(path, json.dumps(body).encode(), **{"Content_Type": JSON, **headers})
        return status, json.loads(content)


def asked(study: str = "planted", text: str = TEXT, neurons: str = "") -> dict[str, str]:
    return {"study": study, "text": text, "neurons": neurons}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("texts")
    planted_model(folder / "model")
    planted_corpus(folder)
    (folder / "studies").mkdir()
    for name in ("planted", "idle"):
        (folder / "studies" / f"{name}.yaml").write_text(yaml.safe_dump(planted_fields(folder)))
    settings = Settings(data=folder / "data", studies=folder / "studies", site_url="")
    study, stage = read_study(folder / "studies" / "planted.yaml"), STAGES["model_snapshot"]
    materialize(study, stage, None, settings.deployment, compute_of(stage), lambda text: None)
    trials, port = TextTrials(settings), free_port(3640)
    server = serve_reports(settings.data / "reports", port, handler_of(trials))
    (settings.data / "reports" / "planted").mkdir()
    (settings.data / "reports" / "planted" / f"neuron-{PLANTED_LAYER}-{PLANTED_NEURON}.html").write_text("its page")
    yield Place(port, settings, trials)
    server.shutdown()
    server.server_close()


def test_a_text_is_told_token_by_token_with_links_to_the_pages_of_neurons(place: Place) -> None:
    status, told = place.ask(asked(neurons="L0 N1, L1 N3"), Origin=f"http://{LOOPBACK}:{place.port}")
    assert (status, told["study"], told["refused"]) == (200, "planted", "")
    assert [token["token"] for token in told["tokens"]][1:4] == ["I", "␣climbed", "␣up"]
    last = told["tokens"][-1]
    assert last["prediction"] == "␣an"
    name = f"L{PLANTED_LAYER} N{PLANTED_NEURON}"
    assert last["writes"][0] | {"contribution": "", "activation": ""} == {
        "name": name, "page": f"/planted/neuron-{PLANTED_LAYER}-{PLANTED_NEURON}.html", "contribution": "", "activation": "",
    }  # fmt: skip
    assert last["writes"][0]["contribution"].startswith("+")
    assert [neuron["name"] for neuron in told["neurons"]] == ["L0 N1", name]
    assert told["neurons"][1]["strengths"][-1] == 100
    assert told["neurons"][1]["strengths"][0] == 0  # the beginning is not counted, so it has no colour
    assert len(told["neurons"][1]["activations"]) == len(told["tokens"])


def test_equal_requests_have_equal_answers(place: Place) -> None:
    one, other = place.ask(asked()), place.ask(asked())
    for _, told in (one, other):
        told.pop("seconds")
    assert one == other


def test_texts_are_data(place: Place) -> None:
    status, told = place.ask(asked(text=f"I climbed {SCRIPT}"))
    assert status == 200
    status, content, headers = place.send("/try_text/tried", json.dumps(asked(text=SCRIPT, study=SCRIPT)).encode(), Content_Type=JSON)
    assert status == 404
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "</script>" in json.loads(content)["error"]


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"study": "nowhere"}, 404, "study 'nowhere': no such study in "),
        ({"study": "../planted"}, 404, "study: given '../planted'; give the name of a study, not a path"),
        ({"study": "/etc/x.yaml"}, 404, "study: given '/etc/x.yaml'; give the name of a study, not a path"),
        ({"study": "idle"}, 409, "idle/model_snapshot: not there yet; materialize it first, or everything with: make study STUDY=idle"),
        ({"text": " "}, 422, "text: given none; give a sentence"),
        (
            {"text": " an" * 64},
            422,
            "text: given 65 tokens, the beginning-of-sequence token among them; at most 64 are what this model reads",
        ),
        ({"text": "a" * 10_001}, 422, "text: given 10,001 characters; at most 10,000 are looked at: shorten it"),
        ({"neurons": "L9 N1"}, 422, "neurons: L9 N1 does not exist; the model has layers 0 to 2 with neurons 0 to 15 each"),
        ({"neurons": "<b>"}, 422, "neurons: given '<b>'; write a neuron as L1 N3, and a comma between two"),
    ],
)
def test_what_cannot_be_tried_is_told_in_a_sentence(place: Place, changes: dict[str, str], status: int, told: str) -> None:
    found, answer = place.ask(asked() | changes)
    assert found == status
    assert answer["error"].startswith(told)


def is_answered(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every request that reaches the studies, from now on."""
    reached: list[Any] = []

    def answer(fields: Any) -> dict[str, str]:
        reached.append(fields)
        return {"said": "yes"}

    monkeypatch.setattr(place.trials, "answer", answer)
    return reached


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1", "http://127.0.0.1:{other}", "http://localhost:{port}", "null", "",
     "http://127.0.0.1:{port}.evil.example"],
)  # fmt: skip
def test_no_page_of_another_place_is_answered(place: Place, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    reached = is_answered(place, monkeypatch)
    status, told = place.ask(asked(), Origin=origin.format(port=place.port, other=place.port + 1))
    assert (status, reached) == (403, [])
    assert told["error"] == "a page of another site asks; open the page of this server itself"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}"])
def test_a_name_that_was_made_to_lead_here_is_not_answered(place: Place, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    reached, body, named = is_answered(place, monkeypatch), json.dumps(asked()).encode(), host.format(port=place.port)
    status, content, _ = place.send("/try_text/tried", body, host=named, Content_Type=JSON, Origin=f"http://{named}")
    assert (status, reached) == (403, [])
    assert place.send("/try_text/", None, "GET", host=named)[0] == 403


def test_this_machine_is_answered_by_any_of_its_names(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, body = is_answered(place, monkeypatch), json.dumps(asked()).encode()
    for name in (f"localhost:{place.port}", f"127.0.0.1:{place.port}", f"[::1]:{place.port}"):
        status, content, headers = place.send(
            "/try_text/tried", body, host=name, Content_Type=f"{JSON}; charset=utf-8", Origin=f"http://{name}"
        )
        assert (status, json.loads(content)) == (200, {"said": "yes"})
        assert not [header for header in headers if header.lower().startswith("access-control-")]
    assert len(reached) == 3


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "", "text/json"])
def test_what_a_form_of_another_site_could_send_is_not_answered(place: Place, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    reached = is_answered(place, monkeypatch)
    status, content, _ = place.send("/try_text/tried", json.dumps(asked()).encode(), Content_Type=kind)
    assert (status, reached) == (415, [])
    assert json.loads(content)["error"].endswith("send application/json")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_nothing_but_post_tries_a_text(place: Place, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    reached = is_answered(place, monkeypatch)
    status, content, headers = place.send("/try_text/tried", None, method)
    assert (status, reached) == (405 if method in ("GET", "HEAD") else 501, [])
    if method == "GET":
        assert headers["Allow"] == "POST"
        assert json.loads(content)["error"] == "a text is sent by POST; the page that does is /try_text/"


@pytest.mark.parametrize("path", ["/", "/planted/", "/try_text/", "/try_text/tried/", "/try_text"])
def test_nothing_is_posted_anywhere_else(place: Place, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    reached = is_answered(place, monkeypatch)
    status, told = place.ask(asked(), path)
    assert (status, reached) == (404, [])
    assert told["error"] == "nothing is asked here; texts are tried at /try_text/tried"


def test_a_request_is_short_and_says_how_long_it_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = is_answered(place, monkeypatch)
    status, content, _ = place.send("/try_text/tried", b"a" * (MOST_BYTES + 1), Content_Type=JSON)
    assert (status, json.loads(content)["error"]) == (413, "given 65,537 bytes; at most 65,536 are read: shorten the text")
    for length in ("-1", "ten", "1" * 20, "٣"):
        with socket.create_connection((LOOPBACK, place.port), timeout=20) as sent:
            sent.sendall(f"POST /try_text/tried HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Length: {length}\r\n\r\n".encode())
            assert b" 411 " in sent.makefile("rb").readline()
    assert place.send("/try_text/tried", None, Content_Type=JSON)[0] == 411
    assert reached == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"null", b"{}", b"[" * 60_000, json.dumps({"study": "planted", "text": TEXT}).encode(),
     json.dumps(asked() | {"more": "x"}).encode(), json.dumps(asked() | {"text": 5}).encode(), json.dumps(asked() | {"neurons": None}).encode()],
)  # fmt: skip
def test_anything_but_three_texts_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    reached = is_answered(place, monkeypatch)
    status, content, _ = place.send("/try_text/tried", body, Content_Type=JSON)
    assert (status, reached) == (400, [])
    assert json.loads(content)["error"]


def test_a_model_that_cannot_be_run_is_told_and_the_server_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    def out_of_memory(*_: object) -> None:
        raise RuntimeError("CUDA out of memory\nand much more")

    with monkeypatch.context() as changed:
        changed.setattr(text_server, "tried_by", out_of_memory)
        status, told = place.ask(asked())
    assert (status, told["error"]) == (500, "the model could not be run (CUDA out of memory); the terminal of make dev says more")
    assert "and much more" in capfd.readouterr().err
    assert place.ask(asked())[0] == 200


def test_requests_take_turns_and_too_many_are_sent_away(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on, most, let_go = [0], [0], threading.Event()
    own = study_models.tried_text

    def slow(*given: Any) -> Any:
        going_on[0] += 1
        most[0] = max(most[0], going_on[0])
        assert let_go.wait(60)
        going_on[0] -= 1
        return own(*given)

    monkeypatch.setattr(study_models, "tried_text", slow)
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(place.ask(asked())[0])) for _ in range(MOST_WAITING)]
    for thread in threads:
        thread.start()
    while place.trials._places._value:  # all have a place
        threading.Event().wait(0.01)
    status, told = place.ask(asked())
    assert (status, told["error"]) == (503, "4 texts are being tried already; ask again in a moment")
    let_go.set()
    for thread in threads:
        thread.join()
    assert (statuses, most) == ([200] * MOST_WAITING, [1])


def test_the_page_offers_studies_that_were_run_first_and_nothing_that_runs_from_elsewhere(place: Place) -> None:
    status, content, headers = place.send("/try_text/", None, "GET")
    assert status == 200
    page = content.decode()
    assert page.index('<option value="planted">planted</option>') < page.index('<option value="idle">idle (not run yet)</option>')
    assert "default-src 'none'; script-src 'self';" in page
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert place.send("/try_text/index.html", None, "GET")[1] == content
    moved = place.send("/try_text", None, "GET")
    assert (moved[0], moved[2]["Location"]) == (301, "/try_text/")
    head = place.send("/try_text/", None, "HEAD")
    assert (head[0], head[1], head[2]["Content-Length"]) == (200, b"", str(len(content)))


@pytest.mark.parametrize(
    ("path", "status"),
    [("static/site.css", 200), ("static/site.js", 200), ("static/tried_text.css", 200), ("static/tried_text.js", 200), ("static/", 404),
     ("static/../tried_text/page.py", 404), ("static/%2e%2e/site.py", 404), ("other", 404), ("tried.html", 404)],
)  # fmt: skip
def test_the_pages_own_files_are_served_and_no_other(place: Place, path: str, status: int) -> None:
    assert place.send(f"/try_text/{path}", None, "GET")[0] == status


def test_reports_are_served_as_ever(place: Place) -> None:
    status, content, _ = place.send(f"/planted/neuron-{PLANTED_LAYER}-{PLANTED_NEURON}.html", None, "GET")
    assert (status, content) == (200, b"its page")
    assert place.send("/planted/none.html", None, "HEAD")[0] == 404


def test_a_neuron_is_linked_to_its_own_page_or_to_the_atlas_or_to_none(tmp_path: Path) -> None:
    report = tmp_path / "demo"
    report.mkdir()
    (report / "neuron-1-3.html").write_text("")
    assert pages_of_neurons(report, [(1, 3), (1, 4)]) == {(1, 3): "/demo/neuron-1-3.html"}
    (report / "atlas").mkdir()
    (report / "atlas" / "neuron.html").write_text("")
    assert pages_of_neurons(report, [(1, 3), (1, 4)]) == {(1, 3): "/demo/neuron-1-3.html", (1, 4): "/demo/atlas/neuron.html#L1-N4"}


def test_a_server_that_was_closed_holds_no_model_and_tries_nothing(place: Place) -> None:
    trials = TextTrials(place.settings)
    assert trials.answer(asked())["tokens"]
    assert trials.close(1)
    assert trials._models._held is None
    with pytest.raises(RefusedRequest, match="the server is being stopped; start it again with make dev"):
        trials.answer(asked())


def test_a_text_that_does_not_end_is_not_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    trials, began, let_go = TextTrials(place.settings), threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        began.set()
        assert let_go.wait(60)
        raise RefusedRequest(HTTPStatus.OK, "it ended")

    monkeypatch.setattr(text_server, "tried_by", slow)
    ends: list[str] = []

    def ask() -> None:
        with pytest.raises(RefusedRequest) as told:
            trials.answer(asked())
        ends.append(str(told.value))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert began.wait(60)
    assert not trials.close(0.1)
    let_go.set()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["it ended", "the server is being stopped; start it again with make dev"]


def test_a_study_file_with_a_fault_is_told_where_it_is_asked_for_and_not_offered(place: Place) -> None:
    file = place.settings.studies / "faulty.yaml"
    file.write_text("model: 5\n")
    try:
        with pytest.raises(RefusedRequest, match="faulty.yaml: field"):
            place.trials.answer(asked(study="faulty"))
        assert b"faulty" not in place.send("/try_text/", None, "GET")[1]
    finally:
        file.unlink()
