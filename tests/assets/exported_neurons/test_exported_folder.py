"""The folder of an export: where files lie, that it appears whole or not at all, and what it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assets.exported_neurons.exported_folder import ExportError, write_export
from assets.exported_neurons.exported_neuron import ENDS, exported_neuron
from tests.assets.exported_neurons.neuron_explainer_form import check_neuron_record
from tests.assets.exported_neurons.test_exported_neuron import TEXTS, example, record


def records() -> Iterator[dict[str, Any]]:
    for place in ((0, 0), (0, 12), (11, 3)):
        yield {**record(example("top", 1, [0.5, 3.0, 0.25], 1, 3.0, first=5)), "layer": place[0], "neuron": place[1]}


def test_every_neuron_lies_where_readers_look_for_it(tmp_path: Path) -> None:
    out = tmp_path / "new" / "export"
    amounts = write_export(out, records(), TEXTS, 1, {"study": "orchard"})
    assert amounts == {"neurons": 3, "high_passages": 3, "low_passages": 0}
    assert json.loads((out / "export.json").read_text()) == {"form": "NeuronRecord of neuron-explainer", "study": "orchard", **amounts}
    files = sorted(str(file.relative_to(out)) for file in out.rglob("*.json"))
    places = ("0/0", "0/12", "11/3")
    assert files == sorted(["export.json", *(f"{end}/neurons/{place}.json" for end in ("high", "low") for place in places)])
    for given in records():
        for end in ENDS:
            read = json.loads((out / end.name / "neurons" / str(given["layer"]) / f"{given['neuron']}.json").read_text(encoding="utf-8"))
            check_neuron_record(read)
            assert read == exported_neuron(given, end, TEXTS, 1)
    assert list(out.parent.iterdir()) == [out]


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from records()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_export(tmp_path / "export", broken(), TEXTS, 1, {})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_anything_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(
        ExportError, match="is not empty; an export is written into a new or empty folder, so that nothing old stays in it: name another"
    ):
        write_export(tmp_path, records(), TEXTS, 1, {})
    with pytest.raises(ExportError, match="is a file; an export is a folder: name one that does not exist yet"):
        write_export(tmp_path / "note", records(), TEXTS, 1, {})
    with pytest.raises(ExportError, match="cannot be made"):
        write_export(tmp_path / "note" / "below", records(), TEXTS, 1, {})
    assert [file.name for file in tmp_path.iterdir()] == ["note"]


def test_an_empty_folder_is_taken_and_one_that_fills_meanwhile_is_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert write_export(tmp_path / "empty", records(), TEXTS, 1, {})["neurons"] == 3

    def filling() -> Iterator[dict[str, Any]]:
        yield from records()
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "note").write_text("mine")

    with pytest.raises(ExportError, match="is not empty"):
        write_export(tmp_path / "other", filling(), TEXTS, 1, {})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "other"]
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["note"]
