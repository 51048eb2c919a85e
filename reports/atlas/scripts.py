"""Data as scripts: what a page that is opened from disk can load, since it may not fetch a file.

Holds how a value becomes a script and nothing of what the value is. The script hands the page base64 of gzip; base64 holds no character
that ends a string or a script element, whatever the texts inside are. Equal values give equal bytes.
"""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

FOLDER = "atlas/data"  # inside the site
LEVEL = 5  # of gzip: 46,080 records took 10 s of a processor; level 9 took 135 s and was 4 % smaller


def packed(value: Any) -> bytes:
    """The value as compact JSON. Raises ValueError for a number that JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def write_script(site: Path, name: str, content: bytes) -> str:
    """Write atlas/data/<name>.js, which registers the content under its name; returns the file's path inside the site."""
    text = base64.b64encode(gzip.compress(content, compresslevel=LEVEL, mtime=0)).decode("ascii")
    file = f"{FOLDER}/{name}.js"
    (site / file).write_text(f'atlasData("{name}","{text}");\n', encoding="ascii")
    return file
