"""The front door: each public name is there, from the module that says so, and no other."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edge_tunnel


def test_each_name() -> None:
    assert {*edge_tunnel._PLACES} == {*edge_tunnel.__all__}
    for name in edge_tunnel.__all__:
        assert getattr(edge_tunnel, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Gateway'"):
        edge_tunnel.Gateway  # noqa: B018


def test_the_command_imports_nothing_before_it_takes_ctrl_c() -> None:
    """What comes before `main` is no more than that: no traceback for who changes his mind."""
    script = "import sys, edge_tunnel.__main__; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ours = {name for name in run.stdout.split() if name.startswith("edge_tunnel")}
    assert ours == {"edge_tunnel", "edge_tunnel.__main__"}


def test_a_device_imports_no_proxy() -> None:
    """What it does not need costs a small gateway seconds at its start, and memory."""
    script = (
        "import sys; from edge_tunnel.cli.main import make_parser; make_parser(['edge']);"
        "print(*sorted({'.'.join(name.split('.')[:2]) for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    rooms = {name for name in run.stdout.split() if name.startswith("edge_tunnel.")}
    assert "edge_tunnel.edge" in rooms
    assert not rooms & {"edge_tunnel.proxy", "edge_tunnel.access", "edge_tunnel.testing"}
