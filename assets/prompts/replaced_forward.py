"""Modules that compute something else for a while. Holds this alone."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced_forward(replacements: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """While open, these modules compute something else; afterwards each is as it was found, whatever happens."""
    found = [(module, module.__dict__.get("forward")) for module in replacements]
    try:
        for module, forward in replacements.items():
            module.__dict__["forward"] = forward  # hides the method of the class
        yield
    finally:
        for module, before in found:
            if before is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = before
