"""Which code is behind a stage: what it reaches counts, whatever way it is imported; comments, docstrings and layout do not."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets import sources
from assets.sources import ALWAYS, PACKAGES, PLUMBING, ROOT, SourceError, code_behind, code_of, function_of
from assets.stages import STAGES

MAIN = (("assets.stage", "_made"),)
FILES = {
    "assets/__init__.py": "",
    "assets/stage.py": '''"""A stage."""
from assets.numbers import double, UNUSED
from assets import shapes
from assets.helpers.inner import Base


class Made(Base):
    size = 1


def _made(work: "Work"):
    """What it does."""
    import assets.late as late  # slow to import

    return double(2) + shapes.area(3) + late.value() + Made.size


def beside():
    return 1
''',
    "assets/numbers.py": "FACTOR = 2\nUNUSED = 3\n\n\ndef double(value):\n    return FACTOR * value\n\n\ndef triple(value):\n    return 3 * value\n",
    "assets/shapes.py": "def area(side):\n    return side * side\n\n\ndef volume(side):\n    return side ** 3\n",
    "assets/late.py": "def value():\n    return 1\n",
    "assets/helpers/__init__.py": "from assets.helpers.deep import Base\n",
    "assets/helpers/inner.py": "from assets.helpers import Base\n",
    "assets/helpers/deep.py": "class Base:\n    depth = 1\n",
    "assets/contracts.py": "COLUMNS = 1\n",
    "reports/__init__.py": "",
    "reports/page.py": "def page():\n    return 1\n",
    "reports/templates/page.html": "<p>",
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for function in vars(sources).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def after(tree: Path, name: str, old: str, new: str, start: tuple[tuple[str, str], ...] = MAIN) -> bool:
    """Whether the code behind the stage is another after an edit."""
    before = code_behind(start)
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new))
    forget()
    return code_behind(start) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("assets/stage.py", "double(2)", "double(3)"),
        ("assets/stage.py", "size = 1", "size = 2"),
        ("assets/numbers.py", "FACTOR = 2", "FACTOR = 4"),
        ("assets/shapes.py", "side * side", "side + side"),
        ("assets/late.py", "return 1", "return 2"),
        ("assets/helpers/deep.py", "depth = 1", "depth = 2"),
        ("assets/late.py", "def value", "print('on import')\n\n\ndef value"),
    ],
)
def test_an_edit_of_what_a_stage_reaches_is_other_code(tree: Path, name: str, old: str, new: str) -> None:
    assert after(tree, name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("assets/stage.py", "What it does.", "Said in another way."),
        ("assets/stage.py", "  # slow to import", ""),
        ("assets/stage.py", "double(2) + shapes", "double(2)  +  shapes"),
        ("assets/stage.py", "def beside():\n    return 1", "def beside():\n    return 2"),
        ("assets/numbers.py", "return 3 * value", "return 4 * value"),
        ("assets/numbers.py", "UNUSED = 3", "UNUSED = 3\nMORE = 4"),
        ("assets/shapes.py", "side ** 3", "side ** 4"),
        ("assets/contracts.py", "COLUMNS = 1", "COLUMNS = 2"),
    ],
)
def test_an_edit_of_anything_else_is_not(tree: Path, name: str, old: str, new: str) -> None:
    assert not after(tree, name, old, new)


def test_templates_beside_a_module_are_part_of_it(tree: Path) -> None:
    assert after(tree, "reports/templates/page.html", "<p>", "<b>", (("reports.page", "page"),))
    assert not after(tree, "reports/templates/page.html", "<b>", "<i>")


def test_every_stage_has_one_function_and_code_of_its_own() -> None:
    assert len({code_of(stage) for stage in STAGES}) == len(STAGES)
    with pytest.raises(SourceError, match="stage made_up: a function _made_up must stand in exactly one asset.py; found in none"):
        function_of("made_up")


def test_what_is_left_out_exists_and_no_name_is_looked_up_by_a_text_of_a_module() -> None:
    for module in (*PLUMBING, *(name for name, _ in ALWAYS)):
        path = ROOT / Path(*module.split("."))
        assert path.with_suffix(".py").is_file() or path.is_dir(), module
    found = [
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if re.search(r"import_module|__import__|globals\(\)|(?<![.\w])(exec|eval)\(", file.read_text())
    ]
    assert found == []


def test_the_counters_reach_their_loops_and_kernels() -> None:
    reached = {module for module, _ in sources._reached((function_of("activation_histograms"),))}
    loops = {"batch_loops", "token_sum_loops", "kernels", "batch_counter", "device_counter", "kernel_counter"}
    assert {f"assets.counting.{name}" for name in loops} <= reached
    assert not {module for module in reached if module.startswith(("assets.statistics", "reports"))}
