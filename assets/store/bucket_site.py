"""A stable address for a site in a bucket: for each of its pages one small page that redirects to the published version."""

import html
import posixpath
from urllib.parse import quote

from assets.store.objects import Objects
from assets.store.records import Record

FIRST_PAGE = "index.html"
HTML = "text/html; charset=utf-8"


def show_site(objects: Objects, record: Record, at: str) -> None:
    """Write the redirecting pages below `at`, the first page last; what an earlier version alone had is removed."""
    version = f"{record.place.path}/{record.version}"
    pages = {name: redirect(f"{at}/{name}", f"{version}/{name}") for name in record.files if name.endswith(".html")}
    if objects.get(f"{at}/{FIRST_PAGE}") == pages.get(FIRST_PAGE):
        return  # it is written last, so all others stand
    for name in sorted(pages, key=lambda name: name == FIRST_PAGE):
        objects.put(f"{at}/{name}", pages[name], HTML)
    objects.remove([f"{at}/{name}" for name in objects.below(at) if name not in pages])


def hide_site(objects: Objects, at: str) -> None:
    """Remove the redirecting pages below `at`."""
    objects.remove([f"{at}/{name}" for name in objects.below(at)])


def redirect(page: str, target: str) -> bytes:
    """A page at `page` that leads to `target`, both as keys of the same bucket, so that it works at any address of the bucket.

    What an address says after its # names a neuron of the atlas: a script keeps it, which a refresh does not.
    """
    there = html.escape(quote(posixpath.relpath(target, posixpath.dirname(page))))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={there}">'
        f'<script>location.replace("{there}" + location.hash)</script>'  # quoted as a part of an address: no quotation mark is in it
        f'<title>The report moved</title></head><body><p><a href="{there}">The current report</a></p></body></html>\n'
    ).encode()
