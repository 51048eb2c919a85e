"""What the sensor is told where it cannot look: a reason to skip, never a traceback in its tick."""

from pathlib import Path

import pytest

from assets.store import Place, Store
from assets.store.connection import UnreachableError
from assets.study import Study, read_study
from orchestration.changes import NotNow, change
from tests.assets.test_study import LEAST, write


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Study, Store]:
    """A study whose report was published once."""
    (tmp_path / "model").mkdir()  # a local one: nothing is asked of the hub
    (tmp_path / "text.txt").write_text("a text")
    study, store = read_study(write(tmp_path, LEAST)), Store(tmp_path / "data")
    with store.publish(Place(study.name, "report_site"), "f" * 64, {}) as draft:
        (draft.folder / "index.html").write_text("a report")
    return study, store


@pytest.mark.parametrize("fault", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_source_that_cannot_be_read_is_a_reason_to_skip(
    finished: tuple[Study, Store], fault: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("hashlib.file_digest", refuse)
    with pytest.raises(
        NotNow, match=f"Nothing is known of the study's outputs or sources at this moment. .*text.txt: cannot be read .{fault.strerror}"
    ):
        change(*finished)


def test_a_bucket_that_does_not_answer_is_a_reason_to_skip(finished: tuple[Study, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise UnreachableError("s3://b: the server cannot be reached")

    monkeypatch.setattr(Store, "find", away)
    with pytest.raises(
        NotNow, match="Nothing is known of the study's outputs or sources at this moment. s3://b: the server cannot be reached"
    ):
        change(*finished)
