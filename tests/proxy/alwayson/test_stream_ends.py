"""How a stream of a device ends, by each of its two ends."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing

from edge_tunnel import Reason
from edge_tunnel.alwayson.text import ALL_SENT
from edge_tunnel.testing.wire import WireStream
from tests.proxy.alwayson.conftest import THING, all_of, open_stage


async def test_our_own_edge_says_that_all_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    """Then, and only then, the remote sees an end of file."""
    async with open_stage() as (stage, remote):
        await stage.bound(THING, style="ours")
        stream = await remote.open_stream(THING, "web")
        assert await all_of(stream) == b"hello from the device"


async def test_a_java_device_closes_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    """Its target may have ended, been reset, or the device been stopped: nobody can tell. All that
    came is delivered, and then it is a reset."""
    async with open_stage() as (stage, remote):
        await stage.bound(THING, style="java")
        stream = await remote.open_stream(THING, "web")
        got = bytearray()
        with pytest.raises(trio.BrokenResourceError) as caught:
            while part := await stream.receive_some():
                got += part
        assert got == b"hello from the device"
        assert "without a word" in str(caught.value.__cause__)


async def test_all_is_delivered_before_the_reset(autojump_clock: trio.testing.MockClock) -> None:
    """Also to a remote that reads long after the device has gone."""

    async def much(stream: WireStream) -> None:
        await stream.send_all(bytes(150_000))

    async with open_stage() as (stage, remote):
        await stage.bound(THING, style="java", targets={22: much})
        stream = await remote.open_stream(THING, "ssh")
        await trio.sleep(30)
        got = 0
        with pytest.raises(trio.BrokenResourceError):
            while part := await stream.receive_some():
                got += len(part)
        assert got == 150_000


async def test_a_c_device_does_not_notice_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """Neither do we; but when the remote has ended, a minute of silence is enough."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        stream = await remote.open_stream(THING, "web")
        assert await stream.receive_some() == b"hello from the device"
        with trio.move_on_after(300) as patience:
            await stream.receive_some()
        assert patience.cancelled_caught
        assert not device.completed
        await stream.send_eof()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        assert "for 60 s" in str(caught.value.__cause__)
        await device.wait_completed(1)


async def test_disconnect_after_data_is_a_reset(autojump_clock: trio.testing.MockClock) -> None:
    """A write to the target failed: the device says so by its main socket."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        stream = await remote.open_stream(THING, "web")
        await stream.receive_some()
        await device.command(device.starts[0].tid, "DISCONNECT")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        assert "DISCONNECT" in str(caught.value.__cause__)


async def test_a_device_that_gives_up_is_told_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It says it until it hears CompleteTunnel; what it sent before has some seconds to come."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        await remote.open_stream(THING, "ssh")
        began = trio.current_time()
        await device.command(device.starts[0].tid, "CANCEL")
        await device.wait_completed(1)
        assert trio.current_time() - began < 1


async def test_a_closed_remote_ends_the_tunnel_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It reads no more and sends no more: the device is told, without the minute of a
    half-close."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        stream = await remote.open_stream(THING, "ssh")
        began = trio.current_time()
        await stream.aclose()
        await device.wait_completed(1)
        assert trio.current_time() - began < 5


async def test_a_half_close_leaves_the_other_way_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The wire cannot say it to the device; what the device sends still arrives."""

    async def slow(stream: WireStream) -> None:
        await stream.receive_some()
        for _ in range(5):
            await trio.sleep(30)
            await stream.send_all(b"tick ")

    async with open_stage() as (stage, remote):
        await stage.bound(THING, style="ours", targets={22: slow})
        stream = await remote.open_stream(THING, "ssh")
        await stream.send_all(b"go")
        await stream.send_eof()
        assert await all_of(stream) == b"tick " * 5


@pytest.mark.parametrize(
    ("code", "words"), [(1000, "Client initiated close"), (1000, ""), (1001, ALL_SENT)]
)
async def test_other_goodbyes_are_no_end_of_file(
    code: int, words: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A Java device closes with 1000 when it was idle, a C device when it was told to."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        stream = await remote.open_stream(THING, "ssh")
        await device.sockets[device.starts[0].tid].close(code, words)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


@pytest.mark.parametrize("clean", [True, False])
async def test_what_the_device_is_told_of_the_remotes_end(
    clean: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """1000 only after all that the remote sent, and its END: our own edge gives its service an end
    of file then, and else a reset."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING, style="ours")
        stream = await remote.open_stream(THING, "ssh")
        socket = device.sockets[device.starts[0].tid]
        await stream.send_all(b"half of a file")
        await stream.receive_some()
        if clean:
            await stream.aclose()
        else:
            stream.abort(Reason.RESET, "cut")
        await trio.sleep(5)
        assert socket.closed is not None
        assert socket.closed.code == (1000 if clean else 1011)


async def test_nonsense_on_a_tunnel_socket(autojump_clock: trio.testing.MockClock) -> None:
    """Binary messages and empty ones are overlooked, as devices do; what is no base64, or too much
    of it, ends the stream, and nothing else."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        for bad in ("no base64!", "QUJD\n", "QUJ", "A" * 65_540, "=" * 4):
            stream = await remote.open_stream(THING, "ssh")
            socket = device.sockets[device.starts[-1].tid]
            await socket.send(b"binary")
            await socket.send("")
            await socket.send("QUJD")
            assert await stream.receive_some() == b"ABC"
            with suppress(trio.BrokenResourceError):
                await socket.send(bad)
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        assert device.main is not None
        assert device.main.closed is None
