"""tools/attack: a node under attack keeps serving, and the tool can say that it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def attack(*words: str, seconds: str = "2") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / "tools"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "attacks", "--seconds", seconds, *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, timeout=300,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_honest_streams_outlive_every_attack() -> None:
    """Two seconds of each attack: no stream fails, no byte is wrong, the node lives."""
    done = attack()
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.count("connections:")]
    assert len(rows) >= 9, done.stdout  # each has reached the node
    assert "no honest stream failed; the node is alive" in done.stdout


def test_an_unknown_attack_is_a_usage_error() -> None:
    """It says which ones there are."""
    done = attack("nonsense")
    assert done.returncode == 2
    assert "no such attack: nonsense" in done.stderr
