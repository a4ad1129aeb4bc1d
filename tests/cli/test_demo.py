"""``edge-tunnel demo``: small, because the large one is for people."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from edge_tunnel.cli.demo.telling import Report
from edge_tunnel.cli.exits import Exit
from edge_tunnel.testing.processes import our_command


async def _demo(tmp_path: Path, *words: str) -> trio.Process:
    return await trio.lowlevel.open_process(
        our_command("demo", "--json", *words),
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


async def _events(process: trio.Process, until: str) -> list[dict[str, object]]:
    data = b""
    assert process.stdout is not None
    while f'"event": "{until}"'.encode() not in data:
        part = await process.stdout.receive_some()
        if not part:
            break
        data += part
    return [json.loads(line) for line in data.splitlines()]


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _alive(pid: object) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], pytest.param(["--ssh"], marks=pytest.mark.slow)])
async def test_it_survives_its_faults(tmp_path: Path, words: list[str]) -> None:
    """Both cuts strike, both are survived, the hashes agree, and nothing is left behind."""
    if words and not os.access("/usr/sbin/sshd", os.X_OK):
        pytest.skip("openssh-server is not installed")
    with trio.fail_after(60):
        process = await _demo(tmp_path, "--size", "8", *words)
        events = await _events(process, until="report")
        assert await process.wait() == Exit.DONE
    report = events[-1]
    assert report["equal"] and report["bytes"] == 8 << 20 and report["cuts"] == 2
    resumes = report["resumes"]
    assert isinstance(resumes, list) and len(resumes) >= 2
    pids = [event["pid"] for event in events if event["event"] == "started"]
    assert len(pids) == 4 and not any(_alive(pid) for pid in pids)
    assert _files(tmp_path) == []


@pytest.mark.slow
async def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C in the middle: no success, no child, no file."""
    with trio.fail_after(30):
        process = await _demo(tmp_path, "--size", "64")
        events = await _events(process, until="started")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 128 + signal.SIGINT
    assert not any(_alive(event.get("pid")) for event in events)
    assert _files(tmp_path) == []


def test_what_counts_as_good() -> None:
    """Equal hashes alone are not enough: the faults must have struck and been survived."""

    def good(received: int = 10, seen: str = "a", cuts: int = 2, resumes: int = 2) -> bool:
        return Report(10, received, "a", seen, cuts, (0.1,) * resumes, 1.0).good

    assert good()
    assert not good(received=9) and not good(seen="b")
    assert not good(cuts=1) and not good(resumes=1)
