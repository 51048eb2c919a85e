"""How long OpenMP's threads wait awake is settled before PyTorch is loaded, unless the caller has said how they wait."""

import os
import subprocess
import sys

import pytest

PRINTED = "import orchestration, os, sys; print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_importing_the_commands_says_how_long_threads_wait_awake(given: dict[str, str], expected: str) -> None:
    own = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    printed = subprocess.run([sys.executable, "-c", PRINTED], env={**own, **given}, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", expected]
