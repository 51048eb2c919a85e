"""The page on which a text is tried, and the files that it is made of. It is served beside the reports and is part of none.

Holds the page alone: what it shows of a text comes from shown, who answers it is the server's to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from assets.product import PRODUCT_VERSION
from assets.tried_text.given_text import MOST_CHARACTERS, MOST_NEURONS, MOST_TOKENS
from reports.pages.page import Page
from reports.site import HERE, render, templates

FILES = {"site.css": "text/css", "tried_text.css": "text/css", "site.js": "text/javascript", "tried_text.js": "text/javascript"}


@dataclass(frozen=True)
class OfferedStudy:
    """A study that can be chosen; one whose model was not recorded yet says what to do instead of trying."""

    name: str
    was_run: bool


def tried_text_page(studies: Sequence[OfferedStudy]) -> bytes:
    """The page, with the studies that can be chosen: those that were run first."""
    offered = sorted(studies, key=lambda study: (not study.was_run, study.name))
    limits = {"tokens": MOST_TOKENS, "characters": MOST_CHARACTERS, "neurons": MOST_NEURONS}
    page = Page("index.html", "tried_text.html", "Try a text", {"studies": offered, "limits": limits})
    return render(templates(version=PRODUCT_VERSION), page).encode()


def static_file(name: str) -> tuple[bytes, str] | None:
    """The content of one of the page's files and its type; None for any other name."""
    return ((HERE / "static" / name).read_bytes(), FILES[name]) if name in FILES else None
