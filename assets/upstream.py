"""Branches on the hub: which commit one names now, and which one a study was last told of. And why the hub hands something over to no one.

A study may follow a branch. A run records the commit that it found; afterwards the branch is asked for again only when someone
asks (a sensor does). What was found is noted beside the output, so that freshness, which never asks the network, knows of it.
"""

import json
from dataclasses import dataclass
from typing import Literal

from assets.store import Place, Store
from assets.study import COMMIT, Study
from assets.urls import is_url

NOTE = "upstream.json"
DEFAULT_BRANCH = "main"
SECONDS_TO_ANSWER = 10.0
LOG_IN = "call `hf auth login`, or set HF_TOKEN in the environment (never in a study file)"
ACCEPT = f"the hub hands it to no one without an account that may read it: accept its terms on its page, then {LOG_IN}"
FEWER = "the hub asks for fewer requests (429); wait some minutes and call again, or log in by `hf auth login`, which allows more"


@dataclass(frozen=True)
class Branch:
    """A branch of a hub repository that a study's model or corpus follows; `asset` is the output made from it."""

    asset: Literal["model_snapshot", "corpus_documents"]
    kind: Literal["model", "dataset"]
    id: str
    revision: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id} at {self.revision}"


def branches(study: Study) -> list[Branch]:
    """What the study follows: hub repositories that it names without a commit. Local folders and files are none."""
    model, corpus = study.model, study.corpus
    followed: list[Branch] = []
    if not is_url(model.id) and not study.path(model.id).is_dir() and not _is_commit(model.revision):
        followed.append(Branch("model_snapshot", "model", model.id, model.revision or DEFAULT_BRANCH))
    if corpus.id is not None and not _is_commit(corpus.revision):
        followed.append(Branch("corpus_documents", "dataset", corpus.id, corpus.revision or DEFAULT_BRANCH))
    return followed


def _is_commit(revision: str | None) -> bool:
    return revision is not None and COMMIT.fullmatch(revision) is not None


def latest_commit(branch: Branch) -> str:
    """The commit that the branch names now, asked of the hub. Raises ConnectionError if the hub does not answer, OSError if it refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    ask = HfApi().model_info if branch.kind == "model" else HfApi().dataset_info
    try:
        return str(ask(branch.id, revision=branch.revision, timeout=SECONDS_TO_ANSWER).sha)
    except HfHubHTTPError:  # the hub answered: no such repository or revision, or an error of its own
        raise
    except HTTPError as error:  # no answer; the client's own errors are no OSError
        raise ConnectionError(f"the hub cannot be reached for {branch}: {error}") from error


def hub_status(error: BaseException) -> int | None:
    """The status of the hub's answer that an error, or one behind it, was raised for; None if there was no answer."""
    answers = [getattr(one, "response", None) for one in (error, error.__cause__, error.__context__)]
    return next((answer.status_code for answer in answers if answer is not None), None)


def note_commit(store: Store, study: Study, branch: Branch, commit: str) -> None:
    """Note what the branch names now: an output made from another commit is no longer what the study asks for."""
    store.write_note(Place(study.name, branch.asset), NOTE, json.dumps({"branch": str(branch), "commit": commit}).encode())


def noted_commit(store: Store, study: Study, branch: Branch) -> str | None:
    """The commit noted last for this very branch, or None. A note that cannot be read counts as none: it is written again."""
    content = store.note(Place(study.name, branch.asset), NOTE)
    try:
        note = json.loads(content or b"")
        return str(note["commit"]) if note["branch"] == str(branch) else None
    except (ValueError, KeyError, TypeError):
        return None
