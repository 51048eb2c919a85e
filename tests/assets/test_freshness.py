"""What makes an output stale, from files alone: sources that change though their names stay."""

from pathlib import Path

import pytest

from assets.errors import InputError
from assets.freshness import Freshness
from assets.store import Store
from assets.study import Study, read_study
from tests.assets.test_study import LEAST, write


def asked(study: Study) -> str:
    return Freshness(study, Store(study.folder / "data")).asked()


def test_each_of_two_corpus_files_of_one_name_is_noticed_when_it_is_edited(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.txt").write_text(folder)
    study = read_study(write(tmp_path, {**LEAST, "corpus": {"files": ["one/part.txt", "other/part.txt"]}}))
    states = [asked(study)]
    for folder in ("one", "other"):
        (tmp_path / folder / "part.txt").write_text(f"{folder}, edited")
        states.append(asked(study))
    assert len(set(states)) == 3


def test_where_the_files_of_a_corpus_lie_makes_no_difference(tmp_path: Path) -> None:
    states = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "text.txt").write_text("the same")
        states.append(asked(read_study(write(tmp_path / folder, LEAST))))
    assert states[0] == states[1]


def test_a_source_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.txt").write_text("a text")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "text.txt"))

    monkeypatch.setattr("hashlib.file_digest", refuse)  # a test that runs as root may read everything
    with pytest.raises(InputError, match=r"text.txt: cannot be read \(Permission denied\); let this user read it, or replace it"):
        asked(read_study(write(tmp_path, LEAST)))
