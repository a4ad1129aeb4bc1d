"""A remote and a device that knows nothing of us: real ends, bounded wires, virtual time."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing

from edge_tunnel import Reason, StreamRefused, TunnelEnded
from edge_tunnel.testing.wire import WireStream
from tests.proxy.alwayson.conftest import THING, all_of, open_stage
from tests.proxy.alwayson.device import NOT_FOUND


@pytest.mark.parametrize("style", ["c", "java", "ours"])
async def test_bytes_go_both_ways(style: str, autojump_clock: trio.testing.MockClock) -> None:
    """Through an unmodified device, whichever SDK it has."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING, style=style)
        stream = await remote.open_stream(THING, "ssh")
        payload = bytes(range(256)) * 400
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, payload)
            got = bytearray()
            while len(got) < len(payload):
                got += await stream.receive_some()
        assert got == payload
        assert device.starts[0].port == 22
        await stream.aclose()
        await device.wait_completed(1)


async def test_a_server_that_speaks_first_costs_no_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """SSH's banner: the hold is for those who wait for us."""
    async with open_stage() as (stage, remote):
        await stage.bound(THING, style="ours")
        began = trio.current_time()
        stream = await remote.open_stream(THING, "web")
        assert trio.current_time() - began < 0.2
        assert await all_of(stream) == b"hello from the device"


async def test_a_device_that_pings_costs_no_wait(autojump_clock: trio.testing.MockClock) -> None:
    """Our own edge: its service is reached, and its handshake over, when it opens the socket."""
    came = trio.Event()

    async def listener(stream: WireStream) -> None:
        await stream.receive_some()
        came.set()
        await trio.sleep_forever()

    async with open_stage() as (stage, remote):
        await stage.bound(THING, style="ours", targets={22: listener})
        began = trio.current_time()
        early = await remote.open_stream_early(THING, "ssh")
        await early.send_all(b"GET /")
        await came.wait()
        assert trio.current_time() - began < 0.2


async def test_the_first_bytes_are_held(autojump_clock: trio.testing.MockClock) -> None:
    """A C device throws away what comes in one read with the 101 (the double asserts it); so what
    the remote sent early waits for 250 ms of virtual time, and is complete then."""
    came = trio.Event()

    async def listener(stream: WireStream) -> None:
        await stream.receive_some()
        came.set()
        await trio.sleep_forever()

    async with open_stage() as (stage, remote):
        device = await stage.bound(THING, targets={22: listener})
        early = await remote.open_stream_early(THING, "ssh")
        await early.send_all(b"GET /")
        await device.wait_started()
        began = trio.current_time()
        await early.wait_accepted()
        await came.wait()
        assert 0.24 < trio.current_time() - began < 0.3


