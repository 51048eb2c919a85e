"""Hub models without a network: a cached commit is used as it is, anything else is told with what to do."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import COMMIT as SERVED
from tests.hub_server import LARGE, TOKEN, HubServer, hub_server
from tests.planted import planted_model

ROOT = Path(__file__).parents[3]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from assets.model.model_snapshot import resolve_model
    from assets.study import Study
    model = {"id": sys.argv[2]} | ({"revision": sys.argv[1]} if sys.argv[1] else {})
    fields = {"name": "s", "folder": Path("."), "model": model, "tokens": (" an",), "corpus": {"files": ("c.txt",)}}
    try:
        resolved = resolve_model(Study.model_validate(fields))
        print(resolved.commit, sorted(file.name for file in resolved.folder.iterdir()))
    except Exception as error:
        print(type(error).__name__, error)
""")


def resolve(home: Path, revision: str, name: str = "owner/name", **environment: str) -> str:
    """What resolving a model says in a process of its own: the hub library reads its environment once."""
    variables = {**os.environ, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
    shown = subprocess.run(
        [sys.executable, "-c", SCRIPT, revision, name], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
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


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_told_with_what_to_do(tmp_path: Path) -> None:
    said = resolve(tmp_path, "f" * 40, HF_ENDPOINT="http://127.0.0.1:9")
    assert said.startswith(
        "ModelError study s: model.id 'owner/name', revision 'ffffffffffffffffffffffffffffffffffffffff': the hub cannot be reached"
    )


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A hub with one model under several names."""
    folder = planted_model(tmp_path_factory.mktemp("served"))
    files = {file.name: file.read_bytes() for file in folder.iterdir()} | {
        "vocab.txt": b"x" * 2 * LARGE,
        "code.py": b"",
        "model.bin": b"pickle",
    }
    with hub_server({f"models/owner/{name}": files for name in ("name", "cut", "gated", "busy")}) as running:
        yield running


def test_a_branch_is_resolved_and_what_is_not_read_is_not_fetched(hub: HubServer, tmp_path: Path) -> None:
    said = resolve(tmp_path, "", **hub.environment(str(tmp_path)))
    assert said.startswith(f"{SERVED} [")
    assert "model.safetensors" in said
    assert not hub.fetched("code.py") + hub.fetched("model.bin")


def test_a_download_that_broke_off_goes_on_where_it_was(hub: HubServer, tmp_path: Path) -> None:
    said = resolve(tmp_path, "", "owner/cut", **hub.environment(str(tmp_path)))
    assert said.startswith(SERVED)
    assert "vocab.txt" in hub.was_cut
    asked = [ranged for method, path, ranged in hub.requests if method == "GET" and path.endswith("/vocab.txt") and "/owner/cut/" in path]
    assert len(asked) > 1
    assert asked[-1].startswith("bytes=")
    (got,) = (tmp_path / "hub").glob("models--owner--cut/snapshots/*/vocab.txt")
    assert got.read_bytes() == hub.repositories["models/owner/cut"]["vocab.txt"]


def test_a_gated_model_says_what_to_do_and_a_token_of_the_environment_opens_it(hub: HubServer, tmp_path: Path) -> None:
    said = resolve(tmp_path, "", "owner/gated", **hub.environment(str(tmp_path)))
    assert said.startswith("ModelError study s: model.id 'owner/gated', revision None: the hub hands it to no one without an account")
    assert "`hf auth login`, or set HF_TOKEN in the environment" in said
    assert resolve(tmp_path, "", "owner/gated", HF_TOKEN=TOKEN, **hub.environment(str(tmp_path))).startswith(SERVED)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]


def test_a_hub_that_asks_for_fewer_requests_is_told_as_such(hub: HubServer, tmp_path: Path) -> None:
    said = resolve(tmp_path, "", "owner/busy", **hub.environment(str(tmp_path)))
    assert said.startswith("ConnectionError study s: model.id 'owner/busy', revision None: the hub asks for fewer requests (429)")
