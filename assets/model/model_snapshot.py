"""From a hub id or a local folder to files on disk with sizes and hashes; a branch becomes the commit that it names.

Downloads safetensors, configuration and tokenizer files only. Loading is in language_model.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.model.refusals import ModelError
from assets.store import Record, sha256_of
from assets.store.sources import fetch_source
from assets.study import COMMIT, MODEL_SUFFIXES, Study
from assets.upstream import ACCEPT, FEWER, LOG_IN, Branch, hub_status, latest_commit
from assets.urls import is_url

# What a model needs: weights as safetensors, JSON settings, and vocabularies as plain text or SentencePiece.
NEEDED = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*", "vocab*", "merges.txt",
          "special_tokens_map.json", "added_tokens.json")  # fmt: skip
NEVER = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.py", "onnx/*", "*/*")

LOCAL = "local folder"  # stands for the commit of a model that has none


@dataclass(frozen=True)
class ResolvedModel:
    """Where a model's files lie and, for a hub model, at which commit."""

    folder: Path
    commit: str | None


def resolve_model(study: Study) -> ResolvedModel:
    """Find the study's model: a local folder as it is, a folder behind a URL or a hub model by download (or from the local cache).

    Raises RemoteError for a URL that cannot be read,
    ModelError for an unknown model or revision, and where the hub cannot be reached and the cache lacks the model.
    """
    if is_url(study.model.id):
        return ResolvedModel(fetch_source(study.model.id, MODEL_SUFFIXES), None)
    local = study.path(study.model.id)
    if local.is_dir():
        return ResolvedModel(local, None)
    if study.model.id.startswith((".", "/")) or study.model.id.count("/") != 1:
        raise ModelError(f"study {study.name}: model.id {study.model.id!r}: no such folder ({local}), and no hub id of the form owner/name")
    return _download(study)


def _download(study: Study) -> ResolvedModel:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    choice = study.model
    given = f"study {study.name}: model.id {choice.id!r}, revision {choice.revision!r}"
    try:
        commit = choice.revision or "main"
        if not COMMIT.fullmatch(commit):
            commit = latest_commit(Branch("model_snapshot", "model", choice.id, commit))
        folder = snapshot_download(choice.id, revision=commit, allow_patterns=list(NEEDED), ignore_patterns=list(NEVER))
    except HFValidationError as error:
        raise ModelError(f"{given}: no hub id of the form owner/name ({' '.join(str(error).split())})") from None
    except GatedRepoError:
        raise ModelError(f"{given}: {ACCEPT}") from None
    except RepositoryNotFoundError:
        raise ModelError(f"{given}: the hub has no such model; check the id, or if it is private, {LOG_IN}") from None
    except RevisionNotFoundError:
        raise ModelError(f"{given}: the model has no such revision; give one of its commits or branches") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise ModelError(
            f"{given}: the hub cannot be reached and the local cache lacks this revision; connect once, give a commit that is cached, or a local folder"
        ) from None
    except (HfHubHTTPError, HTTPError, OSError) as error:  # HTTPError: a connection that broke off in the middle of a file
        if hub_status(error) == 429:
            raise ConnectionError(f"{given}: {FEWER}") from error
        raise ConnectionError(f"{given}: download failed: {' '.join(str(error).split())}") from error
    return ResolvedModel(Path(folder), commit)


def snapshot_folder(study: Study, snapshot: Record, files: pl.DataFrame) -> Path:
    """The folder of a snapshot's model on this machine; where another machine made the snapshot, the model is resolved again.

    `files` is the table model_snapshot of the record. Raises ModelError if what is found then is not what it lists.
    """
    recorded = Path(snapshot.summary["folder"])
    if recorded.is_dir() and not is_url(study.model.id):  # the copy of a URL may have been freed, or its original changed
        return recorded
    commit = snapshot.facts["commit"]
    choice = study.model.model_copy(update={"revision": commit}) if COMMIT.fullmatch(commit) else study.model
    folder = resolve_model(study.model_copy(update={"model": choice})).folder
    refuse_changed_files(files, folder)
    return folder


def model_files(folder: Path) -> pl.DataFrame:
    """The table `model_snapshot`: every file that is read, with size and hash."""
    files = sorted({file for pattern in NEEDED for file in folder.glob(pattern) if file.is_file()})
    return pl.DataFrame(
        {
            "file": [file.name for file in files],
            "bytes": [file.stat().st_size for file in files],
            "sha256": [sha256_of(file.resolve()) for file in files],
        },
        schema={"file": pl.String, "bytes": pl.Int64, "sha256": pl.String},
    )


def refuse_changed_files(snapshot: pl.DataFrame, folder: Path) -> None:
    """Raise ModelError if a file is no longer what the snapshot recorded: a later stage would measure another model."""
    now = {row["file"]: row["sha256"] for row in model_files(folder).iter_rows(named=True)}
    for row in snapshot.iter_rows(named=True):
        if now.get(row["file"]) != row["sha256"]:
            raise ModelError(
                f"model {folder}: file {row['file']} has changed since model_snapshot recorded it; materialize model_snapshot again"
            )
