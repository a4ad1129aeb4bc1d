"""link/eager.py: as trio's own stream, but for the turn of the scheduler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel.link.eager import EagerStream
from edge_tunnel.link.splice import reset_socket


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[EagerStream, trio.SocketStream]]:
    """One end as ours, and the far end."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    near = await trio.open_tcp_stream(*listener.socket.getsockname())
    far = await listener.accept()
    async with listener, near, far:
        yield EagerStream(near), far


async def test_a_reset_that_the_writer_saw_is_no_end_for_the_reader() -> None:
    """The kernel tells of a reset once; asked again, it would say end of file."""
    with trio.fail_after(10):
        async with connected() as (near, far):
            reset_socket(far)
            with pytest.raises(trio.BrokenResourceError):
                await near.send_all(b"x")
            with pytest.raises(trio.BrokenResourceError):
                await near.receive_some()


async def test_a_reset_while_the_writer_waits_is_no_end_either() -> None:
    """The same, when it is trio that sees the reset."""
    with trio.fail_after(10):
        async with connected() as (near, far):
            async with trio.open_nursery() as nursery:

                async def fill() -> None:
                    with pytest.raises(trio.BrokenResourceError):
                        await near.send_all(bytes(100_000_000))

                nursery.start_soon(fill)
                await trio.testing.wait_all_tasks_blocked(0.1)
                reset_socket(far)
            with pytest.raises(trio.BrokenResourceError):
                await near.receive_some()


@pytest.mark.parametrize("reactor", ["1", "0"])
async def test_a_reset_before_the_writer_waits_is_no_end_either(
    reactor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is called in the very turn of the loop in which the writer was told."""
    monkeypatch.setenv("EDGE_TUNNEL_REACTOR", reactor)
    read: list[bytes | None] = []
    with trio.fail_after(10):
        async with connected() as (near, far), trio.open_nursery() as nursery:

            async def reading() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await near.call_while_readable(call)

            def call() -> bool:
                read.append(near.read_now(9))
                return False

            while near.send_now((bytes(1_000_000),)):
                pass
            nursery.start_soon(reading)
            await trio.testing.wait_all_tasks_blocked()
            reset_socket(far)
            with pytest.raises(trio.BrokenResourceError):
                await near.flush()
    assert read == []


async def test_what_came_before_an_end_is_still_read() -> None:
    """The far end closed after its last word: writing fails, what it said is good."""
    with trio.fail_after(10):
        async with connected() as (near, far):
            await far.send_all(b"last word")
            await far.aclose()
            with pytest.raises(trio.BrokenResourceError):
                await _send_for_ever(near)  # until the answer to a closed socket, a reset, is back
            assert await near.receive_some() == b"last word"
            assert await near.receive_some() == b""


async def test_more_parts_than_the_system_takes_at_once() -> None:
    """600 streams that a tunnel opens again when its link is back are one group of messages."""
    parts = [bytes([number % 251]) for number in range(3000)]
    with trio.fail_after(10):
        async with connected() as (near, far):
            assert near.send_now(parts)
            near.end_now()
            assert b"".join([bytes(part) async for part in far]) == b"".join(parts)


async def _send_for_ever(near: EagerStream) -> None:
    while True:
        await near.send_all(b"x")
        await trio.lowlevel.checkpoint()


async def test_closed() -> None:
    """A closed stream says so, and never touches a file that has got its number since."""
    with trio.fail_after(10):
        async with connected() as (near, _):
            await near.aclose()
            again = [await trio.open_file("/dev/null", "wb") for _ in range(3)]
            with pytest.raises(trio.ClosedResourceError):
                await near.send_all(b"x")
            with pytest.raises(trio.ClosedResourceError):
                await near.receive_some()
            for file in again:
                await file.aclose()
