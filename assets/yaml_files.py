"""YAML files that a person writes, studies and claims: read without objects, each field once, no larger than anybody writes.

Knows nothing of their fields. PyYAML alone would let a few lines of aliases stand for billions of values, take minutes for ten
megabytes, and let the later of two equal fields win without a word.
"""

from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1_000_000  # the longest shipped file has 60,000; PyYAML reads 150,000 a second
MOST_DIGITS = 60
MOST_VALUES = 200_000  # an alias counts as what it stands for, so nothing that is made of the file grows beyond it


class YamlFileError(ValueError):
    """A file that cannot be used; the message says why, without the file's name."""


def read_yaml(file: Path) -> Any:
    """What the file holds. Raises YamlFileError in one sentence, and FileNotFoundError where there is no such file."""
    try:
        loader = _Plain(_text(file))
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise YamlFileError(
                f"holds more than {MOST_VALUES:,} values, aliases counted as what they stand for; write only what is needed"
            )
        return loader.construct_document(node)
    except (yaml.YAMLError, RecursionError) as error:
        raise YamlFileError(f"not readable as YAML: {_told(error)}") from None


def _text(file: Path) -> str:
    try:
        if not file.is_file():  # opening a pipe would wait for ever
            if file.exists():
                raise YamlFileError(f"is {'a folder' if file.is_dir() else 'no plain file'}; give a YAML file")
            raise FileNotFoundError(file)
        if (size := file.stat().st_size) > MOST_BYTES:
            raise YamlFileError(f"has {size:,} bytes, at most {MOST_BYTES:,} are read; texts belong in corpus.files")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise YamlFileError(
            f"not readable as YAML: byte {error.start} is {error.object[error.start]:#04x}, no UTF-8; save it as UTF-8"
        ) from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise YamlFileError(f"not readable as YAML: {error.strerror}") from None


def _values(node: Any, known: dict[int, int | None]) -> int:
    """Values below a node and itself, an alias counted as what it stands for. Raises YamlFileError for what holds itself."""
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise YamlFileError(f"not readable as YAML: an alias stands for what it is part of ({_place(node.start_mark)})")
        return found
    known[id(node)] = None
    below: list[Any] = []
    if isinstance(node, yaml.SequenceNode):
        below = node.value
    elif isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    known[id(node)] = total = 1 + sum(_values(part, known) for part in below)
    return total


class _Plain(yaml.SafeLoader):
    """YAML without objects, which also refuses a field that is given twice and numbers that are not what they look like."""

    yaml_implicit_resolvers = {  # a date, a bare = and the merging << are text like any other
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":value", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if isinstance(name, dict | list | set | bytearray):
                raise yaml.constructor.ConstructorError(None, None, f"a field's name is a {type(name).__name__}, not text", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"field {name!r} is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float") and ":" in str(node.value):  # 12:30 is 750 in YAML 1.1
            raise _refusal(node, "is a number to the base of 60 in YAML; put it in quotes if it is a text")
        if kind in ("int", "float") and len(node.value) > MOST_DIGITS:
            raise _refusal(node, "is a number of too many digits")
        try:
            found = super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OverflowError,
        ):  # a tag that its text does not fit, a number without end
            raise _refusal(node, f"is no {kind} that can be read") from None
        if isinstance(found, str) and any("\ud800" <= letter <= "\udfff" for letter in found):
            raise _refusal(node, "holds half a character (a lone surrogate), which no file and no page can")
        return found


def _refusal(node: Any, what: str) -> Exception:
    text = repr(node.value) if isinstance(node.value, str) else "this"
    return yaml.constructor.ConstructorError(None, None, f"{text if len(text) <= 60 else f'{text[:60]}...'} {what}", node.start_mark)


def _told(error: Exception) -> str:
    """The error in one line, with the place instead of a drawing of it."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    said = " ".join(" ".join(part.split()) for part in (error.context, error.problem) if part)
    return f"{said} ({_place(mark)})" if mark else said


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
