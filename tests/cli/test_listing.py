"""``edge-tunnel things``, ``tunnels`` and ``nodes``, against a node of its own process."""

from __future__ import annotations

import json
import os
import pty
import signal
from typing import Any

import pytest
import trio

from edge_tunnel.cli.exits import Exit
from edge_tunnel.cli.main import main
from edge_tunnel.protocol.identity import is_fingerprint
from edge_tunnel.testing.processes import THING, Child, our_command
from tests.cli.conftest import Bench

LISTS = ("things", "tunnels", "nodes")


@pytest.fixture
def environ(running: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Our own process asks the running site's node."""
    monkeypatch.setenv("EDGE_TUNNEL_PROXY", running.site.url)
    monkeypatch.setenv("EDGE_TUNNEL_KEY", running.site.key)
    return running


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_things(environ: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """A table; the device's services are those that its edge offers."""
    assert main(["things"]) == Exit.DONE
    head, row, *_ = capfd.readouterr().out.splitlines()
    assert head.split()[:4] == ["THING", "NODE", "SINCE", "ADDRESS"]
    assert row.split()[:2] == [THING, "node"] and "closed,echo,reset" in row
    assert main(["things", "--json", "device-*"]) == Exit.DONE
    [thing] = lines_of(capfd.readouterr().out)
    assert (thing["event"], thing["thing"], thing["node"]) == ("thing", THING, "node")
    assert thing["services"] == ["closed", "echo", "reset"]
    assert is_fingerprint(thing["fingerprint"]) and row.endswith(thing["fingerprint"])
    assert thing["epoch"] > 10**12 and thing["address"].startswith("127.0.0.1:")
    assert 0 < thing["time"] - thing["since"] < 1000


def test_nodes(environ: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """The one that is asked counts our own link, too."""
    assert main(["nodes"]) == Exit.DONE
    _head, row = capfd.readouterr().out.splitlines()
    assert row.split()[0] == "node" and row.split()[-1] == "ready"
    assert main(["nodes", "--json"]) == Exit.DONE
    [node] = lines_of(capfd.readouterr().out)
    assert node["answered"] and not node["draining"]
    assert node["links"] >= 2 and node["things"] == 1
    assert node["software"].startswith("edge_tunnel/")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["things", "pump-*"], "no device that you may use is bound as pump-*"),
        (["tunnels", "pump-1"], "no tunnel is open to pump-1"),
        (["nodes", "x"], "there is no node called x"),
    ],
)
def test_nothing(
    environ: Bench, capfd: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    """One line that says so, and success; as JSON, nothing."""
    assert main(words) == Exit.DONE
    assert capfd.readouterr().out == f"{line}\n"
    assert main([*words, "--json"]) == Exit.DONE
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("command", LISTS)
def test_refused(
    environ: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    command: str,
) -> None:
    """A wrong key: one line, its own exit code, and no secret."""
    monkeypatch.setenv("EDGE_TUNNEL_KEY", "planted-secret")
    assert main([command]) == Exit.NOT_AUTHORISED
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "the key is not accepted" in err
    assert "planted-secret" not in err


@pytest.mark.parametrize("watch", [[], ["--watch"]])
def test_nobody_there(environ: Bench, capfd: pytest.CaptureFixture[str], watch: list[str]) -> None:
    """At the first look; only what has worked once is tried again."""
    url = f"ws://127.0.0.1:{environ.services['closed']}"
    assert main(["nodes", "--proxy", url, *watch]) == Exit.COULD_NOT_CONNECT
    err = capfd.readouterr().err
    assert f"edge-tunnel: {url}: " in err and "connection refused" in err


@pytest.mark.parametrize("command", LISTS)
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Examples that can be copied, and what each JSON line has."""
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "examples" in out and "--watch" in out and f"edge-tunnel {command}" in out
    assert max(map(len, out.splitlines())) <= 100


async def open_tunnel(bench: Bench) -> tuple[Child, trio.SocketStream]:
    remote = await bench.site.start("connect", THING, "echo", "--json", "--exit-with-stdin")
    port = int((await remote.event("listening"))["port"])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(bytes(100_000))
    got = 0
    while got < 100_000:
        got += len(await stream.receive_some())
    return remote, stream


@pytest.mark.slow
async def test_a_tunnel_and_its_bytes(bench: Bench) -> None:
    """While it is open it is listed, with its stream; the thing's bytes stay when it is closed."""
    await bench.start()
    remote, stream = await open_tunnel(bench)
    [tunnel] = lines_of((await bench.run("tunnels", THING, "--json")).out.decode())
    assert (tunnel["event"], tunnel["thing"], tunnel["service"]) == ("tunnel", THING, "echo")
    assert tunnel["edge_node"] == tunnel["remote_node"] == "node"
    assert tunnel["edge_address"] != tunnel["remote_address"]
    assert tunnel["streams"] == 1
    assert 100_000 < tunnel["from_edge"] < 110_000
    assert 100_000 < tunnel["from_remote"] < 110_000
    assert tunnel["from_edge_rate"] is not None
    await stream.aclose()
    remote.process.terminate()
    await remote.process.wait()
    assert (await bench.run("tunnels")).out == b"no tunnel is open\n"
    [thing] = lines_of((await bench.run("things", "--json")).out.decode())
    assert thing["from_edge"] > 100_000 and thing["tunnels"] == 0


@pytest.mark.slow
async def test_watching_as_json(bench: Bench) -> None:
    """Sample after sample; a node that dies and comes back is found again; SIGTERM ends it well."""
    await bench.start()
    watch = await bench.site.start("things", "--watch", "--interval", "0.1", "--json")
    assert (await watch.event("sample", 3))["rows"] == 1
    await bench.site.restart_proxy()
    assert (await watch.event("link_lost"))["reason"]
    count = len([each for each in watch.events if each["event"] == "thing"])
    await watch.event("thing", count + 2)
    watch.process.send_signal(signal.SIGTERM)
    assert await watch.process.wait() == Exit.DONE


@pytest.mark.slow
@pytest.mark.parametrize("command", LISTS)
async def test_watching_in_a_terminal(running: Bench, command: str) -> None:
    """Drawn again at the same place; Ctrl-C ends it with code 0."""
    ours, theirs = pty.openpty()
    process = await trio.lowlevel.open_process(
        our_command(command, "--watch", "--interval", "0.1"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=running.site.environ,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        with trio.fail_after(20):
            while shown.count(b"\x1b[H") < 3:
                await trio.lowlevel.wait_readable(ours)
                shown += os.read(ours, 4096)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == Exit.DONE
    finally:
        process.kill()
        os.close(ours)
    assert shown.count(b"\x1b[2J") == 1 and b"Traceback" not in shown
