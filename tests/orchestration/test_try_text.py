"""`make text`: the table at a terminal, the sentence for what cannot be tried, and texts that the shell and make leave as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from assets.publication import materialize
from assets.stages import STAGES
from assets.study import Study, read_study
from assets.tried_text.tried_text import Contribution, ReadToken, TriedText
from orchestration.settings import Settings
from orchestration.try_text import main, table_lines
from reports.numbers import GROUP
from tests.pipeline.conftest import planted_fields
from tests.planted import PLANTED_LAYER, PLANTED_NEURON, planted_corpus, planted_model
from tests.stage_runs import compute_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted study, whose model is recorded in `data`."""
    folder = tmp_path_factory.mktemp("text")
    planted_model(folder / "model")
    planted_corpus(folder)
    study, stage = written(folder, "planted"), STAGES["model_snapshot"]
    settings = Settings(data=folder / "data", studies=folder, site_url="")
    materialize(study, stage, None, settings.deployment, compute_of(stage), lambda text: None)
    return folder


def written(folder: Path, name: str) -> Study:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(planted_fields(folder)))
    return read_study(file)


def called(folder: Path, monkeypatch: pytest.MonkeyPatch, *given: str) -> int:
    monkeypatch.setenv("NEURON_ATLAS_DATA", str(folder / "data"))
    monkeypatch.setenv("NEURON_ATLAS_STUDIES", str(folder))
    monkeypatch.setattr(sys, "argv", ["try_text", *given])
    return main()


def test_a_text_is_shown_token_by_token(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert called(folder, monkeypatch, "--neurons=L0 N1, L1 N3", "--", "planted", "I climbed up the apple tree and picked") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["token", "L0", "N1", "L1", "N3", "predicts", "p", "write", "it", "(logits)", "write", "against", "it"]
    assert len(shown) == 1 + 9
    assert [line.split()[:2] for line in shown[1:4]] == [["0", "<|endoftext|>"], ["1", "I"], ["2", "␣climbed"]]
    assert "␣an  " in shown[-1]
    assert f"%  L{PLANTED_LAYER} N{PLANTED_NEURON} +" in shown[-1]


def test_a_study_can_be_named_by_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert called(folder, monkeypatch, str(folder / "planted.yaml"), "I picked") == 0
    assert "␣picked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["nowhere", "I"], "study 'nowhere': no such study in "),
        (["idle", "I"], "idle/model_snapshot: not there yet; materialize it first, or everything with: make study STUDY=idle"),
        (["planted", " "], "text: given none; give a sentence"),
        (
            ["planted", " an" * 64],
            "text: given 65 tokens, the beginning-of-sequence token among them; at most 64 are what this model reads",
        ),
        (["planted", "I", "--neurons=L7 N0"], "neurons: L7 N0 does not exist; the model has layers 0 to 2 with neurons 0 to 15 each"),
        (["planted", "I", "--neurons=first"], "neurons: given 'first'; write a neuron as L1 N3, and a comma between two"),
    ],
)
def test_what_cannot_be_tried_is_told_in_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, given: list[str], told: str
) -> None:
    written(folder, "idle")
    assert called(folder, monkeypatch, *given) == 2
    heard = capsys.readouterr()
    assert heard.err.startswith(told)
    assert len(heard.err.splitlines()) == 1
    assert heard.out == ""


def test_no_token_sends_a_terminal_what_it_would_obey() -> None:
    hostile = ReadToken(0, "\x1b[2J\n", 1, "\u202e\x07" * 20, 0.5, 1.0, (Contribution(1, 2, 3.0, 4.0),), ())
    lines = table_lines(TriedText((hostile, hostile), {(1, 2): (-3.0, 3.0)}, ""))
    assert not [character for line in lines for character in line if not character.isprintable() and character != GROUP]
    assert "␛[2J↵" in lines[1]
    assert lines[1].split()[-4:] == ["L1", "N2", "+4.00", "–"]
    assert len({line.index("50.0") for line in lines[1:]}) == 1


def test_columns_stand_under_each_other_whatever_is_written() -> None:
    wide, narrow = (ReadToken(0, text, 1, "b", 0.5, None, (), ()) for text in ("日本語", "e\u0301a"))
    assert table_lines(TriedText((wide, narrow), {}, "none"))[1:] == [
        "0  日本語  b         50.0\u202f%",
        "1  e\u0301a      b         50.0\u202f%",
    ]


def test_what_is_not_told_of_a_model_has_no_column() -> None:
    bare = ReadToken(0, "a", 1, "b", 0.5, None, (), ())
    assert table_lines(TriedText((bare, bare), {}, "it has no norm")) == [
        "   token  predicts       p",
        "0  a      b         50.0\u202f%",
        "1  a      b         50.0\u202f%",
    ]


def test_make_hands_a_text_on_as_it_was_given(tmp_path: Path) -> None:
    """Without a shell or make reading it: the command is replaced by one that prints what it is given."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "installed").touch()
    text = """it's "$HOME" costs $5 `x` $(x) \\ #no -- * ' end"""
    command = [
        "make",
        "--no-print-directory",
        f"VENV={tmp_path}",
        "-o",
        f"{tmp_path}/installed",
        "text",
        "STUDY=demo",
        "NEURONS=L1 N3, L2 N7",
        f"TEXT={text}",
    ]
    printed = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["-m", "orchestration.try_text", "--neurons=L1 N3, L2 N7", "--", "demo", text]


def test_make_says_what_is_missing(tmp_path: Path) -> None:
    command = ["make", "--no-print-directory", f"VENV={tmp_path}", "-o", f"{tmp_path}/installed", "text", "STUDY=demo"]
    (tmp_path / "installed").touch()
    environment = {name: value for name, value in os.environ.items() if name not in ("TEXT", "STUDY")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout.strip() == 'Say which study and what text: make text STUDY=<name or path.yaml> TEXT="..."'
