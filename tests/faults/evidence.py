"""What two data folders of the same study must have in common, whatever happened while they were made; and what is left over.

Everything that was published is compared: each record's fingerprint, inputs, provenance, facts and summary, and the SHA-256 of every
file, which covers integers, tables and tensors byte by byte. Left out, because they may honestly differ: when an output was
made, how long it took (in records, in the report's pages and in its fingerprint, and as positions a second) and how much memory was
free. Holds no test.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from assets.store import CURRENT, RECORD, Place, Store, StoreError

# In a summary: speed, length and memory just then. A kill or damage lets a shard be counted again, in another time.
OF_THE_MACHINE = ("positions_per_second", "allowed_bytes", "measured_peak_bytes")
PAGES_WITH_TIMES = ("index.html", "data.html")  # every other file of a report must be the same bytes
TIMES = (
    re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"),
    re.compile(r"<dd>[^<]*<small>[^<]*positions a second</small>"),
    re.compile(r'<td class="when">[^<]*</td><td class="n">[^<]*</td>'),
)


def evidence(data: Path) -> dict[str, Any]:
    """All that must be equal, by the output's folder below `data`."""
    return {str(file.parent.relative_to(data)): _of_record(file) for file in sorted(data.rglob(RECORD))}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """One line for each value or file that is not the same in both."""
    lines = []
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            lines.append(f"{name}: published in one of the two only")
        elif one[name] != other[name]:
            lines += [f"{name}: {part}: {key}" for part in one[name] for key in _differing(one[name][part], other[name][part])]
    return lines


def leftovers(data: Path) -> list[str]:
    """Everything below a study's outputs that no record names: what a killed run left behind."""
    found = []
    for record in data.rglob(RECORD):
        home, raw = record.parent, json.loads(record.read_text())
        named = {RECORD, CURRENT, ".lock", raw["folder"]}
        found += [entry for entry in home.iterdir() if entry.name not in named]
        version = home / raw["folder"]
        found += [file for file in version.rglob("*") if file.is_file() and str(file.relative_to(version)) not in raw["files"]]
    found += [lock.parent for lock in data.rglob(".lock") if not (lock.parent / RECORD).exists()]
    return [str(path.relative_to(data)) for path in found]


def damage(data: Path) -> list[str]:
    """One line for each published output that a reader would refuse: a kill must leave every record and its files whole."""
    store, faults = Store(data), []
    for file in data.rglob(RECORD):
        study, asset, *shard = file.parent.relative_to(data).parts
        try:
            record = store.find(Place(study, asset, shard[0] if shard else None))
            assert record is not None
            store.verify(record)
        except StoreError as error:
            faults.append(str(error))
    return faults


def _differing(one: Any, other: Any) -> list[str]:
    """The keys whose values differ, with both values."""
    if not isinstance(one, dict):
        return [f"{one} and {other}"] if one != other else []
    return [f"{key}: {one.get(key)} and {other.get(key)}" for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]


def _of_record(file: Path) -> dict[str, Any]:
    raw = json.loads(file.read_text())
    files = {name: entry["sha256"] for name, entry in raw["files"].items()}
    if raw["asset"] == "report_site":
        files |= {page: _without_times(file.parent / raw["folder"] / page) for page in PAGES_WITH_TIMES}
    says_when = raw["asset"] == "report_site"  # it shows when and how fast everything was made, so that is in its fingerprint
    return {
        "fingerprint": "" if says_when else raw["fingerprint"],
        "inputs": sorted(raw["inputs"]) if says_when else raw["inputs"],
        "provenance": raw["provenance"],
        "facts": raw["facts"],
        "summary": {key: value for key, value in raw["summary"].items() if key not in OF_THE_MACHINE},
        "files": files,
    }


def _without_times(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    for pattern in TIMES:
        text = pattern.sub("-", text)
    return hashlib.sha256(text.encode()).hexdigest()
