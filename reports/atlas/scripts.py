"""Data as scripts: what a page that is opened from disk can load, since it may not fetch a file.

Holds how a value becomes a script and nothing of what the value is. The script hands the page base64 of gzip; base64 holds no character
that ends a string or a script element, whatever the texts inside are. Equal values give equal bytes.
"""

import base64
import gzip
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

FOLDER = "atlas/data"  # inside the site
LEVEL = 5  # of gzip: 46,080 records took 10 s of a processor; level 9 took 135 s and was 4 % smaller


def packed(value: Any) -> bytes:
    """The value as compact JSON. Raises ValueError for a number that JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def packed_rows(frame: pl.DataFrame) -> Iterator[bytes]:
    """Each row of a frame as a compact JSON object, by polars: no value becomes one of Python on the way. Raises ValueError as packed."""
    not_finite = [column.name for column in frame if not _is_finite(column)]
    if not_finite:
        raise ValueError(f"columns {not_finite}: hold numbers that are not finite, which JSON does not have")
    return (told.encode() for told in frame.select(pl.struct(pl.all()).struct.json_encode()).to_series())


def _is_finite(values: pl.Series) -> bool:
    """Whether every number inside is finite; what is missing is no number."""
    if isinstance(values.dtype, pl.Struct):
        return all(_is_finite(field) for field in values.struct.unnest())
    if isinstance(values.dtype, pl.List):
        return _is_finite(values.explode(empty_as_null=False, keep_nulls=False))
    return not values.dtype.is_float() or bool(values.is_finite().all())


def write_scripts(site: Path, contents: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """Write each content under its name as write_script does, and yield the files in order. Threads compress while the next contents are made."""
    threads = os.cpu_count() or 1
    begun: deque[Future[str]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="scripts") as pool:
        for name, content in contents:
            begun.append(pool.submit(write_script, site, name, content))
            if len(begun) > threads:  # no more than these are held
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def write_script(site: Path, name: str, content: bytes) -> str:
    """Write atlas/data/<name>.js, which registers the content under its name; returns the file's path inside the site."""
    text = base64.b64encode(gzip.compress(content, compresslevel=LEVEL, mtime=0)).decode("ascii")
    file = f"{FOLDER}/{name}.js"
    (site / file).write_text(f'atlasData("{name}","{text}");\n', encoding="ascii")
    return file
