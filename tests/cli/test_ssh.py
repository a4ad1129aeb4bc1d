"""ssh, scp and rsync by ProxyCommand, with the machine's own sshd."""

from __future__ import annotations

import getpass
import hashlib
import os
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest
import trio

from edge_tunnel.cli.demo.services import SshService
from edge_tunnel.testing import open_relay
from edge_tunnel.testing.processes import our_command

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

pytestmark = pytest.mark.skipif(
    not os.access("/usr/sbin/sshd", os.X_OK), reason="openssh-server is not installed"
)

TARGET = f"{getpass.getuser()}@device-7"


async def _start(bench: Bench) -> SshService:
    service = SshService(bench.site)
    await bench.site.start_proxy()
    await bench.site.start_edge({"ssh": await service.start()})
    return service


async def _run(bench: Bench, *command: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    ended = await trio.run_process(
        command,
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=bench.site.environ,
    )
    return ended.returncode, ended.stdout, ended.stderr.decode()


async def test_ssh(bench: Bench) -> None:
    """Its exit code and streams come through, and our end of it is silent."""
    service = await _start(bench)
    script = "cat; echo problem >&2; exit 7"
    options = service.options(our_command("connect", "%h", "ssh", "--stdio"))
    ended = await _run(bench, "ssh", *options, TARGET, script, stdin=b"hello")
    assert ended == (7, b"hello", "problem\n")


@pytest.mark.slow
async def test_scp_both_ways_with_a_cut(bench: Bench) -> None:
    """50 MB up and down; the edge's link is cut on the way; MD5 at both ends."""
    service = SshService(bench.site)
    folder = bench.site.folder
    data = os.urandom(50_000_000)
    (folder / "here").write_bytes(data)
    await bench.site.start_proxy()
    async with open_relay("127.0.0.1", bench.site.port) as relay, trio.open_nursery() as nursery:
        edge = await bench.site.start_edge({"ssh": await service.start()}, relay.port)
        options = service.options(our_command("connect", "%h", "ssh", "--stdio"))

        async def cut_each_stream() -> None:
            for number in (1, 2):
                await edge.event("stream_opened", number)
                await trio.sleep(0.3)  # some way into the transfer; any moment will do
                relay.cut()

        nursery.start_soon(cut_each_stream)
        up = await _run(bench, "scp", "-q", *options, f"{folder}/here", f"{TARGET}:{folder}/there")
        assert up[0] == 0, up
        down = await _run(bench, "scp", *options, f"{TARGET}:{folder}/there", f"{folder}/back")
        assert down[0] == 0, down
    assert relay.cuts == 2
    assert hashlib.md5((folder / "back").read_bytes()).digest() == hashlib.md5(data).digest()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
async def test_rsync(bench: Bench) -> None:
    """It speaks both ways at once."""
    service = await _start(bench)
    folder = bench.site.folder
    (folder / "here").mkdir()
    for number in range(50):
        (folder / "here" / str(number)).write_bytes(os.urandom(20_000))
    shell = shlex.join(["ssh", *service.options(our_command("connect", "%h", "ssh", "--stdio"))])
    ended = await _run(bench, "rsync", "-a", "-e", shell, f"{folder}/here/", f"{TARGET}:{folder}/x")
    assert ended == (0, b"", "")
    assert await _run(bench, "diff", "-r", f"{folder}/here", f"{folder}/x") == (0, b"", "")
