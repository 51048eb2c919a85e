"""Which code made an output: a hash over every definition of the product that its computation can reach.

Imports are followed inside `assets` and `reports`, name by name: from a stage's function to the functions, classes and constants that
its text names, and on. Comments, docstrings and layout do not count. Beside each reached module, folders of its package that hold no
Python (templates, styles) count whole. Nothing is imported or run.

Left out are the modules of PLUMBING, which carry what is hashed in another way: values of fields, contracts, verified files; or only
tell of the work. A name that is only looked up at run time (getattr with a text, importlib) is not seen; `tests/assets/test_sources.py`
finds none in use.
"""

import ast
import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("assets", "reports")
PLUMBING = (
    "assets.contracts",  # a table's columns and a tensor's dimensions stand in the fingerprint
    "assets.study", "assets.study_view",  # the values of the declared fields do
    "assets.stages", "assets.reads", "assets.reading", "assets.work",  # what is read: the content of each read
    "assets.store", "assets.urls", "assets.errors", "assets.product",  # files are verified by their hashes
    "assets.heavy_imports",
    "assets.progress",  # nothing is made from what is told
)  # fmt: skip
ALWAYS = (("assets.tables", "read_table"), ("assets.tables", "write_table"))  # every stage calls them through the plumbing

Name = tuple[str, str]  # module, definition; "" is the whole module

_ANNOTATION = re.compile(r"[\w.\[\], |]{1,200}")  # a text that may be a quoted annotation
_WORD = re.compile(r"[A-Za-z_]\w*")


class SourceError(RuntimeError):
    """A stage without a function of its name, or with several: a defect of the product."""


@dataclass
class _Module:
    """One file: its definitions by name, what its imports name, and the statements that run whenever it is imported."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Name] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)  # imported names that are modules themselves
    statements: list[ast.stmt] = field(default_factory=list)


def code_of(stage: str) -> str:
    """SHA-256 (hex) of the code behind a stage: what its function `_<stage>` in one of the asset.py modules can reach."""
    return code_behind((function_of(stage), *ALWAYS))


@cache
def code_behind(names: tuple[Name, ...]) -> str:
    """SHA-256 (hex) of every definition that the given ones can reach, themselves included."""
    reached = _reached(names)
    parts = [f"{module} {name}\n{_text(module, name)}" for module, name in sorted(reached)]
    parts += [f"{file.relative_to(ROOT)} {_file_hash(file)}" for file in _files_beside(sorted({module for module, _ in reached}))]
    return hashlib.sha256("\n\n".join(parts).encode()).hexdigest()


@cache
def function_of(stage: str) -> Name:
    """Module and name of the function that makes a stage's output. Raises SourceError."""
    found = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("asset.py"))
        if f"\ndef _{stage}(" in file.read_text()
    ]
    if len(found) != 1:
        raise SourceError(f"stage {stage}: a function _{stage} must stand in exactly one asset.py; found in {', '.join(found) or 'none'}")
    return found[0], f"_{stage}"


@cache
def _reached(names: tuple[Name, ...]) -> frozenset[Name]:
    reached: set[Name] = set()
    waiting = list(names)
    while waiting:
        wanted = _resolved(*waiting.pop())
        if wanted is None or wanted in reached:
            continue
        reached.add(wanted)
        reached.add((wanted[0], "<on import>"))
        waiting += _named_in(*wanted)
    return frozenset(reached)


@cache
def _resolved(module: str, name: str) -> Name | None:
    """Where a name is defined: its own module, or the one that its module has it from. None outside of what is followed."""
    if module.split(".")[0] not in PACKAGES or any(module == cut or module.startswith(f"{cut}.") for cut in PLUMBING):
        return None
    file = _file(module)
    if file is None:
        return None
    held = _module(module)
    if not name or name in held.definitions:
        return module, name
    if name in held.imports:
        return _resolved(*held.imports[name])
    is_module = file.name == "__init__.py" and _file(f"{module}.{name}") is not None
    return _resolved(f"{module}.{name}", "") if is_module else None


@cache
def _named_in(module: str, name: str) -> frozenset[Name]:
    """Everything that a definition names, and what its module does whenever it is imported."""
    held = _module(module)
    named = held.definitions[name] if name else [statement for definition in held.definitions.values() for statement in definition]
    found: set[Name] = set()
    qualifying: set[int] = set()  # names of modules in front of what is taken from them; ast.walk gives parents first
    for node in (node for statement in [*named, *held.statements] for node in ast.walk(statement)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in held.modules:
            found.add((held.modules[node.value.id], node.attr))
            qualifying.add(id(node.value))
        elif isinstance(node, ast.Name) and id(node) not in qualifying:
            found.add((module, node.id))
        elif isinstance(node, ast.ImportFrom):  # inside a function
            found |= {(node.module or "", alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _ANNOTATION.fullmatch(node.value):
            found |= {(module, word) for word in _WORD.findall(node.value)}
    return frozenset(found)


@cache
def _text(module: str, name: str) -> str:
    """The definition as Python writes it, without comments and docstrings."""
    held = _module(module)
    if name == "<on import>":
        statements = held.statements
    else:
        statements = held.definitions[name] if name else [part for parts in held.definitions.values() for part in parts]
    return "\n".join(ast.unparse(statement) for statement in statements)


@cache
def _module(module: str) -> _Module:
    file = _file(module)
    assert file is not None, module
    held = _Module()
    _fill(held, _without_docstrings(ast.parse(file.read_text())))
    dotted = {name: ".".join(filter(None, origin)) for name, origin in held.imports.items()}
    held.modules = {name: path for name, path in dotted.items() if path.split(".")[0] in PACKAGES and _file(path) is not None}
    return held


def _fill(held: _Module, statements: list[ast.stmt]) -> None:
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            held.definitions.setdefault(statement.name, []).append(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for name in {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}:
                held.definitions.setdefault(name, []).append(statement)
        elif isinstance(statement, ast.ImportFrom):
            held.imports |= {alias.asname or alias.name: (statement.module or "", alias.name) for alias in statement.names}
        elif isinstance(statement, ast.Import):
            held.imports |= {alias.asname or alias.name.split(".")[0]: (alias.name, "") for alias in statement.names}
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            _fill(held, statement.body)
        elif not isinstance(statement, ast.Pass):
            held.statements.append(statement)


def _without_docstrings(module: ast.Module) -> list[ast.stmt]:
    """The statements of a file. Texts that stand by themselves, as docstrings do, give way to nothing."""
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
    return module.body


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


@cache
def _file(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _files_beside(modules: list[str]) -> list[Path]:
    """Files of folders without Python beside the given modules: what pages are made of."""
    packages = {file.parent for module in modules if (file := _file(module)) is not None}
    folders = {folder for package in packages for folder in package.iterdir() if folder.is_dir() and folder.name != "__pycache__"}
    plain = [folder for folder in folders if not any(folder.rglob("*.py"))]
    return sorted(file for folder in plain for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


@cache
def _file_hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
