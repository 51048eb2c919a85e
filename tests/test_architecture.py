"""The rules of docs/architecture.md that a reader relies on: which way imports go, who may know Dagster, paths that docs name."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import grimp
import pytest

from assets.product import PRODUCT_VERSION
from assets.stages import STAGES

ROOT = Path(__file__).parents[1]
PACKAGES = ("assets", "reports", "orchestration")
KNOW_DAGSTER = {"asset.py", "asset_checks.py", "wiring.py"}  # below assets/ and reports/
SLOW_TO_IMPORT = {"torch", "transformer_lens", "transformers", "great_expectations", "datasets", "numba", "zarr"}


def modules(package: str) -> list[Path]:
    return sorted(file for file in (ROOT / package).rglob("*.py") if "demo" not in file.parts)


def imported(file: Path) -> set[str]:
    """Top packages that a module imports when it is imported itself (not inside functions, not for type checking)."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def imported_anywhere(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", ["assets", "reports"])
def test_only_the_wiring_knows_dagster(package: str) -> None:
    offenders = [
        str(file.relative_to(ROOT)) for file in modules(package) if "dagster" in imported_anywhere(file) and file.name not in KNOW_DAGSTER
    ]
    assert offenders == []


@pytest.mark.parametrize(("package", "forbidden"), [("assets", {"reports", "orchestration"}), ("reports", {"orchestration"})])
def test_imports_go_one_way(package: str, forbidden: set[str]) -> None:
    offenders = [str(file.relative_to(ROOT)) for file in modules(package) if imported_anywhere(file) & forbidden]
    assert offenders == []


def test_no_package_leads_back_to_itself() -> None:
    """Circles between packages are found even where no layer of pyproject.toml speaks of them."""
    graph = grimp.build_graph(*PACKAGES)
    leads_to: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            if package_of(module) != package_of(other):
                leads_to[package_of(module)].add(package_of(other))
    with_an_arrow_back = [package for package in leads_to if package in reached_from(package, leads_to)]
    assert with_an_arrow_back == []


def package_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def reached_from(start: str, leads_to: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(leads_to[start])
    while waiting:
        if (one := waiting.pop()) not in reached:
            reached.add(one)
            waiting += leads_to.get(one, ())
    return reached


def test_the_whole_study_and_whole_records_are_reached_for_only_where_nothing_is_made_of_them() -> None:
    """`whole_study` and `records` go around what a stage declares: for where files and devices are, for plans, for handing on."""
    allowed = {
        "assets/reading.py",
        "assets/model/loading.py",
        "assets/trial/asset.py",
        "assets/histograms/asset.py",
        "assets/quality/asset.py",
    }
    users = {
        str(file.relative_to(ROOT))
        for package in ("assets", "reports")
        for file in modules(package)
        if re.search(r"\bwork\.(whole_study|records)\b|\bself\.(work\.)?whole_study\b", file.read_text())
    }
    assert users == allowed


def test_no_compiled_loop_calls_one_of_another_file() -> None:
    # Numba keeps compiled code until the file of the function changes: it would go on calling what another file no longer says.
    compiled = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in modules("assets") if "@njit" in file.read_text()}
    assert len(compiled) > 3
    offenders = [
        f"{name} from {node.module}"
        for name, file in compiled.items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in compiled
    ]
    assert offenders == []


def test_no_wiring_module_postpones_annotations_that_dagster_reads() -> None:
    offenders = [
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in modules(package)
        if file.name in KNOW_DAGSTER | {"definitions.py", "jobs.py"}
        and "from __future__ import annotations" in file.read_text().split('"""', 2)[-1]
    ]
    assert offenders == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_opens_with_what_it_holds(package: str) -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in modules(package)
        if file.name != "__init__.py" and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []


def test_the_product_names_one_version() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == PRODUCT_VERSION


def test_loading_the_code_location_imports_nothing_slow() -> None:
    script = f"import sys, orchestration.definitions as d; d.defs.load() if hasattr(d.defs, 'load') else d.defs(); print(sorted({SLOW_TO_IMPORT!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


DOCUMENTS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_that_documents_name_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`((?:assets|reports|orchestration|tests|benchmarks|docs|deployment)/[\w./-]*)`", text))
    missing = [path for path in sorted(named) if not (ROOT / path).exists()]
    assert missing == []


def test_the_diagram_names_every_asset_once_and_nothing_else() -> None:
    diagram = (ROOT / "docs" / "architecture.md").read_text().split("```")[1]
    named = re.findall(r"[a-z]+(?:_[a-z]+)+|(?:congruence|contributions|candidates|contrasts|atlas)(?= {2})", diagram)
    assert sorted(named) == sorted(STAGES)


def recipe(target: str) -> str:
    """The commands of a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_what_make_test_leaves_out_is_run_by_make_check_and_so_by_ci() -> None:
    """One word in all places: the mark, the command that leaves it out, and the page that says so."""
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    assert [marker.partition(":")[0] for marker in markers] == ["slow"]
    assert recipe("test").strip() == '@$(TESTS) -m "not slow"'
    assert re.search(r"^\t\$\(TESTS\)", recipe("check"), re.MULTILINE)
    assert "slow" not in recipe("check")
    assert re.search(r"^make check$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    (told,) = re.findall(r"^\| `make check` .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert "tests marked `slow`, which `make test` leaves out" in told


def names_slow(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Attribute) and part.attr == "slow" for part in ast.walk(node))


def is_in_make_test(file: Path) -> bool:
    """Whether the file has a test without the mark."""
    body = ast.parse(file.read_text()).body
    if any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark" and names_slow(node.value) for node in body):
        return False
    tests = [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return any(not any(names_slow(decorator) for decorator in test.decorator_list) for test in tests)


BY_A_JOB = {"reports.across_models": "tests/pipeline/test_across_models.py"}  # what no test imports, and the test whose job makes it


def test_every_package_has_a_test_that_make_test_runs() -> None:
    files = [file.relative_to(ROOT) for package in PACKAGES for file in modules(package) if file.name != "__init__.py"]
    packages = {".".join(file.parts[:-1]) for file in files}
    reached = {package for package, file in BY_A_JOB.items() if is_in_make_test(ROOT / file)}
    for file in (ROOT / "tests").rglob("test_*.py"):
        if is_in_make_test(file):
            froms = [node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom) and node.module]
            reached |= {package for package in packages for module in froms if module == package or module.startswith(f"{package}.")}
    assert packages - reached == set()
