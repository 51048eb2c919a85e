"""A hub that is not there, or that breaks off in the middle of a file: resumed, or told in one sentence; no half file is used."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.half_hub import COMMIT, LARGE, Hub, hash_of, serving

ROOT = Path(__file__).parents[2]
SCRIPT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from assets.model.model_snapshot import model_files, resolve_model
    from assets.study import Study
    fields = {"name": "s", "folder": Path("."), "model": {"id": "owner/name", "revision": sys.argv[1]}, "tokens": (" an",), "corpus": {"files": ("c.txt",)}}
    try:
        resolved = resolve_model(Study.model_validate(fields))
        print("whole", dict(model_files(resolved.folder).select("file", "sha256").rows())["model.safetensors"])
    except Exception as error:
        print(type(error).__name__, error)
""")


@pytest.fixture
def hub(study_files: Path) -> Iterator[Hub]:
    with serving(study_files / "model") as hub:
        hub.files[LARGE] = bytes(range(256)) * 2**16 * 2  # 32 MiB: the hub library keeps what it was sent in pieces of 10
        yield hub


def resolve(cache: Path, address: str) -> str:
    """What resolving owner/name says, in a process of its own: the hub library reads its environment once."""
    environment = {
        **os.environ,
        "HF_HOME": str(cache),
        "HF_ENDPOINT": address,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
    }
    shown = subprocess.run([sys.executable, "-c", SCRIPT, COMMIT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return shown.stdout.strip()


def test_a_download_that_breaks_off_once_is_resumed_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = 1
    assert resolve(tmp_path, hub.address) == f"whole {hash_of(hub.files[LARGE])}"
    assert hub.ranges[0] == ""
    assert hub.ranges[1].startswith("bytes=")
    assert int(hub.ranges[1].removeprefix("bytes=").rstrip("-")) > 0


@pytest.mark.parametrize("short", [False, True], ids=["the connection is cut", "the answer is short"])
def test_a_download_that_always_breaks_off_is_told_and_no_half_file_is_left_in_the_snapshot(hub: Hub, tmp_path: Path, short: bool) -> None:
    hub.cuts, hub.short = 1000, short
    said = resolve(tmp_path, hub.address)
    assert said.startswith(f"ConnectionError study s: model.id 'owner/name', revision '{COMMIT}': download failed")
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.rglob(LARGE)) == []
    hub.cuts = 0
    assert resolve(tmp_path, hub.address) == f"whole {hash_of(hub.files[LARGE])}"
