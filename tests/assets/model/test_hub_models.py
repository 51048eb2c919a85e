"""Hub models without a network: a cached commit is used as it is, anything else is told with what to do."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.planted import planted_model

ROOT = Path(__file__).parents[3]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from assets.model.model_snapshot import resolve_model
    from assets.study import Study
    model = {"id": "owner/name"} | ({"revision": sys.argv[1]} if sys.argv[1] else {})
    fields = {"name": "s", "folder": Path("."), "model": model, "tokens": (" an",), "corpus": {"files": ("c.txt",)}}
    try:
        resolved = resolve_model(Study.model_validate(fields))
        print(resolved.commit, sorted(file.name for file in resolved.folder.iterdir()))
    except Exception as error:
        print(type(error).__name__, error)
""")


def resolve(home: Path, revision: str, **environment: str) -> str:
    """What resolving owner/name says in a process of its own: the hub library reads its environment once."""
    variables = {**os.environ, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
    shown = subprocess.run([sys.executable, "-c", SCRIPT, revision], cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    return shown.stdout.strip()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A hub cache that holds owner/name at one commit."""
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / COMMIT
    shutil.copytree(planted_model(tmp_path / "model"), snapshot)
    return tmp_path


def test_a_cached_commit_needs_no_network(cache: Path) -> None:
    said = resolve(cache, COMMIT, HF_HUB_OFFLINE="1")
    assert said.startswith(COMMIT)
    assert "model.safetensors" in said


@pytest.mark.parametrize("revision", ["f" * 40, "main", ""])
def test_what_the_cache_lacks_is_told_with_what_to_do(cache: Path, revision: str) -> None:
    said = resolve(cache, revision, HF_HUB_OFFLINE="1")
    assert said.startswith("ModelError study s: model.id 'owner/name'")
    assert "the hub cannot be reached and the local cache lacks this revision; connect once" in said


def test_a_hub_that_does_not_answer_is_told_with_what_to_do(tmp_path: Path) -> None:
    said = resolve(tmp_path, "f" * 40, HF_ENDPOINT="http://127.0.0.1:9")
    assert said.startswith(
        "ModelError study s: model.id 'owner/name', revision 'ffffffffffffffffffffffffffffffffffffffff': the hub cannot be reached"
    )
