"""The folder of an export: a file a neuron and end, and a file that says what they are of. It appears whole or not at all.

    high/neurons/<layer>/<neuron>.json   the high end of each neuron's activations
    low/neurons/<layer>/<neuron>.json    the low end, with every activation negated
    export.json                          study, model, corpus, and how the folder is read

Holds where files lie; what stands in those of neurons is in exported_neuron.py.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assets.errors import InputError
from assets.exported_neurons.exported_neuron import ENDS, exported_neuron

FORM = "NeuronRecord of neuron-explainer"
ABOUT = "export.json"


class ExportError(InputError):
    """A folder that no export can be written to."""


def write_export(
    out: Path, records: Iterable[Mapping[str, Any]], texts: Mapping[int, str], first_counted: int, about: Mapping[str, Any]
) -> dict[str, int]:
    """Write the records of neurons into `out`; returns how many neurons, and how many passages of each end. `about` goes into export.json as it is.

    `texts`: of every token by id. `first_counted`: the first position of a window that is counted. Raises ExportError for an `out` that holds
    anything, or is no folder.
    """
    amounts = {"neurons": 0, **{f"{end.name}_passages": 0 for end in ENDS}}
    with _new_folder(out) as folder:
        for record in records:
            amounts["neurons"] += 1
            for end in ENDS:
                exported = exported_neuron(record, end, texts, first_counted)
                amounts[f"{end.name}_passages"] += len(exported["most_positive_activation_records"])
                file = folder / end.name / "neurons" / str(record["layer"]) / f"{record['neuron']}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                _write(file, exported)
        _write(folder / ABOUT, {"form": FORM, **about, **amounts})
    return amounts


def refuse_folder(out: Path) -> None:
    """Raise ExportError for an `out` that holds anything, or is no folder."""
    if out.exists() and not out.is_dir():
        raise ExportError(f"OUT: {out} is a file; an export is a folder: name one that does not exist yet")
    if out.is_dir() and any(out.iterdir()):
        raise ExportError(
            f"OUT: {out} is not empty; an export is written into a new or empty folder, so that nothing old stays in it: name another"
        )


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which gets the name `out` when all is written, and is removed where that fails."""
    refuse_folder(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ExportError(f"OUT: {out} cannot be made ({error.strerror}); name a folder that can be written") from error
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp's is the maker's alone
        refuse_folder(out)
        os.rename(draft, out)  # replaces an empty folder, and no other
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")), encoding="utf-8")
