"""cli/open_files.py, in a process of its own: a limit that was lowered does not come back."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ASK = """
import os, resource, sys
from edge_tunnel.cli.open_files import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 500))
if sys.argv[2] == "nobody" and not os.geteuid():
    os.setresuid(65534, 65534, 65534)
print(allow_open_files(int(sys.argv[1])), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("wanted", "result"), [(50, "50 100"), (400, "400 400"), (900, "500 500")])
def test_the_soft_limit_follows_what_is_wanted(wanted: int, result: str) -> None:
    """Never lower than it was, never above what a user may have."""
    command = [sys.executable, "-c", _ASK, str(wanted), "nobody" if wanted == 900 else "us"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == result
