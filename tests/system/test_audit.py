"""The audit log of a real node: opened, denied, killed, changed."""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from edge_tunnel.cli.main import main
from edge_tunnel.testing.processes import THING, Child, Site, open_site, our_command

TABLE = """
listen = "127.0.0.1:{port}"
[audit]
file = "{file}"
key_file = "{key}"
on_failure = "refuse"
rotate_size = 4096
"""


async def start_node(site: Site, file: Path) -> Child:
    """A node with an audit log; on the port that it had before."""
    key, config = file.with_name("key"), file.with_name("proxy.toml")
    if not key.exists():
        key.touch(mode=0o600)
        key.write_text("0123456789abcdef0123456789abcdef")
    config.write_text(TABLE.format(port=site.port, file=file, key=key))
    node = await site.start("proxy", "--config", str(config), "--json")
    url: str = (await node.event("listening"))["url"]
    site.port = int(url.rpartition(":")[2])
    site.environ["EDGE_TUNNEL_PROXY"] = site.url
    return node


def log_files(file: Path) -> list[str]:
    return [str(each) for each in file.parent.glob("audit.log*")]


def records(file: Path) -> list[dict[str, Any]]:
    lines = [line for name in log_files(file) for line in Path(name).read_bytes().splitlines()]
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return sorted(found, key=lambda each: int(each["seq"]))


async def echo(sock: trio.SocketStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):  # its user is gone
        async for data in sock:
            await sock.send_all(data)


async def use(site: Site) -> None:
    """Open a tunnel, send through it, leave; and ask for things that are not there."""
    remote = await site.start("connect", THING, "echo", "--json")
    port = (await remote.event("listening"))["port"]
    async with await trio.open_tcp_stream("127.0.0.1", port) as sock:
        await sock.send_all(b"hello" * 1000)
        received = 0
        while received < 5000:
            received += len(await sock.receive_some())
    remote.process.send_signal(signal.SIGTERM)
    await remote.process.wait()
    for words, key in ((("nowhere", "echo"), site.key), ((THING, "echo"), "a-wrong-key")):
        environ = {**site.environ, "EDGE_TUNNEL_KEY": key}
        await trio.run_process(
            our_command("connect", *words), env=environ, check=False, capture_stderr=True
        )


def check_records(file: Path, site: Site) -> None:
    found = records(file)
    kinds = [each["kind"] for each in found]
    assert kinds.count("started") == 2 and kinds[-1] == "stopped"
    assert kinds.count("tunnel_opened") == kinds.count("tunnel_closed") == 3
    closed = [each for each in found if each["kind"] == "tunnel_closed"]
    assert all(each["from_edge"] > 5000 < each["from_remote"] for each in closed)
    assert all(each["reason"] == "the user left" for each in closed)
    assert [each["thing"] for each in found if each["kind"] == "tunnel_denied"] == ["nowhere"] * 3
    assert kinds.count("link_refused") == 3
    text = "".join(Path(name).read_text() for name in log_files(file))
    assert "a-wrong-key" not in text and site.key not in text


def check_verify(file: Path, head: str, capsys: pytest.CaptureFixture[str]) -> None:
    verify = ["audit", "verify", "--key-file", str(file.with_name("key"))]
    assert main([*verify, *log_files(file), "--expect-head", head]) == 0
    out = capsys.readouterr().out
    assert "the node started anew and had not stopped" in out
    assert len(log_files(file)) > 2  # rotated by size, as well
    for name in log_files(file):
        good = Path(name).read_bytes()
        Path(name).write_bytes(good.replace(b"127.0.0.1", b"127.0.0.9", 1))
        assert main([*verify, *log_files(file)]) == 65
        Path(name).write_bytes(good)


@pytest.mark.slow
async def test_audit_of_a_real_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Opened, denied, killed, moved away, stopped: verify is content; after a change it is not."""
    file = tmp_path / "audit.log"
    with trio.fail_after(200):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, echo, 0)
            async with open_site(tmp_path) as site:
                node = await start_node(site, file)
                edge = await site.start_edge({"echo": listeners[0].socket.getsockname()[1]})
                await use(site)
                await node.kill()
                node = await start_node(site, file)
                await edge.event("bound", 2)
                await use(site)
                file.rename(tmp_path / "audit.log.1")
                node.process.send_signal(signal.SIGHUP)
                while not file.exists():  # noqa: ASYNC110 - another process makes it
                    await trio.sleep(0.01)
                await use(site)
                node.process.send_signal(signal.SIGTERM)
                await node.process.wait()
                head = (await node.event("audit_head"))["head"]
                assert node.process.returncode == 0
            nursery.cancel_scope.cancel()
    check_records(file, site)
    check_verify(file, head, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["continue", "refuse"])
async def test_disk_is_full(tmp_path: Path, policy: str) -> None:
    """A real limit on the file's size: said once, then as the policy wants it, then recovered."""
    file = tmp_path / "audit.log"
    with trio.fail_after(60):
        async with open_site(tmp_path) as site:
            config = tmp_path / "proxy.toml"
            config.write_text(
                f'listen = "127.0.0.1:0"\n[audit]\nfile = "{file}"\non_failure = "{policy}"\n'
            )
            words = our_command("proxy", "--config", str(config), "--json")
            limit = ["prlimit", "--fsize=1500:unlimited", *words]
            node = await site.start_program("proxy", limit)
            site.port = int((await node.event("listening"))["url"].rpartition(":")[2])
            site.environ["EDGE_TUNNEL_PROXY"] = site.url
            while not any(each["event"] == "audit_failed" for each in node.events):
                await trio.run_process(
                    our_command("connect", "x", "y"),
                    env=site.environ, check=False, capture_stderr=True,
                )  # fmt: skip
            failed = await node.event("audit_failed")
            assert "too large" in failed["reason"] and str(file) in failed["reason"]
            ended = await trio.run_process(
                our_command("connect", "x", "y"),
                env=site.environ, check=False, capture_stderr=True,
            )  # fmt: skip
            refused = b"cannot write its audit log" in ended.stderr
            assert refused is (policy == "refuse")
            pid = str(node.process.pid)
            await trio.run_process(["prlimit", "--pid", pid, "--fsize=unlimited:unlimited"])
            assert (await node.event("audit_recovered"))["lost"] == 0
            node.process.send_signal(signal.SIGTERM)
            await node.process.wait()
    assert main(["audit", "verify", str(file)]) == 0
    kinds = [each["kind"] for each in records(file)]
    assert "recovered" in kinds and kinds[-1] == "stopped"
    assert kinds.count("link_opened") == kinds.count("tunnel_denied")
