"""A tunnel socket: which one is let in, and at which node."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from edge_tunnel import StreamRefused
from edge_tunnel.proxy.alwayson.tids import Openings, node_of, tag_of
from edge_tunnel.testing.cluster import KEY
from tests.proxy.alwayson.conftest import Stage, open_stage
from tests.proxy.alwayson.device import Device, Refused

THING = "SteamSensor1"


async def asked(stage: Stage, **more: object) -> Device:
    """A device that answers StartTunnel and leaves the rest to the test."""
    device = await stage.bound(THING, **more)
    device.dials = False
    return device


async def test_a_tid_is_good_once(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever saw it in a log of a balancer comes too late."""
    async with open_stage() as (stage, remote):
        device = await asked(stage)
        stream = await remote.open_stream_early(THING, "ssh")
        tid = (await device.wait_started()).tid
        await device.open_tunnel(tid)
        await stream.wait_accepted()
        with pytest.raises(Refused) as refused:
            await device.open_tunnel(tid)
        assert refused.value.status == 404


async def test_a_tid_is_good_with_its_key_alone(autojump_clock: trio.testing.MockClock) -> None:
    """It is tied to what the main socket has shown; and it still waits for the right one."""
    async with open_stage() as (stage, remote):
        device = await asked(stage)
        stream = await remote.open_stream_early(THING, "ssh")
        tid = (await device.wait_started()).tid
        for key in ("another", "", KEY[:-1]):
            with pytest.raises(Refused) as refused:
                await device.open_tunnel(tid, key)
            assert refused.value.status == 404
        await device.open_tunnel(tid)
        await stream.wait_accepted()


async def test_a_tid_is_good_for_some_seconds(autojump_clock: trio.testing.MockClock) -> None:
    """The remote has heard that there will be no tunnel: so there is none."""
    async with open_stage() as (stage, remote):
        device = await asked(stage)
        with pytest.raises(StreamRefused, match="within 15 s"):
            await remote.open_stream(THING, "ssh")
        with pytest.raises(Refused):
            await device.open_tunnel(device.starts[0].tid)
        assert not len(stage.cluster.nodes["node"].alwayson.front.openings)  # type: ignore[union-attr]


@pytest.mark.parametrize("tid", ["", "node-", "node-" + "0" * 32, "x" * 5000, "../../WS", "%00"])
async def test_other_tids(tid: str, autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is said of what would be a good one."""
    async with open_stage() as (stage, _):
        device = stage.device(THING)
        with pytest.raises(Refused) as refused:
            await device.open_tunnel(tid)
        assert refused.value.status == 404


def test_what_a_tid_is() -> None:
    """128 random bits behind the node's name, fit for a path and for a C device's 512 bytes."""
    openings = Openings("node-7.example")
    first, second = openings.new("k").tid, openings.new("k").tid
    tag, _, secret = first.rpartition("-")
    assert tag == "node-7.example"
    assert len(bytes.fromhex(secret)) == 16
    assert first != second
    for name in ("a", "x" * 24, "x" * 25, "Köln", "two words", "a/b", "n" * 256):
        tid = Openings(name).new("k").tid
        assert len(tid) <= 57
        assert tid.replace("-", "").replace(".", "").replace("_", "").isalnum()
        assert tid.isascii()
        assert node_of(tid, ["other", name]) == name
        assert node_of(tid, ["other"]) is None
    assert node_of("nothing", ["nothing"]) is None
    assert tag_of("two words") != tag_of("two  words")


# -- in a cluster


def by_turns(stage: Stage, *nodes: str) -> object:
    """A balancer: each connection goes to the next node."""
    state = {"next": 0}

    def connect() -> object:
        name = nodes[state["next"] % len(nodes)]
        state["next"] += 1
        return stage.cluster.connect("device", name)

    return connect


@pytest.mark.parametrize("style", ["c", "java", "ours"])
async def test_a_tunnel_socket_at_another_node(
    style: str, autojump_clock: trio.testing.MockClock
) -> None:
    """It is passed on: bytes, back-pressure and all; also its end is what it was."""
    async with open_stage("a", "b", "c") as (stage, remote):
        device = stage.device(THING, style=style)
        device.connect = by_turns(stage, "a", "b", "c", "b", "c", "b")  # type: ignore[assignment]
        stage.nursery.start_soon(device.run)
        await device.bound.wait()
        for _ in range(3):
            stream = await remote.open_stream(THING, "ssh")
            payload = bytes(range(256)) * 1000
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, payload)
                got = bytearray()
                while len(got) < len(payload):
                    got += await stream.receive_some()
            assert got == payload
            await stream.aclose()
        stream = await remote.open_stream(THING, "web")
        got = bytearray(await stream.receive_some())
        assert got == b"hello from the device"
        if style == "ours":
            assert await stream.receive_some() == b""
        elif style == "java":
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        assert stage.cluster.nodes["b"].strangers.count == 0


async def test_a_tid_of_another_node_that_is_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The other node says no, and this one says it to the device. It goes no further."""
    async with open_stage("a", "b") as (stage, _):
        device = stage.device(THING, node="a")
        with pytest.raises(Refused) as refused:
            await device.open_tunnel("b-" + "0" * 32)
        assert refused.value.status == 404
        await trio.sleep(1)
        assert stage.cluster.nodes["a"].strangers.count == 0


async def test_a_tid_of_a_node_that_is_gone(autojump_clock: trio.testing.MockClock) -> None:
    """The device hears a failure, soon."""
    async with open_stage("a", "b") as (stage, _):
        await trio.sleep(0.1)
        stage.cluster.kill("b")
        device = stage.device(THING, node="a")
        with pytest.raises(Refused) as refused:
            await device.open_tunnel("b-" + "0" * 32)
        assert refused.value.status == 503


async def test_the_passing_node_dies(autojump_clock: trio.testing.MockClock) -> None:
    """The stream is reset; the device and the thing stay."""
    async with open_stage("a", "b") as (stage, remote):
        device = stage.device(THING)
        device.connect = by_turns(stage, "a", "b")  # type: ignore[assignment]
        stage.nursery.start_soon(device.run)
        await device.bound.wait()
        stream = await remote.open_stream(THING, "ssh")
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"
        stage.cluster.kill("b")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        device.connect = partial(stage.cluster.connect, "device", "a")
        again = await remote.open_stream(THING, "ssh")
        await again.send_all(b"y")
        assert await again.receive_some() == b"y"
