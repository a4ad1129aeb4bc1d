"""The main job with real processes: the node is killed, ends are killed, memory stays flat."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
from pathlib import Path

import pytest
import trio

from edge_tunnel.testing.processes import THING
from tests.system.processes import Trio, resident, three_processes

MIB = 1024 * 1024


async def swap(
    sock: trio.SocketStream, size: int, seed: int, hold: trio.Event | None = None
) -> tuple[str, str]:
    """Send `size` bytes of a seed and receive as many; the hashes of both ways.

    `hold`: the last part is not sent before it.
    """
    sent, received = hashlib.sha256(), hashlib.sha256()

    async def send() -> None:
        rng, left = random.Random(seed), size
        while left:
            part = rng.randbytes(min(left, 60_000))
            left -= len(part)
            sent.update(part)
            if not left and hold is not None:
                await hold.wait()
            await sock.send_all(part)
        await sock.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for part in sock:
            received.update(part)
    return sent.hexdigest(), received.hexdigest()


def hash_of(size: int, seed: int) -> str:
    rng, left, digest = random.Random(seed), size, hashlib.sha256()
    while left:
        part = rng.randbytes(min(left, 60_000))
        left -= len(part)
        digest.update(part)
    return digest.hexdigest()


@pytest.mark.slow
async def test_node_is_killed_under_twenty_streams(tmp_path: Path) -> None:
    """SIGKILL and restart of the node, twice, during transfers both ways: every hash agrees."""
    size, streams = 4 * MIB, 20
    service_hashes: list[str] = []
    served = trio.Event()
    results: list[tuple[str, str]] = []

    async def service(sock: trio.SocketStream) -> None:
        sent, received = await swap(sock, size, 1000)
        assert sent == hash_of(size, 1000)
        service_hashes.append(received)
        if len(service_hashes) == streams:
            served.set()

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, service, 0)
            service_port = listeners[0].socket.getsockname()[1]
            async with three_processes(tmp_path, service_port) as three:

                async def user(seed: int) -> None:
                    async with await three.connect() as sock:
                        results.append(await swap(sock, size, seed))

                async def all_users() -> None:
                    async with trio.open_nursery() as users:
                        for seed in range(streams):
                            users.start_soon(user, seed)

                done = trio.Event()

                async def transfer() -> None:
                    await all_users()
                    done.set()

                async with trio.open_nursery() as transfers:
                    transfers.start_soon(transfer)
                    await three.edge.event("stream_opened", streams)
                    await kill_node(three)
                    await three.site.start_proxy()
                    await three.remote.event("resumed", 1)
                    assert len(results) < streams, "the first kill came too late"
                    await kill_node(three)
                    await three.site.start_proxy()
                    await three.remote.event("resumed", 2)
                    await done.wait()
                    await served.wait()  # a user is done before its service heard it
            nursery.cancel_scope.cancel()
    assert sorted(sent for sent, _ in results) == sorted(service_hashes)
    assert {received for _, received in results} == {hash_of(size, 1000)}


async def kill_node(three: Trio) -> None:
    before = sum(each["event"] == "detached" for each in three.remote.events)
    await three.site.kill_proxy()
    await three.remote.event("detached", before + 1)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["edge", "remote"])
async def test_killed_end(tmp_path: Path, victim: str) -> None:
    """SIGKILL of an end: the socket at the other end is reset, after the resume timeout."""
    ends: list[str] = []
    reset = trio.Event()

    async def service(sock: trio.SocketStream) -> None:
        await sock.send_all(b"half of ")
        try:
            while await sock.receive_some():
                pass
            ends.append("clean")
        except trio.BrokenResourceError:
            ends.append("reset")
        reset.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, service, 0)
            port = listeners[0].socket.getsockname()[1]
            async with three_processes(tmp_path, port, resume_timeout=2) as three:
                user = await three.connect()
                assert await user.receive_some() == b"half of "
                if victim == "edge":
                    await three.edge.kill()
                    await three.remote.event("detached")
                    with trio.move_on_after(0.5) as early:
                        await user.receive_some()
                    assert early.cancelled_caught, "reset before the resume timeout"
                    with pytest.raises(trio.BrokenResourceError):
                        await user.receive_some()
                    closed = await three.remote.event("closed")
                    assert "detached for 2 s" in closed["reason"]
                else:
                    await three.remote.kill()
                    await three.edge.event("tunnel_detached")
                    assert not reset.is_set()
                    await reset.wait()
                    closed = await three.edge.event("tunnel_closed")
                    assert "detached for 2 s" in closed["reason"]
                    with pytest.raises(trio.BrokenResourceError):
                        await user.receive_some()  # the kernel resets it with the process
                await user.aclose()
            nursery.cancel_scope.cancel()
    # the edge's own sockets are reset with its process as well: a cut is never an end
    assert ends == ["reset"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["node", "edge", "remote"])
async def test_sigterm(tmp_path: Path, command: str) -> None:
    """SIGTERM ends each command with exit code 0, and the others go on or say why."""

    async def service(sock: trio.SocketStream) -> None:
        await trio.sleep_forever()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, service, 0)
            port = listeners[0].socket.getsockname()[1]
            async with three_processes(tmp_path, port) as three:
                victim = getattr(three, command)
                victim.process.terminate()
                assert await victim.process.wait() == 0
                if command == "edge":
                    closed = await three.remote.event("closed")
                    assert closed["reason"] == "the edge was shut down"
                elif command == "remote":
                    closed = await three.edge.event("tunnel_closed")
                    assert closed["reason"] == "the user left"
                else:
                    await three.remote.event("detached")
            nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_hangup_reloads(tmp_path: Path) -> None:
    """SIGHUP: a new service is there at once, a broken file changes nothing, no stream is lost."""

    async def service(sock: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async for part in sock:
                await sock.send_all(part)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, service, 0)
            port = listeners[0].socket.getsockname()[1]
            async with three_processes(tmp_path, port) as three:
                config = tmp_path / "config.json"
                user = await three.connect()
                await user.send_all(b"one")
                assert await user.receive_some() == b"one"
                good = config.read_text()
                config.write_text(good[:-20])
                os.kill(three.edge.process.pid, signal.SIGHUP)
                failed = await three.edge.event("reload_failed")
                assert "config.json:1:" in failed["reason"]
                assert three.site.key not in failed["reason"]
                config.write_text(good.replace('"service"', '"renamed"'))
                os.kill(three.edge.process.pid, signal.SIGHUP)
                assert (await three.edge.event("reloaded"))["changed"] == ["services"]
                closed = await three.remote.event("closed")
                assert closed["reason"] == "the device offers it no longer"
                with pytest.raises(trio.BrokenResourceError):
                    await user.receive_some()
                await user.aclose()
                other = await three.site.start("connect", THING, "renamed", "--json")
                await other.event("attached")
            nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_memory_stays_flat(tmp_path: Path) -> None:
    """50 users that stop reading beside a bulk transfer: no process grows with what passes."""
    stalled_streams = 50

    async def service(sock: trio.SocketStream) -> None:
        # the first byte says what is wanted: all you have, or this many MiB
        wanted = (await sock.receive_some(1))[0]
        with contextlib.suppress(trio.BrokenResourceError):
            for _ in range(16 * wanted if wanted else 1 << 30):
                await sock.send_all(bytes(MIB // 16))

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, service, 0)
            port = listeners[0].socket.getsockname()[1]
            async with (
                three_processes(tmp_path, port) as three,
                contextlib.AsyncExitStack() as users,
            ):
                for _ in range(stalled_streams):
                    user = await users.enter_async_context(await three.connect())
                    await user.send_all(b"\x00")
                await three.edge.event("stream_opened", stalled_streams)
                processes = (three.node, three.edge, three.remote)
                await _bulk(await three.connect(), 100)
                before = [resident(process) for process in processes]
                await _bulk(await three.connect(), 200)
                after = [resident(process) for process in processes]
            nursery.cancel_scope.cancel()
    grown = [(two - one) / MIB for one, two in zip(before, after, strict=True)]
    assert max(grown) < 16, f"MiB grown while 200 MiB passed: {grown}"


async def _bulk(user: trio.SocketStream, mebibytes: int) -> None:
    async with user:
        await user.send_all(bytes([mebibytes]))
        got = 0
        while got < mebibytes * MIB:
            part = await user.receive_some(MIB)
            assert part, f"ended after {got} bytes"
            got += len(part)
