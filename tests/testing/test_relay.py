"""The relay of tests is tested, too."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from edge_tunnel.link.splice import reset_socket
from edge_tunnel.testing import open_relay


async def _echo(sock: trio.SocketStream) -> None:
    try:
        async for data in sock:
            await sock.send_all(data)
        await sock.send_eof()
    except trio.BrokenResourceError:
        pass


@pytest.fixture
async def port(nursery: trio.Nursery) -> int:
    """Of an echo service."""
    serve = partial(trio.serve_tcp, _echo, 0, host="127.0.0.1")
    listeners: list[trio.SocketListener] = await nursery.start(serve)
    number: int = listeners[0].socket.getsockname()[1]
    return number


async def test_it_carries_both_ways_and_half_closes(port: int) -> None:
    """A megabyte there and back, the answer's end after ours."""
    data = bytes(range(256)) * 4096
    with trio.fail_after(10):
        async with open_relay("127.0.0.1", port) as relay:
            stream = await trio.open_tcp_stream("127.0.0.1", relay.port)
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(_send, stream, data)
                got = b"".join([bytes(part) async for part in stream])
            assert got == data


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


async def test_cut_resets_and_takes_new_connections(port: int) -> None:
    """Both ends see an error, not an end."""
    with trio.fail_after(10):
        async with open_relay("127.0.0.1", port) as relay:
            for count in (1, 2):
                async with await trio.open_tcp_stream("127.0.0.1", relay.port) as stream:
                    await stream.send_all(b"x")
                    assert await stream.receive_some() == b"x"
                    assert relay.cut() == 1 and relay.cuts == count
                    with pytest.raises(trio.BrokenResourceError):
                        await stream.receive_some()


async def test_cut_under_load(port: int) -> None:
    """With errors from both ends at once, the relay itself goes on."""
    with trio.fail_after(10):
        async with open_relay("127.0.0.1", port) as relay, trio.open_nursery() as nursery:
            for _ in range(20):
                stream = await trio.open_tcp_stream("127.0.0.1", relay.port)
                await stream.send_all(bytes(100_000))
                nursery.start_soon(_reset_soon, stream)
            while relay.connections:
                await trio.testing.wait_all_tasks_blocked()
                relay.cut()


async def _reset_soon(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.receive_some()
    reset_socket(stream)


async def test_stall_holds_back_and_closes_nothing(port: int) -> None:
    """What was held back comes when it goes on."""
    with trio.fail_after(10):
        async with (
            open_relay("127.0.0.1", port) as relay,
            await trio.open_tcp_stream("127.0.0.1", relay.port) as stream,
        ):
            relay.stall()
            await stream.send_all(b"x")
            with trio.move_on_after(0.1) as scope:
                await stream.receive_some()
            assert scope.cancelled_caught
            relay.go_on()
            assert await stream.receive_some() == b"x"


async def test_delay_is_added_each_way(port: int) -> None:
    """A round trip takes twice as long."""
    with trio.fail_after(10):
        async with (
            open_relay("127.0.0.1", port) as relay,
            await trio.open_tcp_stream("127.0.0.1", relay.port) as stream,
        ):
            relay.delay = 0.1
            before = trio.current_time()
            await stream.send_all(b"x")
            await stream.receive_some()
            assert trio.current_time() - before >= 0.2


async def test_nobody_behind_it(port: int) -> None:
    """Looks as a port forward to a dead program does."""
    del port
    with trio.socket.socket() as closed:
        await closed.bind(("127.0.0.1", 0))
        with trio.fail_after(10):
            async with (
                open_relay("127.0.0.1", closed.getsockname()[1]) as relay,
                await trio.open_tcp_stream("127.0.0.1", relay.port) as stream,
            ):
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()


@pytest.mark.parametrize("count", [0, 1, 5, 9])
async def test_cut_after_so_many_bytes(port: int, count: int) -> None:
    """Exactly so many pass, both ways together; then it is a reset, once."""
    with trio.fail_after(10):
        async with open_relay("127.0.0.1", port) as relay:
            async with await trio.open_tcp_stream("127.0.0.1", relay.port) as stream:
                relay.cut_after(count)
                heard = b""
                await stream.send_all(b"12345")
                with pytest.raises(trio.BrokenResourceError):
                    while True:
                        heard += await stream.receive_some()
                assert relay.passed == count
                assert heard == b"12345"[: max(0, count - 5)]
            async with await trio.open_tcp_stream("127.0.0.1", relay.port) as stream:
                await stream.send_all(b"12345")
                assert await stream.receive_some() == b"12345"


async def test_rate_is_kept(port: int) -> None:
    """10 kB there and back at 50 kB a second take their time."""
    with trio.fail_after(10):
        async with (
            open_relay("127.0.0.1", port) as relay,
            await trio.open_tcp_stream("127.0.0.1", relay.port) as stream,
        ):
            relay.rate = 50_000
            before = trio.current_time()
            await stream.send_all(bytes(10_000))
            heard = 0
            while heard < 10_000:
                heard += len(await stream.receive_some())
            assert trio.current_time() - before >= 0.2


async def test_stall_of_some(port: int) -> None:
    """A partition between some: connections that begin otherwise pass, new ones are held, too."""
    with trio.fail_after(10):
        async with open_relay("127.0.0.1", port) as relay:
            relay.stall(lambda head: head.startswith(b"b"))
            async with (
                await trio.open_tcp_stream("127.0.0.1", relay.port) as one,
                await trio.open_tcp_stream("127.0.0.1", relay.port) as other,
            ):
                await other.send_all(b"b")
                await one.send_all(b"a")
                assert await one.receive_some() == b"a"
                with trio.move_on_after(0.1) as scope:
                    await other.receive_some()
                assert scope.cancelled_caught
                relay.go_on()
                assert await other.receive_some() == b"b"
