"""The files that a corpus names, in the order in which they are read: paths, patterns and folders of this machine, and URLs.

Opens none of them: rows are read by assets/corpus/source_rows.py, and assets/freshness.py hashes what is found here.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from assets.errors import InputError
from assets.store.connection import connect, told
from assets.study import CORPUS_SUFFIXES, Study
from assets.urls import is_url

SAVED = ("state.json", "dataset_dict.json")  # one of them lies in what `datasets.save_to_disk` writes


class SourceFileError(InputError):
    """A file, folder or pattern of a corpus under which there is nothing to read."""


@dataclass(frozen=True)
class SourceFile:
    """One file of the corpus, or one folder that holds a saved data set."""

    given: str  # the study's word for it, or a path from the study's folder where that is a folder or a pattern: what is written down
    place: Path | str  # a path of this machine, or a URL

    @property
    def name(self) -> str:
        """Its last part, which is its domain where documents are of their file's."""
        return str(self.place).rstrip("/").rsplit("/", 1)[-1]

    @property
    def is_saved(self) -> bool:
        """Whether it is a folder made by `datasets.save_to_disk`."""
        return isinstance(self.place, Path) and any((self.place / name).is_file() for name in SAVED)


def source_files(study: Study) -> list[SourceFile]:
    """All files of `corpus.files`: each as it is given, a folder's and a pattern's sorted by path.

    Raises SourceFileError for what names no file, RemoteError or UnreachableError for a pattern of URLs that cannot be looked up.
    """
    return [SourceFile(_shown(study, given, place), place) for given in study.corpus.files for place in _places(study, given)]


def _shown(study: Study, given: str, place: Path | str) -> str:
    return given if place == study.path(given) else place if isinstance(place, str) else os.path.relpath(place, study.path("."))


def local_files(study: Study) -> list[Path]:
    """The files of this machine whose content decides the corpus, those inside saved data sets too; none for what is not there."""
    places: list[Path] = []
    for given in study.corpus.files:
        with suppress(SourceFileError):  # told by whoever reads the corpus
            for place in [] if is_url(given) else _places(study, given):
                file = SourceFile(given, place)
                places += sorted(inner for inner in Path(place).rglob("*") if inner.is_file()) if file.is_saved else [Path(place)]
    return places


def remote_files(study: Study) -> list[str]:
    """The URLs of the corpus, patterns looked up. Raises what source_files raises for them."""
    return [str(place) for given in study.corpus.files if is_url(given) for place in _places(study, given)]


def _places(study: Study, given: str) -> Sequence[Path | str]:
    told_as = f"study {study.name}: corpus.files: {given}"
    if is_url(given):
        return _urls(given, told_as) if "*" in given else [given]
    path = study.path(given)
    if path.is_dir():
        return [path] if SourceFile(given, path).is_saved else _inside(path, told_as)
    if not path.is_file() and has_magic(given):
        found = sorted(Path(file) for file in glob(str(study.folder / given), recursive=True) if Path(file).is_file())
        if not found:
            raise SourceFileError(f"{told_as}: no file has such a name; correct the pattern")
        return list(_readable(found, told_as))
    return list(_readable([path], told_as)) if path.is_file() else [path]


def _inside(folder: Path, told_as: str) -> list[Path]:
    found = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name.endswith(CORPUS_SUFFIXES)]
    if not found:
        raise SourceFileError(f"{told_as}: the folder holds no {', '.join(CORPUS_SUFFIXES)} file, and no data set that save_to_disk wrote")
    return found


def _readable(files: list[Path], told_as: str) -> Iterator[Path]:
    for file in files:
        if not file.name.endswith(CORPUS_SUFFIXES):
            raise SourceFileError(f"{told_as}: {file.name} is not one of {', '.join(CORPUS_SUFFIXES)}; give files of these kinds alone")
        yield file


def _urls(given: str, told_as: str) -> list[str]:
    files: Any
    files, path = connect(given)
    with told(given):
        found = sorted(files.unstrip_protocol(place) for place in files.glob(path))
    wanted = [url for url in found if url.endswith(CORPUS_SUFFIXES)]
    if not wanted:
        raise SourceFileError(f"{told_as}: no {', '.join(CORPUS_SUFFIXES)} file has such a name there; correct the pattern")
    return wanted
