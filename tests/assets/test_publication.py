"""The one way to publish: an output is kept while it is what is asked for and whole, and is never made from what is damaged or moved on."""

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.deployment import Deployment
from assets.errors import NotMeasuredError
from assets.publication import Asked, materialize, publish
from assets.stages import Stage
from assets.store import Draft, Place, Record, Store, StoreError
from assets.study import read_study
from assets.work import Work
from tests.assets.test_study import LEAST, write

PLACE_OF_LENS = {"prompt": "p", "variant": "clean", "scale": "own", "layer": 0, "point": "mlp"} | dict.fromkeys(
    ("answer_logit", "wrong_answer_logit", "difference"), 0.0
)
INPUT, OUTPUT = Place("study", "token_counts"), Place("study", "proportion_curves")


class Bench:
    """A store with one input, and an output that copies it; `fingerprint` is what is asked for."""

    def __init__(self, folder: Path) -> None:
        self.store, self.told = Store(folder), list[str]()
        self.fingerprint, self.made = "a" * 64, 0
        self.meanwhile: Callable[[], object] = lambda: None
        self.give_input("one")

    def give_input(self, text: str) -> None:
        with self.store.one_writer(INPUT), self.store.publish(INPUT, "i" * 64, {}) as draft:
            (draft.folder / "counts.txt").write_text(text)

    def ask(self) -> Asked:
        record = self.record(INPUT)
        return Asked(OUTPUT, self.fingerprint, {"token_counts": record}, {"token_counts": record.content}, {"product": "tried"})

    def make(self, inputs: Mapping[str, Record], draft: Draft) -> None:
        self.made += 1
        (draft.folder / "curves.txt").write_text((inputs["token_counts"].folder / "counts.txt").read_text() * 2)
        self.meanwhile()

    def publish(self) -> Record:
        return publish(self.store, OUTPUT, self.ask, self.make, self.told.append)

    def record(self, place: Place) -> Record:
        record = self.store.find(place)
        assert record is not None
        return record


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def damage(record: Record, name: str) -> None:
    file = record.folder / name
    file.write_text(file.read_text()[::-1] + ".")


def test_what_is_asked_for_and_whole_is_kept_and_said_to_be(bench: Bench) -> None:
    first = bench.publish()
    assert (first.folder / "curves.txt").read_text() == "oneone"
    assert (dict(first.inputs), dict(first.provenance)["product"]) == ({"token_counts": bench.record(INPUT).content}, "tried")
    assert bench.told[0].startswith("study/proportion_curves: published in ")
    assert bench.publish().version == first.version
    assert bench.made == 1
    assert bench.told[1] == f"{OUTPUT}: nothing changed, kept as it is (made {first.created_at}, fingerprint {'a' * 12})"


def test_another_fingerprint_makes_it_again(bench: Bench) -> None:
    first = bench.publish()
    bench.fingerprint = "b" * 64
    again = bench.publish()
    assert (again.fingerprint, bench.made) == ("b" * 64, 2)
    assert again.version != first.version


@pytest.mark.parametrize("name", ["curves.txt", "../record.json"])
def test_a_damaged_output_is_made_again(bench: Bench, name: str) -> None:
    damage(bench.publish(), name)
    again = bench.publish()
    assert bench.made == 2
    bench.store.verify(again)


def test_an_output_is_not_made_from_a_damaged_input(bench: Bench) -> None:
    first = bench.publish()
    bench.fingerprint = "b" * 64
    damage(bench.record(INPUT), "counts.txt")
    with pytest.raises(StoreError, match=r"counts\.txt"):
        bench.publish()
    assert bench.made == 1
    assert bench.record(OUTPUT).version == first.version


def test_an_input_that_is_damaged_while_it_is_read_publishes_nothing(bench: Bench) -> None:
    bench.meanwhile = lambda: damage(bench.record(INPUT), "counts.txt")
    with pytest.raises(StoreError, match=r"counts\.txt"):
        bench.publish()
    assert (bench.made, bench.store.find(OUTPUT)) == (1, None)


def test_what_is_asked_for_may_not_change_while_it_is_made(bench: Bench) -> None:
    first = bench.publish()
    bench.fingerprint = "b" * 64
    bench.meanwhile = lambda: setattr(bench, "fingerprint", "c" * 64)
    with pytest.raises(StoreError, match="what it is made from changed while it was made; the last good version stays"):
        bench.publish()
    assert bench.record(OUTPUT).version == first.version
    bench.meanwhile = lambda: None
    assert bench.publish().fingerprint == "c" * 64


def test_what_a_kill_left_behind_is_cleared_when_an_output_is_kept(bench: Bench) -> None:
    first = bench.publish()
    home = first.folder.parent
    left = home / f"{'f' * 12}-00000000"  # named as a version, and no record names it
    left.mkdir()
    (home / "current").unlink()
    assert bench.publish().version == first.version
    assert (home / "current").resolve() == first.folder.resolve()
    assert not left.exists()


def test_what_is_asked_for_is_known_once_no_other_run_writes_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    locked, ask = bench.store.one_writer, bench.ask

    def one_writer(place: Place) -> object:
        order.append(f"lock {place}")
        return locked(place)

    def asked() -> Asked:
        order.append("ask")
        return ask()

    monkeypatch.setattr(Store, "one_writer", lambda store, place: one_writer(place))
    monkeypatch.setattr(bench, "ask", asked)
    bench.publish()
    assert order == [f"lock {OUTPUT}", "ask", "ask"]


@pytest.mark.parametrize("may_be_refused", [True, False])
def test_what_cannot_be_measured_is_published_empty_with_the_reason_where_a_stage_may_be_refused_and_nowhere_else(
    tmp_path: Path, may_be_refused: bool
) -> None:
    study, told = read_study(write(tmp_path, LEAST)), list[str]()
    stage = Stage("logit_lens", "prompts", "Reads nothing.", tables=("logit_lens",), may_be_refused=may_be_refused)

    def compute(work: Work) -> None:
        work.write("logit_lens", pl.DataFrame([PLACE_OF_LENS], schema=TABLES["logit_lens"].schema))
        raise NotMeasuredError("model X: it cannot be told")

    def made() -> Record:
        return materialize(study, stage, None, Deployment(tmp_path / "data"), compute, told.append)

    if not may_be_refused:
        with pytest.raises(NotMeasuredError, match="it cannot be told"):
            made()
        return
    record = made()
    assert (record.facts, record.summary["logit_lens_rows"]) == ({"refused": "model X: it cannot be told"}, 0)
    assert pl.read_parquet(record.folder / "logit_lens.parquet").is_empty()
    assert "left empty: model X: it cannot be told" in told
