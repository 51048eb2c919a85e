"""The rows of a hub data set at one commit, file after file, each fetched as it is needed.

The library `datasets` says which files a configuration and a split are made of, and reads them; what is kept is in corpus_documents.
"""

import copy
import dataclasses
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from assets.corpus.source_rows import Columns, CorpusError, Row, table_rows
from assets.study import COMMIT, Study
from assets.upstream import ACCEPT, FEWER, LOG_IN, Branch, hub_status, latest_commit

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


class HubFile(NamedTuple):
    """A file of the data set by its path there, or a part of a split by its name; and its rows, not read yet."""

    name: str
    rows: Iterator[Row]


def hub_files(study: Study) -> tuple[str, Iterator[HubFile]]:
    """The commit, and the files of the study's data set in order. A branch is resolved first, so that what is read is what is recorded.

    Raises CorpusError for what the hub does not have or does not hand over, with what to do; ConnectionError where it does not answer.
    """
    choice = study.corpus
    if not HUB_ID.fullmatch(str(choice.id)):  # the library would take a folder of this machine, or a loader of that name
        raise CorpusError(f"{_given(study)}: no hub id of the form owner/name; local files go into corpus.files")
    with _told(study):
        commit = choice.revision or "main"
        if not COMMIT.fullmatch(commit):
            commit = latest_commit(Branch("corpus_documents", "dataset", str(choice.id), commit))
        files = _split_files(study, commit)
    return commit, (HubFile(name, _read(study, name, rows)) for name, rows in files)


def _given(study: Study) -> str:
    choice = study.corpus
    config = f", config {choice.config!r}" if choice.config else ""
    return f"study {study.name}: corpus.id {choice.id!r}, revision {choice.revision!r}{config}, split {choice.split!r}"


def _split_files(study: Study, commit: str) -> list[tuple[str, Callable[[], Any]]]:
    """Each file's name, and what opens its rows; a part of a split, such as train[:10%], counts as one file and is fetched whole.

    So does a split without a network: what the library downloaded whole before can still be read from its cache.
    """
    import datasets
    from huggingface_hub.constants import HF_HUB_OFFLINE

    choice = study.corpus
    kept = {"name": choice.config, "revision": commit, "data_files": list(choice.data_files) or None}
    if "[" in choice.split or HF_HUB_OFFLINE:
        whole = datasets.load_dataset(str(choice.id), split=choice.split, **kept)
        return [(choice.split, lambda: whole)]
    builder = datasets.load_dataset_builder(str(choice.id), **kept)
    held = builder.config.data_files or {}
    files: list[tuple[str, Any]] = []
    for split in map(str.strip, choice.split.split("+")):
        if split not in held:
            raise ValueError(f"no such split; it has {sorted(map(str, held))}")
        files += [(str(file).rpartition(f"@{commit}/")[2], _alone(builder, split, file)) for file in held[split]]
    return files


def _alone(builder: Any, split: str, file: str) -> Callable[[], Any]:
    """Opens a stream of the rows of one file, as the data set's configuration has them read."""
    import datasets

    def opened() -> Any:
        one = copy.copy(builder)
        alone = datasets.data_files.DataFilesDict({split: datasets.data_files.DataFilesList([file], origin_metadata=[])})
        one.config = dataclasses.replace(builder.config, data_files=alone)
        return one.as_streaming_dataset(split=split)

    return opened


def _read(study: Study, name: str, opened: Callable[[], Any]) -> Iterator[Row]:
    with _told(study):
        yield from table_rows(Columns(study), f"{study.corpus.id}, {name}", opened())


@contextmanager
def _told(study: Study) -> Iterator[None]:
    """Turn what the library raises into a sentence with what to do."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    given = _given(study)
    try:
        yield
    except CorpusError:
        raise
    except OfflineModeIsEnabled:
        raise CorpusError(
            f"{given}: the hub cannot be reached, and the cache of this machine does not hold it whole; connect, or give local files"
        ) from None
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        told = " ".join(str(error).split())
        status = hub_status(error)
        is_absent = isinstance(error, RepositoryNotFoundError | RevisionNotFoundError | DatasetNotFoundError | FileNotFoundError)
        is_gated = any(isinstance(one, GatedRepoError) for one in (error, error.__cause__, error.__context__))
        if is_gated or "is a gated dataset" in told or (status in (401, 403) and not is_absent):
            raise CorpusError(f"{given}: {ACCEPT}") from None
        if is_absent:
            raise CorpusError(
                f"{given}: not found on the hub or in the local cache: {told}; correct it, or if it is private, {LOG_IN}"
            ) from None
        if isinstance(error, ValueError):
            raise CorpusError(f"{given}: {told}") from None
        if status == 429:
            raise ConnectionError(f"{given}: {FEWER}") from error
        raise ConnectionError(f"{given}: download failed: {told}") from error
