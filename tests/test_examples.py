"""Each example runs as its header says."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

import edge_tunnel
from edge_tunnel.access.policy_reader import read_policy
from edge_tunnel.cli.demo.services import SshService
from edge_tunnel.config import load_proxy_config
from edge_tunnel.testing import Child, Site, open_site
from edge_tunnel.testing.processes import our_command

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """With a running node, and an edge's config.json."""
    with trio.fail_after(30):
        async with open_site(tmp_path) as site:
            site.environ["PYTHONPATH"] = str(EXAMPLES.parent)
            await site.start_proxy()
            site.write_config({"web": 9})
            yield site


async def _start(site: Site, example: str, *words: str) -> Child:
    command = [sys.executable, str(EXAMPLES / example), *words]
    return await site.start_program(example, command)


async def test_edge_in_application_and_remote_stream(site: Site) -> None:
    """Two lines asked, two temperatures answered; a name that is not there is one line."""
    edge = await _start(site, "edge_in_application.py", str(site.folder / "config.json"))
    await edge.line("bound")
    assert (site.folder / "config.identity.pem").is_file(), "another device at each start"
    code, out, err = await _remote(site, "thermometer", b"\n\n")
    assert (code, err) == (0, b"")
    assert [line.split()[1] for line in out.splitlines()] == [b"C", b"C"]
    code, out, err = await _remote(site, "vnc", b"\n")
    assert (code, out) == (1, b"") and b"thermometer, web" in err


async def _remote(site: Site, service: str, stdin: bytes) -> tuple[int, bytes, bytes]:
    ended = await trio.run_process(
        [sys.executable, EXAMPLES / "remote_stream.py", site.url, "device-7", service],
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=site.environ,
    )
    return ended.returncode, ended.stdout, ended.stderr


async def test_edge_as_subprocess(site: Site) -> None:
    """The program hears what happens; when it is killed, its edge ends too."""
    parent = await _start(site, "edge_as_subprocess.py", str(site.folder / "config.json"))
    await parent.line("device-7 can be reached through ws://127.0.0.1")
    children = Path(f"/proc/{parent.process.pid}/task/{parent.process.pid}/children")
    (edge,) = children.read_text().split()  # noqa: ASYNC240 - /proc never waits
    end = os.pidfd_open(int(edge))  # it is not our child
    try:
        await parent.kill()
        await trio.lowlevel.wait_readable(end)
    finally:
        os.close(end)


@pytest.mark.skipif(
    not os.access("/usr/sbin/sshd", os.X_OK), reason="openssh-server is not installed"
)
async def test_ssh_proxycommand(site: Site) -> None:
    """The script, with the machine's sshd behind the edge."""
    service = SshService(site)
    await site.start_edge({"ssh": await service.start()})
    options = service.options(["overridden"])[2:]  # the ProxyCommand is the script's own
    command = [str(EXAMPLES / "ssh_proxycommand.sh"), *options]
    ended = await trio.run_process(
        [*command, f"{getpass.getuser()}@device-7", "echo", "hello"],
        capture_stdout=True,
        check=False,
        env={**site.environ, "EDGE_TUNNEL": shlex.join(our_command())},
    )
    assert (ended.returncode, ended.stdout) == (0, b"hello\n")


def test_sample_files() -> None:
    """All can be used as they are."""
    config = edge_tunnel.load_config(EXAMPLES / "config.json").config
    assert [service.name for service in config.services] == ["ssh", "web"]
    proxy = load_proxy_config(EXAMPLES / "proxy.toml", environ={"EDGE_TUNNEL_DEV_KEY": "x"})
    assert proxy.listen[0].port == 9100
    policy = read_policy((EXAMPLES / "policy.toml").read_text())
    assert policy.policy is not None and policy.findings == ()


def test_no_example_is_forgotten() -> None:
    """Whoever adds one adds its test: its name stands here, or among the tests of balancers."""
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    here = Path(__file__)
    text = here.read_text() + (here.parent / "system" / "test_balancers.py").read_text()
    assert names and all(name in text for name in names)
