"""A study of which only the declared fields can be read: what a stage's computation is given instead of the study itself.

A field that a stage reads and does not declare would change its output without its fingerprint noticing; here it raises.
"""

from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any, cast

from pydantic import BaseModel

from assets.study import Study

# Readable by all and never hashed: they say where an output lies and where its files and devices are, not what it holds. An output
# of another name lies in another folder; the content of what lies at a path is hashed (assets/freshness.py).
UNHASHED = frozenset({"name", "folder", "model.device"})
EVERY_FIELD = "*"  # declares the whole study


class UndeclaredError(RuntimeError):
    """A stage or check reads what it does not declare: a defect of its declaration, which the message says how to mend."""


class _View:
    """One model of a study. Attributes are its fields, as far as they are declared; its properties and methods see the view as well."""

    def __init__(self, model: BaseModel, path: str, declared: frozenset[str], seen: set[str], reader: str) -> None:
        self.__dict__.update(_model=model, _path=path, _declared=declared, _seen=seen, _reader=reader)

    def __getattr__(self, name: str) -> Any:
        if name not in type(self._model).model_fields:
            return self._computed(name)
        path, value = f"{self._path}{name}", getattr(self._model, name)
        if self._is_declared(path):
            self._seen.add(path)
            return value
        if any(field.startswith(f"{path}.") for field in self._declared | UNHASHED) and isinstance(value, BaseModel):
            return _View(value, f"{path}.", self._declared, self._seen, self._reader)
        raise UndeclaredError(f"{self._reader} reads the study's field {path}, which it does not declare; add it to its fields")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name}: a study is not changed")

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Every field: for readers that declare the whole study."""
        if EVERY_FIELD not in self._declared:
            raise UndeclaredError(f"{self._reader} reads the whole study, which it does not declare; let its fields be ({EVERY_FIELD!r},)")
        self._seen.add(EVERY_FIELD)
        return self._model.model_dump(**options)

    def _is_declared(self, path: str) -> bool:
        parts = path.split(".")
        prefixes = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        return bool(prefixes & (self._declared | UNHASHED)) or EVERY_FIELD in self._declared

    def _computed(self, name: str) -> Any:
        found = getattr(type(self._model), name)  # AttributeError for what a study does not have
        if isinstance(found, property):
            return cast(Callable[[Any], Any], found.fget)(self)
        return MethodType(found, self) if callable(found) else found


def view_of(study: Study, fields: Iterable[str], reader: str) -> tuple[Study, set[str]]:
    """The study as `reader` may see it, and the set of the dotted fields that it has read so far, which grows as it reads."""
    seen: set[str] = set()
    return cast(Study, _View(study, "", frozenset(fields), seen, reader)), seen
