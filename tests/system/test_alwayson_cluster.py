"""AlwaysOn as its users have it: commands, a cluster, a real HAProxy, our edge as the device.

The software of real devices may not be passed on, so it is not here: `tests/vectors/alwayson.json`
has what it said.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from edge_tunnel.cli.demo.services import SshService
from edge_tunnel.testing.cluster_site import ClusterSite, open_cluster_site
from edge_tunnel.testing.processes import Child, Site, open_site, our_command

pytestmark = pytest.mark.slow

HAPROXY = Path(__file__).parents[2] / "examples" / "haproxy.cfg"
THING = "SteamSensor1"
PASSED_ON = "is passed on to node"


async def echo(sock: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for data in sock:
            await sock.send_all(data)


async def digest(sock: trio.SocketStream) -> None:
    """Speaks when all has come, and then closes: what is cut off never gets an answer."""
    total, left = hashlib.sha256(), 1_000_000
    while left and (data := await sock.receive_some()):
        total.update(data)
        left -= len(data)
    if not left:
        await sock.send_all(total.digest())


@asynccontextmanager
async def served() -> AsyncIterator[dict[str, int]]:
    """The device's services, on real ports below 32,768: C devices get others wrong."""
    async with trio.open_nursery() as nursery:
        ports = {}
        for name, service in (("echo", echo), ("digest", digest)):
            serve = partial(trio.serve_tcp, service, 0, host="127.0.0.1")
            ports[name] = (await nursery.start(serve))[0].socket.getsockname()[1]
        yield ports
        nursery.cancel_scope.cancel()


def options(ports: dict[str, int]) -> list[str]:
    words = ["--alwayson", "--log-level", "INFO"]
    for name, port in ports.items():
        words += ["--alwayson-service", f"{name}=127.0.0.1:{port}"]
    return words


async def device(site: Site, port: int, ports: dict[str, int]) -> Child:
    """Our own edge, as a device of another wire."""
    config = site.write_edge(site.folder / "device.json", THING, [port], ports)
    words = ("--protocol", "alwayson", "--json", "--exit-with-stdin")
    edge = await site.start("edge", "--config", str(config), *words)
    await edge.event("bound")
    return edge


async def said(port: int, text: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as sock:
        await sock.send_all(text)
        heard = b""
        while len(heard) < len(text):
            part = await sock.receive_some()
            assert part, "the stream ended"
            heard += part
        return heard


async def test_a_device_as_its_users_have_it(tmp_path: Path) -> None:
    """proxy --alwayson, a device, connect, things: bytes both ways, and the end of each way."""
    with trio.fail_after(60):
        async with served() as ports, trio.open_nursery() as nursery, open_site(tmp_path) as site:
            words = ("--listen", "127.0.0.1:0", "--json", *options(ports))
            node = await site.start("proxy", *words)
            url = (await node.event("listening"))["url"]
            site.environ["EDGE_TUNNEL_PROXY"] = url
            await device(site, int(url.rpartition(":")[2]), ports)
            rows = await site.start("things", "--json")
            row = await rows.event("thing")
            assert (row["thing"], row["protocol"]) == (THING, "alwayson")
            assert row["services"] == ["digest", "echo"]
            remote = await site.start("connect", THING, "echo", "--json", "--exit-with-stdin")
            local = (await remote.event("listening"))["port"]
            payload = os.urandom(300_000)
            heard: list[bytes] = []

            async def one() -> None:
                heard.append(await said(local, payload))

            async with trio.open_nursery() as several:  # which the original cannot do
                for _ in range(5):
                    several.start_soon(one)
            assert heard == [payload] * 5
            remote = await site.start("connect", THING, "digest", "--json", "--exit-with-stdin")
            local = (await remote.event("listening"))["port"]
            whole = os.urandom(1_000_000)
            async with await trio.open_tcp_stream("127.0.0.1", local) as sock:
                await sock.send_all(whole)
                answer = b""
                while part := await sock.receive_some():  # to its end: a clean one
                    answer += part
            assert answer == hashlib.sha256(whole).digest()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("by_path", [True, False], ids=["by-path", "passed-on"])
async def test_behind_haproxy(by_path: bool, tmp_path: Path) -> None:
    """A tunnel socket may come to any node: the shipped example sends it to the right one by its
    path, and without that line the node that gets it passes it on."""
    example = tmp_path / "example.cfg"
    text = HAPROXY.read_text()
    without = re.sub(r"(?m)^ +use-server .*\n", "", text)
    assert without != text
    example.write_text(text if by_path else without)
    with trio.fail_after(100):
        async with (
            served() as ports,
            open_cluster_site(tmp_path, nodes="", members=1) as site,
        ):
            await start(site, example, ports)
            assert site.haproxy is not None
            await device(site, site.haproxy.port, ports)
            remote = await site.start_remote(THING, "echo")
            local = (await remote.event("listening"))["port"]
            for _ in range(6):
                assert await said(local, b"through HAProxy") == b"through HAProxy"
            words = [word for node in site.nodes.values() for word in node.child.words]  # type: ignore[union-attr]
            assert by_path is not any(PASSED_ON in word for word in words)


async def start(site: ClusterSite, example: Path, ports: dict[str, int]) -> None:
    for name in "abc":
        site.add_node(name).options = options(ports)
    site.add_haproxy(example)
    await site.start_all()


@pytest.mark.skipif(not os.access("/usr/sbin/sshd", os.X_OK), reason="no openssh-server")
async def test_ssh_and_scp(tmp_path: Path) -> None:
    """With the machine's own: exit code, both streams, and 5 MB that are the same afterwards."""
    with trio.fail_after(90):
        async with open_site(tmp_path) as site:
            service = SshService(site)
            port = await service.start()
            words = ("--listen", "127.0.0.1:0", "--json", *options({"ssh": port}))
            node = await site.start("proxy", *words)
            url = (await node.event("listening"))["url"]
            site.environ["EDGE_TUNNEL_PROXY"] = url
            await device(site, int(url.rpartition(":")[2]), {"ssh": port})
            ways = service.options(our_command("connect", "%n", "ssh", "--stdio"))
            ways += ["-o", "HostKeyAlias=device-7"]  # the name in its known_hosts
            target = f"{getpass.getuser()}@{THING}"

            async def run(*command: str, stdin: bytes = b"") -> tuple[int, bytes]:
                ended = await trio.run_process(
                    command, stdin=stdin, capture_stdout=True, check=False, env=site.environ
                )
                return ended.returncode, ended.stdout

            script = "cat; echo problem >&2; exit 7"
            assert await run("ssh", *ways, target, script, stdin=b"hello") == (7, b"hello")
            here, there = site.folder / "here", site.folder / "there"
            here.write_bytes(os.urandom(5_000_000))
            assert await run("scp", *ways, str(here), f"{target}:{there}") == (0, b"")
            assert there.read_bytes() == here.read_bytes()
