"""The page on which a text is tried, beside the reports of this machine: who may ask, how much, one at a time.

A request makes the model run, so more is asked of it than of one for a file. It is answered only where its Host is this machine (as for the
reports: a name that was made to lead here is none), where its Origin, which browsers send with what a page asks, is that same place, and where
it comes as JSON, which no form of another site can send unasked. No header lets other sites read an answer. What is read of the model is
assets/tried_text's, what is shown reports/tried_text's.
"""

import json
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from assets.errors import InputError
from assets.store import Place, StoreError
from assets.study import STUDY_NAME, Study, StudyError
from assets.tried_text.study_models import SNAPSHOT, StudyModels, tried_by
from assets.tried_text.tried_text import Neuron
from orchestration.report_server import QuietFiles
from orchestration.settings import Settings
from orchestration.study_files import find_study
from orchestration.unusable import usable_studies
from reports.pages.page import neuron_page
from reports.tried_text.page import OfferedStudy, static_file, tried_text_page
from reports.tried_text.shown import neurons_named, shown

PLACE = "/try_text/"  # no report can lie there: the names of studies hold no underscore
ASKED_AT = f"{PLACE}tried"
MOST_BYTES = 64 * 2**10  # of a request: the longest text that is looked at, each character escaped, is shorter
MOST_DRAINED = 2**20  # of one that is too long: read and dropped, so that its sender hears the answer
MOST_WAITING = 4  # requests that take turns; more are sent away
SECONDS_TO_SEND = 30
FIELDS = ("study", "text", "neurons")


class RefusedRequest(Exception):
    """A request that is not answered, the status that says so, and a sentence for who sent it."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class TextTrials:
    """Answers what is asked of the studies of a deployment, one request after the other, with one loaded model."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._models = settings, StudyModels(settings.deployment.store)
        self._turn, self._places = threading.Lock(), threading.BoundedSemaphore(MOST_WAITING)
        self._is_closed = False

    def page(self) -> bytes:
        """The page, with the studies as they are now."""
        studies, _ = usable_studies(self._settings.studies)
        return tried_text_page([OfferedStudy(study.name, self._was_run(study)) for study in studies])

    def answer(self, asked: dict[str, str]) -> dict[str, Any]:
        """What the page shows of a text. Raises RefusedRequest, and InputError for what cannot be tried."""
        study = self._study(asked["study"])
        with self._one_at_a_time():
            began = time.monotonic()
            tried = tried_by(self._models, study, asked["text"], asked["neurons"])
            seconds = f"{time.monotonic() - began:.1f}"
        pages = pages_of_neurons(self._settings.deployment.site_folder(study.name), neurons_named(tried))
        return {"study": study.name, "seconds": seconds, **shown(tried, pages, study.count_bos)}

    def close(self, seconds: float) -> bool:
        """Answer nothing any more and give back the model; False if the text that is being tried did not end within so many seconds."""
        self._is_closed = True
        if not self._turn.acquire(timeout=seconds):
            return False
        self._models.free()
        self._turn.release()
        return True

    def _study(self, name: str) -> Study:
        """A study of the deployment by its name: never by path, which a page has no need to name."""
        if not STUDY_NAME.fullmatch(name):
            raise RefusedRequest(HTTPStatus.NOT_FOUND, f"study: given {name[:40]!r}; give the name of a study, not a path")
        try:
            return find_study(name, self._settings)
        except StudyError as error:
            raise RefusedRequest(HTTPStatus.NOT_FOUND, str(error)) from None

    def _was_run(self, study: Study) -> bool:
        try:
            return self._settings.deployment.store.find(Place(study.name, SNAPSHOT)) is not None
        except StoreError:  # damaged, or of another version: trying it says so
            return False

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise RefusedRequest(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_WAITING} texts are being tried already; ask again in a moment")
        try:
            with self._turn:
                if self._is_closed:
                    raise RefusedRequest(HTTPStatus.SERVICE_UNAVAILABLE, "the server is being stopped; start it again with make dev")
                yield
        finally:
            self._places.release()


def pages_of_neurons(report: Path, neurons: Iterable[Neuron]) -> dict[Neuron, str]:
    """Addresses of the pages that the published report has of neurons: a studied neuron's own, else its place in the atlas, else none."""
    has_atlas = (report / "atlas" / "neuron.html").is_file()
    found = {}
    for layer, neuron in neurons:
        if (report / neuron_page((layer, neuron))).is_file():
            found[layer, neuron] = f"/{report.name}/{neuron_page((layer, neuron))}"
        elif has_atlas:
            found[layer, neuron] = f"/{report.name}/atlas/neuron.html#L{layer}-N{neuron}"
    return found


