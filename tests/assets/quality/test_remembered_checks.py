"""A check that was made of the same content is not made again, and of any other content it is."""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl
import pytest

from assets.quality import check as checks
from assets.quality.check import Check
from assets.quality.expectations import none_of
from assets.reading import Reading
from assets.store import FileEntry, Place, Record
from assets.study import Study
from tests.assets.test_time_spent import record as made
from tests.reports.sample_data import study


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The shard at each time that the check's violations were counted."""
    monkeypatch.setattr(checks, "_known", {})
    return []


def check(counted: list[str | None]) -> Check:
    def count(reading: Reading, shard: str | None) -> Mapping[str, pl.DataFrame]:
        counted.append(shard)
        return {"frame": pl.DataFrame({"wrong": [reading.fact("token_counts", "wrong", shard)]})}

    sentences = {"frame": [none_of("nothing is wrong", "wrong", "faults")]}
    return Check("planted", "token_counts", "Nothing is wrong.", sentences, ("token_counts.wrong:all",), ("count_bos",), count)


def record(wrong: int, shard: str | None = None, sha256: str = "a") -> Record:
    entry = FileEntry(1, sha256)
    return replace(
        made("token_counts", 1.0, "01:00:00"), place=Place("s", "token_counts", shard), facts={"wrong": wrong}, files={"f": entry}
    )


def test_the_same_content_is_counted_once(counted: list[str | None]) -> None:
    planted, seen = check(counted), {"token_counts": record(2)}
    first = planted.outcomes(study(), seen)
    again = planted.outcomes(study(), {"token_counts": replace(record(2, sha256="b"), created_at="later", version="another")})
    assert counted == [None]
    assert [outcome.observed for outcome in first] == ["2 faults"]
    assert again == first


def test_an_outcome_that_is_handed_out_is_not_the_one_that_is_kept(counted: list[str | None]) -> None:
    planted, seen = check(counted), {"token_counts": record(2)}
    planted.outcomes(study(), seen).clear()
    assert len(planted.outcomes(study(), seen)) == 1


def test_other_content_another_shard_or_another_field_is_counted_again(counted: list[str | None]) -> None:
    planted, one = check(counted), {"token_counts": record(2)}
    planted.outcomes(study(), one)
    assert planted.outcomes(study(), {"token_counts": record(0)})[0].passed
    other = study().model_copy(update={"count_bos": not study().count_bos})
    planted.outcomes(other, one)
    sharded = {f"token_counts/{shard}": record(2, shard) for shard in ("0000", "0001")}
    planted.outcomes(study(), sharded, "0000")
    planted.outcomes(study(), sharded, "0001")
    assert counted == [None, None, None, "0000", "0001"]


def test_a_study_s_other_fields_do_not_matter(counted: list[str | None]) -> None:
    planted, one = check(counted), {"token_counts": record(2)}
    planted.outcomes(study(), one)
    other: Study = study().model_copy(update={"examples": study().examples + 1})
    planted.outcomes(other, one)
    assert counted == [None]


def test_what_is_remembered_does_not_grow_without_end(counted: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "REMEMBERED", 2)
    planted = check(counted)
    for wrong in (0, 1, 2, 0, 2):
        planted.outcomes(study(), {"token_counts": record(wrong)})
    assert len(counted) == 4
    assert len(checks._known) == 2
