"""Imports of libraries that take seconds, without the garbage collector.

It looks for cycles again and again while an import makes a million objects that all stay: a quarter of the time that PyTorch,
TransformerLens and Great Expectations take to import, and as much again in every later step of a run (docs/performance.md).
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heavy_imports(*modules: str) -> Iterator[None]:
    """While open, nothing is collected if one of the modules is not imported yet; what exists at the end is never looked at again.

    Imports only: whatever else is made inside would not be collected either.
    """
    is_first = any(module not in sys.modules for module in modules)
    was_collecting = gc.isenabled()
    if is_first:
        gc.disable()
    try:
        yield
    finally:
        if is_first:
            gc.freeze()
            if was_collecting:
                gc.enable()