@pytest.mark.parametrize(
    ("style", "reason", "words"),
    [
        ("c", Reason.CONNECTION_REFUSED, "DISCONNECT"),  # it says so, after its socket is up
        ("java", Reason.UNREACHABLE, "within 15 s"),  # nothing is ever heard
    ],
)
async def test_success_of_start_tunnel_is_no_connection(
    style: str, reason: Reason, words: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The device says "success" at once, always; the stream is accepted only when it works."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING, style=style)
        with pytest.raises(trio.BrokenResourceError) as caught:
            async with await remote.open_stream_early(THING, "nowhere") as stream:
                await stream.send_all(b"hello?")
                await stream.receive_some()
        cause = caught.value.__cause__
        assert isinstance(cause, StreamRefused)
        assert cause.reason is reason
        assert words in cause.text
        await device.wait_completed(1)


async def test_a_flood_of_disconnects_is_answered_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A C device says it every 150 ms until it hears CompleteTunnel: it hears that at once,
    once."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        began = trio.current_time()
        stream = await remote.open_stream_early(THING, "nowhere")
        with pytest.raises(StreamRefused):
            await stream.wait_accepted()
        assert trio.current_time() - began < 1
        for _ in range(200):  # what was under way
            await device.command(device.starts[0].tid, "CANCEL")
        assert (await device.ask(device.requests[0])).ok  # all of them were answered
        assert len(device.completed) == 1


async def test_the_device_refuses(autojump_clock: trio.testing.MockClock) -> None:
    """A device without tunnels says "not found": the remote reads what it said."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        device.answers = lambda _request: NOT_FOUND
        stream = await remote.open_stream_early(THING, "ssh")
        with pytest.raises(StreamRefused) as caught:
            await stream.wait_accepted()
        assert caught.value.reason is Reason.UNREACHABLE
        assert "0x84" in str(caught.value)


# -- what may break


async def test_the_remotes_links_may_die_at_will(autojump_clock: trio.testing.MockClock) -> None:
    """No byte is lost or doubled: the node is the end of a resumable stream."""
    async with open_stage() as (stage, remote):
        await stage.bound(THING)
        stream = await remote.open_stream(THING, "ssh")
        payload = bytes(range(256)) * 2000
        got = bytearray()

        async def breaking() -> None:
            for _ in range(5):
                await trio.sleep(0.5)
                stage.cluster.cut("remote")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaking)
            for start in range(0, len(payload), 50_000):
                nursery.start_soon(trio.sleep, 0)
                await stream.send_all(payload[start : start + 50_000])
                while len(got) < min(start + 50_000, len(payload)):
                    got += await stream.receive_some()
                await trio.sleep(0.3)
        assert got == payload


async def test_the_main_socket_may_die(autojump_clock: trio.testing.MockClock) -> None:
    """Tunnel sockets work on with both SDKs; the stream goes on when the device is bound again."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        stream = await remote.open_stream(THING, "ssh")
        assert device.main is not None
        device.main.cut()
        again = await stage.bound(THING)
        await stream.send_all(b"still there?")
        assert await stream.receive_some() == b"still there?"
        more = await remote.open_stream(THING, "ssh")
        await more.send_all(b"and here")
        assert await more.receive_some() == b"and here"
        assert again.starts
        assert len(device.starts) == 1


async def test_a_killed_device(autojump_clock: trio.testing.MockClock) -> None:
    """All its sockets end at once: users see a reset then, not when the tunnel's time is over."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        stream = await remote.open_stream(THING, "ssh")
        await stream.send_all(b"before")
        assert await stream.receive_some() == b"before"
        assert device.main is not None
        device.main.cut()
        for socket in device.sockets.values():
            socket.cut()
        with trio.fail_after(3), pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_a_node_that_dies_takes_its_streams(autojump_clock: trio.testing.MockClock) -> None:
    """The remote sees a reset with a reason, never an end of file, although the device comes
    back."""
    async with open_stage("a", "b") as (stage, remote):
        device = await stage.bound(THING, node="a")
        stream = await remote.open_stream(THING, "ssh")
        await stream.send_all(b"before")
        await stream.receive_some()
        stage.cluster.kill("a")
        device = await stage.bound(THING, node="b")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        cause = caught.value.__cause__
        assert isinstance(cause, TunnelEnded)
        assert "AlwaysOn" in str(cause)
        stream = await remote.open_stream(THING, "ssh")
        await stream.send_all(b"after")
        assert await stream.receive_some() == b"after"
        assert device.starts


async def test_the_remote_may_be_at_another_node(autojump_clock: trio.testing.MockClock) -> None:
    """The thing is found, and reached over a hop, as any."""
    async with open_stage("a", "b") as (stage, remote):
        await stage.bound(THING, node="b")
        stream = await remote.open_stream(THING, "ssh")
        await stream.send_all(b"over a hop")
        assert await stream.receive_some() == b"over a hop"


# -- bounds


async def test_a_remote_that_does_not_read_stops_the_device(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What waits in the node is bounded; all the rest waits at the device."""
    sent = 0

    async def endless(stream: WireStream) -> None:
        nonlocal sent
        while True:
            await stream.send_all(bytes(4096))
            sent += 4096

    async with open_stage() as (stage, remote):
        await stage.bound(THING, targets={22: endless})
        stream = await remote.open_stream(THING, "ssh")
        await trio.sleep(60)
        stalled = sent
        await trio.sleep(60)
        assert sent == stalled < 2 * 1024 * 1024
        got = 0
        while got < 4 * 1024 * 1024:
            got += len(await stream.receive_some())
        assert sent > 4 * 1024 * 1024


async def test_a_device_that_does_not_read_stops_the_remote(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The other way: credit follows the tunnel socket."""

    async def deaf(stream: WireStream) -> None:
        await trio.sleep_forever()

    async with open_stage() as (stage, remote):
        await stage.bound(THING, targets={22: deaf})
        stream = await remote.open_stream(THING, "ssh")
        sent = 0
        with trio.move_on_after(300):
            while True:
                await stream.send_all(bytes(4096))
                sent += 4096
        assert sent < 2 * 1024 * 1024


async def test_a_remote_that_leaves_a_device_that_does_not_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Neither sends nor reads any more: the device is told, and its place is free."""

    async def deaf(stream: WireStream) -> None:
        await trio.sleep_forever()

    async with open_stage() as (stage, remote):
        device = await stage.bound(THING, targets={22: deaf})
        stream = await remote.open_stream(THING, "ssh")
        with trio.move_on_after(300):
            await stream.send_all(bytes(4 * 1024 * 1024))
        stream.abort()
        await device.wait_completed(1)
        door = stage.cluster.nodes["node"].alwayson
        assert door is not None
        assert len(door.front.openings) == 0


@pytest.mark.parametrize("upwards", [True, False])
async def test_a_window_that_has_grown(
    upwards: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A reader that was fast, over a long path, and then stops: an edge of ours would keep up to 16
    MiB for it in its own memory, but this is the node's."""
    counts = {"sent": 0, "read": 0}
    stop, enough = 12 * 1024 * 1024, trio.Event()

    async def writing(stream: trio.abc.SendStream) -> None:
        with suppress(trio.BrokenResourceError):  # at the end
            while True:
                await stream.send_all(bytes(60_000))
                counts["sent"] += 60_000

    async def reading(stream: trio.abc.ReceiveStream) -> None:
        while counts["read"] < stop:
            counts["read"] += len(await stream.receive_some())
        enough.set()
        await trio.sleep_forever()

    async with open_stage(capacity=1024 * 1024) as (stage, remote):
        await trio.sleep(1)
        stage.cluster.delay = 0.05
        stage.cluster.cut("remote")  # its links are long from here on
        await trio.sleep(10)
        stage.cluster.delay = 0
        await stage.bound(THING, targets={22: reading if upwards else writing})
        stream = await remote.open_stream(THING, "ssh")
        stage.nursery.start_soon(writing if upwards else reading, stream)
        await enough.wait()
        await trio.sleep(60)
        before = counts["sent"]
        await trio.sleep(60)
        assert counts["sent"] == before
        assert before - counts["read"] < 3.5 * 1024 * 1024  # 1 of it in the wire


async def test_more_streams_than_a_device_may_have(autojump_clock: trio.testing.MockClock) -> None:
    """The bound of a thing, and that of the node."""
    async with open_stage(max_streams_per_thing=2, max_streams=3) as (stage, remote):
        await stage.bound(THING)
        await stage.bound("Other")
        streams = [await remote.open_stream(THING, "ssh") for _ in range(2)]
        with pytest.raises(StreamRefused, match=f"{THING} has 2 streams"):
            await remote.open_stream(THING, "ssh")
        streams.append(await remote.open_stream("Other", "ssh"))
        with pytest.raises(StreamRefused, match="the node has 3 streams"):
            await remote.open_stream("Other", "ssh")
        await streams[0].aclose()
        await trio.sleep(5)
        await remote.open_stream(THING, "ssh")


async def test_a_service_that_the_policy_does_not_name(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A device dials what the node says; so the node says only what is named."""
    async with open_stage() as (stage, remote):
        device = await stage.bound(THING)
        with pytest.raises(TunnelEnded) as caught:
            await remote.open_stream(THING, "vnc")
        assert caught.value.reason is Reason.SERVICE_NOT_ALLOWED
        assert "it names ssh, web, nowhere" in str(caught.value)
        assert not device.starts
