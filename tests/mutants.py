"""How many small faults of the code the nearest tests notice: python -m tests.mutants [--mutants 60] [--seed 1] [--only assets/statistics]

Each mutant is one changed place of one module, chosen by the seed, in a copy of the tree; the tests that mirror the module are run on
it. Texts are left alone: no test should hang on a message's wording. Holds no test; `make mutants` calls it.
"""

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("assets", "reports", "orchestration", "tests", "pyproject.toml", "workspace.yaml")
SECONDS = 180  # after which a mutant that loops counts as noticed
# Modules over freshness, statistics, quality and publication (globs), and the tests that are nearest to them.
NEAREST = {
    "assets/freshness.py": ("tests/assets/test_freshness.py", "tests/pipeline/test_declared_reads.py"),
    "assets/sources.py": ("tests/assets/test_sources.py",),
    "assets/reads.py": ("tests/assets/test_reads.py", "tests/pipeline/test_declared_reads.py"),
    "assets/reading.py": ("tests/pipeline/test_declared_reads.py",),
    "assets/study_view.py": ("tests/pipeline/test_declared_reads.py",),
    "assets/publication.py": ("tests/assets/test_publication.py",),
    "assets/store/records.py": ("tests/assets/test_store.py",),
    "assets/store/store.py": ("tests/assets/test_store.py",),
    "assets/store/local.py": ("tests/assets/test_store.py",),
    "assets/store/files.py": ("tests/assets/test_store.py",),
    "assets/statistics/levels.py": ("tests/assets/statistics",),
    "assets/statistics/neuron_statistics.py": ("tests/assets/statistics/test_neuron_statistics.py",),
    "assets/statistics/token_neuron_scores.py": ("tests/assets/statistics/test_token_neuron_scores.py",),
    "assets/statistics/token_neuron_screen.py": ("tests/assets/statistics/test_token_neuron_screen.py",),
    "assets/statistics/proposed_pairs.py": ("tests/assets/statistics/test_proposed_pairs.py",),
    "assets/statistics/writing_roles.py": ("tests/assets/across_models/test_across_models.py", "tests/reports/test_roles.py"),
    "assets/statistics/proportion_curves.py": ("tests/assets/statistics/test_proportion_curves.py",),
    "assets/statistics/fold_intervals.py": ("tests/assets/statistics/test_fold_intervals.py",),
    "assets/statistics/fold_scores.py": ("tests/assets/statistics/test_fold_scores.py",),
    "assets/statistics/fold_counts.py": ("tests/assets/statistics/test_fold_scores.py",),
    "assets/statistics/half_scores.py": ("tests/assets/statistics/test_half_scores.py", "tests/assets/statistics/test_fold_scores.py"),
    "assets/statistics/half_agreement.py": ("tests/assets/statistics/test_half_scores.py",),
    "assets/statistics/luck.py": ("tests/assets/statistics/test_luck.py",),
    "assets/statistics/corpus_growth.py": ("tests/assets/statistics/test_corpus_growth.py",),
    "assets/statistics/domain_scores.py": ("tests/assets/statistics/test_domain_scores.py",),
    "assets/ablation/false_discoveries.py": ("tests/assets/ablation/test_false_discoveries.py",),
    "assets/ablation/p_values.py": ("tests/assets/ablation/test_p_values.py",),
    "assets/counting/position_samples.py": ("tests/assets/counting/test_position_samples.py",),
    "assets/quality/check.py": ("tests/assets/quality",),
    "assets/quality/every_check.py": ("tests/assets/quality", "tests/orchestration/test_definitions.py"),
    "assets/quality/expectations.py": ("tests/assets/quality",),
    "assets/quality/table_violations.py": ("tests/assets/quality",),
    "assets/quality/counter_violations.py": ("tests/assets/quality/test_suites.py",),
    "assets/quality/half_violations.py": ("tests/assets/quality/test_half_suites.py",),
    "assets/quality/sample_violations.py": ("tests/assets/quality/test_sample_suites.py",),
    "assets/quality/screen_violations.py": ("tests/assets/quality/test_screen_suites.py",),
    "assets/quality/checks/*.py": ("tests/assets/quality", "tests/pipeline/test_declared_reads.py"),
}
# The same subjects where they lay before: the figure of an earlier commit is taken with --tree.
EARLIER = {
    "assets/wiring.py": ("tests/assets/test_wiring.py", "tests/pipeline/test_upgrades.py"),
    "assets/stages.py": ("tests/assets/test_freshness.py", "tests/pipeline/test_upgrades.py"),
    "assets/quality/published.py": ("tests/assets/quality", "tests/orchestration/test_definitions.py"),
    "assets/quality/suites.py": ("tests/assets/quality",),
}