def handler_of(trials: TextTrials) -> type[QuietFiles]:
    """What serves the reports of a folder, and the page of `trials` at PLACE."""
    return type("ReportsAndTexts", (ReportsAndTexts,), {"trials": trials})


class ReportsAndTexts(QuietFiles):
    """Serves files as ever, the page and its files at PLACE, and answers what the page asks."""

    trials: TextTrials
    timeout = SECONDS_TO_SEND  # of a request that does not come to its end

    def do_GET(self) -> None:
        """A file of a report, or of the page."""
        if self._asked_for() + "/" == PLACE:
            self._send(HTTPStatus.MOVED_PERMANENTLY, b"", "text/plain", Location=PLACE)
        elif not self._asked_for().startswith(PLACE):
            super().do_GET()
        else:
            self._send_of_page(self._asked_for().removeprefix(PLACE))

    def do_HEAD(self) -> None:
        """The same without its content."""
        if self._asked_for().startswith(PLACE):
            self.do_GET()
        else:
            super().do_HEAD()

    def do_POST(self) -> None:
        """A text to try."""
        try:
            self._tell(HTTPStatus.OK, self.trials.answer(self._asked()))
        except RefusedRequest as refused:
            self._tell(refused.status, {"error": str(refused)})
        except StoreError as error:  # the study was not run, or not as it is now
            self._tell(HTTPStatus.CONFLICT, {"error": str(error)})
        except InputError as error:
            self._tell(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)})
        except (MemoryError, RuntimeError) as error:  # out of a GPU's memory, say
            traceback.print_exc(file=sys.stderr)
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            self._tell(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                {"error": f"the model could not be run ({first_line}); the terminal of make dev says more"},
            )

    def _asked_for(self) -> str:
        return urlsplit(self.path).path

    def _asked(self) -> dict[str, str]:
        """The fields of the request. Raises RefusedRequest."""
        content = self._content()
        if self._asked_for() != ASKED_AT:
            raise RefusedRequest(HTTPStatus.NOT_FOUND, f"nothing is asked here; texts are tried at {ASKED_AT}")
        for origin in self.headers.get_all("Origin", []):
            if origin != f"http://{self.headers.get('Host')}":
                raise RefusedRequest(HTTPStatus.FORBIDDEN, "a page of another site asks; open the page of this server itself")
        if self.headers.get_content_type() != "application/json":
            raise RefusedRequest(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"given {self.headers.get_content_type()}; send application/json")
        try:
            asked = json.loads(content)
        except (ValueError, RecursionError):
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, "what was sent is not readable as JSON") from None
        if not (isinstance(asked, dict) and sorted(asked) == sorted(FIELDS) and all(isinstance(value, str) for value in asked.values())):
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, f"send an object with the texts {', '.join(FIELDS)}, and nothing else")
        return asked

    def _content(self) -> bytes:
        """What was sent, all of it, so that its sender is there to read the answer. Raises RefusedRequest for more than MOST_BYTES."""
        given = self.headers.get("Content-Length", "")
        if not (given.isascii() and given.isdigit() and len(given) < 16):
            raise RefusedRequest(HTTPStatus.LENGTH_REQUIRED, "say by Content-Length how many bytes are sent")
        if int(given) > MOST_BYTES:
            self.rfile.read(min(int(given), MOST_DRAINED))
            raise RefusedRequest(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"given {int(given):,} bytes; at most {MOST_BYTES:,} are read: shorten the text"
            )
        return self.rfile.read(int(given))

    def _send_of_page(self, name: str) -> None:
        if name in ("", "index.html"):
            try:
                return self._send(HTTPStatus.OK, self.trials.page(), "text/html")
            except InputError as error:
                return self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
        if f"{PLACE}{name}" == ASKED_AT:
            return self._tell(
                HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"a text is sent by POST; the page that does is {PLACE}"}, Allow="POST"
            )
        found = static_file(name.removeprefix("static/")) if name.startswith("static/") else None
        return self.send_error(HTTPStatus.NOT_FOUND) if found is None else self._send(HTTPStatus.OK, *found)

    def _tell(self, status: HTTPStatus, value: dict[str, Any], **headers: str) -> None:
        self._send(status, json.dumps(value, allow_nan=False).encode(), "application/json", **headers)

    def _send(self, status: HTTPStatus, content: bytes, kind: str, **headers: str) -> None:
        """One answer of this page, which no other site may frame or take as a file of another kind."""
        headers |= {"Content-Security-Policy": "frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin",
                    "X-Content-Type-Options": "nosniff", "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(content))}  # fmt: skip
        with suppress(ConnectionError):  # who asked has gone
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
