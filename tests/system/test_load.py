"""tools/load: the devices of a killed node are bound again elsewhere, and all is counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_small_stampede() -> None:
    """300 edges on three nodes of real processes."""
    done = subprocess.run(
        [sys.executable, "-m", "stampede", "--edges", "300", "--seed", "7"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin:/usr/sbin", "PYTHONPATH": f"{ROOT}/tools:{ROOT}"},
        timeout=240, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 %" in done.stdout
