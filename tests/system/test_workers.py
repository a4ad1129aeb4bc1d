"""``proxy --workers 2`` on a real etcd: links meet, and a worker dies under a transfer."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from edge_tunnel.testing.etcd import free_port, open_etcd
from edge_tunnel.testing.processes import Child
from tests.system.processes import KEY, started, write_config
from tests.system.test_processes import hash_of, swap

pytestmark = pytest.mark.slow
SIZE = 24 * 1024 * 1024


@asynccontextmanager
async def workers(engine: str) -> AsyncIterator[tuple[Child, str]]:
    """A parent of two, and the address that both listen on."""
    hops = f"127.0.0.1:{free_port()}"
    member = ("--cluster", engine, "--node-name", "a", "--advertise", hops)
    words = ("proxy", "--workers", "2", "--listen", "127.0.0.1:0", "--dev-key", KEY, *member)
    async with started(*words) as group:
        urls = {str((await group.event("listening", number))["url"]) for number in (1, 2)}
        assert len(urls) == 1
        try:
            yield group, urls.pop()
        finally:
            group.process.terminate()


async def carrier(group: Child, number: int) -> str:
    """The worker that the device hangs on, after it was bound for the `number`-th time."""
    return str((await group.event("bound", number))["worker"])


def pid_of(group: Child, worker: str) -> int:
    runs = [each for each in group.events if each["event"] == "worker_started"]
    return int([each["pid"] for each in runs if each["worker"] == worker][-1])


async def test_a_worker_is_killed_under_a_transfer(tmp_path: Path) -> None:
    """Twice, the one that the device hangs on: every byte arrives, both ways, and it comes back."""
    results: list[tuple[str, str]] = []
    killed = trio.Event()

    async def service(sock: trio.SocketStream) -> None:
        results.append(await swap(sock, SIZE, 7, killed))

    with open_etcd() as etcd, trio.fail_after(110):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, service, 0)
            port = listeners[0].socket.getsockname()[1]
            async with workers(etcd.url) as (group, url):
                config = write_config(tmp_path, url, port)
                async with (
                    started("edge", "--config", str(config)) as edge,
                    started("connect", "device", "service", "--proxy", url, "--key", KEY) as remote,
                ):
                    await edge.event("bound")
                    local = int((await remote.event("listening"))["port"])
                    await transfer_with_deaths(group, edge, local, results, killed)
                group.process.terminate()
                assert await group.process.wait() == 0
            nursery.cancel_scope.cancel()
    assert results[0] == (hash_of(SIZE, 7), results[1][0])
    assert results[1] == (hash_of(SIZE, 8), results[0][0])


async def transfer_with_deaths(
    group: Child, edge: Child, port: int, results: list[tuple[str, str]], killed: trio.Event
) -> None:
    async with trio.open_nursery() as transfers:

        async def user() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", port) as sock:
                mine = await swap(sock, SIZE, 8, killed)
            while not results:  # the service hears the end a moment after the user
                await trio.lowlevel.checkpoint()
            results.append(mine)

        transfers.start_soon(user)
        await edge.event("stream_opened")
        for number in (1, 2):
            assert not results, "the transfer was over too soon"
            worker = await carrier(group, number)
            os.kill(pid_of(group, worker), signal.SIGKILL)
            ended = await group.event("worker_ended", number)
            assert (ended["worker"], ended["how"]) == (worker, "killed by SIGKILL")
            await group.event("listening", 2 + number)
            await edge.event("bound", number + 1)
        killed.set()


async def test_pairs_meet_and_meet_again(tmp_path: Path) -> None:
    """Wherever the kernel put them: at first, when their worker was killed, when another drains."""
    names = [f"device-{number}" for number in range(6)]
    with open_etcd() as etcd, trio.fail_after(110):
        async with workers(etcd.url) as (group, url), AsyncExitStack() as stack:
            pairs = {}
            for name in names:
                folder = tmp_path / name
                folder.mkdir()
                config = write_config(folder, url, 1)
                config.write_text(config.read_text().replace('"device"', f'"{name}"'))
                edge = await stack.enter_async_context(started("edge", "--config", str(config)))
                await edge.event("bound")
                access = ("--proxy", url, "--key", KEY)
                remote = await stack.enter_async_context(
                    started("connect", name, "service", *access)
                )
                await remote.event("attached")
                pairs[name] = (edge, remote)
            before = places(pairs)
            assert set(before.values()) == {"a-1", "a-2"}
            os.kill(pid_of(group, "a-1"), signal.SIGKILL)
            await group.event("listening", 3)
            for name in (each for each in names if before[each] == "a-1"):
                for end in pairs[name]:
                    await end.event("linked", 2)
                await pairs[name][1].event("resumed")
            before = places(pairs)
            links = {end: len(linked(end)) for ends in pairs.values() for end in ends}
            os.kill(pid_of(group, "a-2"), signal.SIGTERM)
            await group.event("draining")
            for name in (each for each in names if before[each] == "a-2"):
                for end in pairs[name]:
                    await end.event("linked", links[end] + 1)
            assert set(places(pairs).values()) == {"a-1"}


def linked(end: Child) -> list[str]:
    """The workers to which it was linked."""
    return [str(each["node"]) for each in end.events if each["event"] == "linked"]


def places(pairs: dict[str, tuple[Child, Child]]) -> dict[str, str]:
    """The worker at which both ends of a pair are."""
    there = {}
    for name, ends in pairs.items():
        edge, remote = (linked(end)[-1] for end in ends)
        assert edge == remote, f"{name} and its remote are apart"
        there[name] = edge
    return there


async def test_health_is_on_the_shared_port() -> None:
    """Whichever of them answers; and the parent ends with code 0 at SIGTERM."""
    with open_etcd() as etcd, trio.fail_after(60):
        async with workers(etcd.url) as (group, url):
            port = int(url.rpartition(":")[2])
            for _ in range(8):
                assert b" 200 " in (await asked(port, "/health")).split(b"\r\n")[0]
            group.process.terminate()
            assert await group.process.wait() == 0
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", port)) != 0


async def asked(port: int, path: str) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as sock:
        await sock.send_all(f"GET {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
        return bytes(await sock.receive_some())