_FLIPPED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn,
            ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}  # fmt: skip
_SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}


def changes(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every place of a module that can be changed, and how; `apply` makes the change."""
    annotations = {id(inner) for node in ast.walk(tree) for part in _annotations(node) for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) not in annotations and (how := _change(node)):
            yield node, how


def _change(node: ast.AST) -> str:
    """How a place can be changed; "" if it cannot."""
    kinds = (
        ("comparison flipped", isinstance(node, ast.Compare) and type(node.ops[0]) in _FLIPPED),
        ("operator swapped", isinstance(node, ast.BinOp) and type(node.op) in _SWAPPED and not _is_text(node.left)),
        ("and/or swapped", isinstance(node, ast.BoolOp)),
        ("not dropped", isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert)),
        ("constant changed", isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float)),
        ("element taken out", isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1),
        ("entry taken out", isinstance(node, ast.Dict) and len(node.keys) > 1),
        ("statement dropped", isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)),
    )
    return next((how for how, applies in kinds if applies), "")


def _annotations(node: ast.AST) -> list[ast.expr]:
    return [part for part in (getattr(node, "annotation", None), getattr(node, "returns", None)) if part is not None]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def apply(node: ast.AST) -> None:
    """Change a place that `changes` gave."""
    if isinstance(node, ast.Compare):
        node.ops[0] = _FLIPPED[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp):
        node.op = _SWAPPED[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd() if isinstance(node.op, ast.Invert) else ast.Not()
        node.operand = node.operand if isinstance(node.op, ast.UAdd) else ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, ast.Tuple | ast.List):
        node.elts.pop()
    elif isinstance(node, ast.Dict):
        node.keys.pop()
        node.values.pop()
    elif isinstance(node, ast.Expr):
        node.value = ast.Constant(None)


def modules_of(tree: Path) -> dict[Path, tuple[str, ...]]:
    """Each module and its nearest tests. Raises SystemExit for a pattern that matches nothing: a moved module would be forgotten."""
    nearest = (
        NEAREST if (tree / "assets/publication.py").exists() else {**{p: t for p, t in NEAREST.items() if (tree / p).exists()}, **EARLIER}
    )
    found: dict[Path, tuple[str, ...]] = {}
    for pattern, tests in nearest.items():
        files = [file for file in sorted(tree.glob(pattern)) if file.name != "__init__.py"]
        if not files:
            sys.exit(f"{pattern}: no such module; correct NEAREST in tests/mutants.py")
        found |= {file: tuple(test for test in tests if (tree / test).exists()) for file in files}
    return found


def is_noticed(tests: tuple[str, ...], copy: Path) -> bool:
    """Whether the tests fail on the copy, or never end."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        return subprocess.run(command, cwd=copy, capture_output=True, timeout=SECONDS).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def main() -> int:
    """Print a line for each mutant, and the share that was noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="modules whose path begins so")
    parser.add_argument("--tree", type=Path, default=ROOT, help="another checkout, such as one of an earlier commit")
    given = parser.parse_args()
    modules = {file: tests for file, tests in modules_of(given.tree).items() if str(file.relative_to(given.tree)).startswith(given.only)}
    places = [(file, number) for file in modules for number, _ in enumerate(changes(ast.parse(file.read_text())))]
    chosen = random.Random(given.seed).sample(places, min(given.mutants, len(places)))
    noticed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy.mkdir()
        for part in COPIED:
            source = given.tree / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / part)
        for file, number in sorted(chosen):
            tree = ast.parse(file.read_text())
            node, how = list(changes(tree))[number]
            line = getattr(node, "lineno", 0)
            apply(node)
            target = copy / file.relative_to(given.tree)
            target.write_text(ast.unparse(ast.fix_missing_locations(tree)))
            found = is_noticed(modules[file], copy)
            shutil.copy(file, target)
            noticed += found
            print(f"{'noticed' if found else 'NOT    '}  {file.relative_to(given.tree)}:{line}  {how}", flush=True)
    print(f"{noticed} of {len(chosen)} mutants noticed ({noticed / max(len(chosen), 1):.0%}), seed {given.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
