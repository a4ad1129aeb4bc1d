"""The main socket: who gets in, what is bound, what is answered, and what ends it."""

from __future__ import annotations

import dataclasses

import pytest
import trio
import trio.testing
from wsproto.events import BytesMessage

from edge_tunnel.access.rights import Denial, DevelopmentKey, Principal
from edge_tunnel.alwayson.messages import (
    Bind,
    Characteristic,
    Entity,
    Gateway,
    KeepAlive,
    Method,
    Request,
    Unbind,
    auth,
)
from edge_tunnel.alwayson.messages import (
    Message as Said,
)
from edge_tunnel.alwayson.multipart import encode_parts
from edge_tunnel.alwayson.tunnels import service
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.alwayson import dialogue
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.whereabouts import Whereabouts
from edge_tunnel.reasons import Reason
from edge_tunnel.testing.cluster import KEY, open_cluster
from tests.proxy.alwayson.conftest import SETTINGS, Stage, open_stage
from tests.proxy.alwayson.device import Device, Refused, Socket

THING = "SteamSensor1"


# -- the handshake


async def test_the_answer_is_what_a_naive_parser_needs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """101 at its place, a plain ``Connection: Upgrade``, nothing empty, nothing negotiated - also
    where the device offers compression, as C and Java do."""
    async with open_stage() as (stage, _):
        for offered in ("permessage-deflate", "permessage-deflate;client_max_window_bits,x-webkit"):
            socket = Socket(stage.cluster.connect("device"))
            await socket.open("/Thingworx/WS", [("Sec-WebSocket-Extensions", offered)])
            head = socket.answer_head.decode().partition("\r\n\r\n")[0]
            first, *lines = head.split("\r\n")
            assert first[9:12] == "101"
            headers = dict(line.split(": ", 1) for line in lines)
            assert headers.pop("Sec-WebSocket-Accept")
            assert headers == {"Upgrade": "websocket", "Connection": "Upgrade"}
            assert all(headers.values())


async def test_a_java_device_names_the_node_as_its_origin(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As a web page does. Those of others are refused."""
    async with open_stage() as (stage, _):
        await Socket(stage.cluster.connect("d")).open("/Thingworx/WS", [("Origin", "http://node")])
        with pytest.raises(Refused) as refused:
            evil = [("Origin", "http://evil.example")]
            await Socket(stage.cluster.connect("d")).open("/Thingworx/WS", evil)
        assert refused.value.status == 403


async def test_off_by_default(autojump_clock: trio.testing.MockClock) -> None:
    """A node that was not told to takes no such device."""
    async with open_cluster() as cluster:
        with trio.fail_after(100), pytest.raises(Refused):
            await Socket(cluster.connect("device")).open("/Thingworx/WS")


async def test_our_own_edges_use_the_same_path(autojump_clock: trio.testing.MockClock) -> None:
    """The subprotocol tells them apart."""
    async with open_stage() as (stage, _):
        socket = Socket(stage.cluster.connect("edge"))
        await socket.open("/Thingworx/WS", subprotocols=["edge-tunnel.1"])
        assert b"edge-tunnel.1" in socket.answer_head


# -- AUTH


async def test_a_wrong_key(autojump_clock: trio.testing.MockClock) -> None:
    """The device hears "unauthorized", and is cut: a C device would say AUTH again for ever."""
    async with open_stage() as (stage, _):
        device = stage.device(THING, key="wrong")
        with pytest.raises(PermissionError, match="0x81 the key is not accepted here"):
            await device.log_in()
        assert not await device.listen()
        assert device.main is not None
        assert device.main.closed is not None


async def test_whoever_says_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A stranger holds a place for the handshake's time, and not longer."""
    async with open_stage() as (stage, _):
        socket = Socket(stage.cluster.connect("device"))
        await socket.open("/Thingworx/WS")
        began = trio.current_time()
        await socket.receive()
        assert trio.current_time() - began <= 10


@pytest.mark.parametrize(
    "first",
    [Said(Bind((THING,))), Said(service(THING, "GetPropertySubscriptions")), b"", b"\xff" * 40],
    ids=["bind", "request", "nothing", "noise"],
)
async def test_nothing_precedes_auth(
    first: Said | bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """Neither answered nor bound: the socket is over."""
    async with open_stage() as (stage, _):
        socket = Socket(stage.cluster.connect("device"))
        await socket.open("/Thingworx/WS")
        for part in encode_parts(first) if isinstance(first, Said) else [first]:
            await socket.send(part)
        assert await socket.receive() is None
        assert not len(stage.cluster.nodes["node"].registry)


async def test_keep_alive_may_precede_auth(autojump_clock: trio.testing.MockClock) -> None:
    """It is answered by nobody."""
    async with open_stage() as (stage, _):
        device = stage.device(THING)
        device.main = Socket(stage.cluster.connect("device"))
        await device.main.open("/Thingworx/WS")
        await device.say(Said(KeepAlive()))
        assert (await device.ask(auth(KEY))).ok


async def test_auth_again(autojump_clock: trio.testing.MockClock) -> None:
    """A C device asks again where the answer took too long; with another key it is the end."""
    async with open_stage() as (stage, _):
        device = await logged_in(stage, THING)
        assert (await device.ask(auth(KEY))).ok
        assert (await device.ask(Bind((THING,)))).ok
        with pytest.raises(AssertionError, match="closed instead"):
            await device.ask(auth("another"))


async def test_a_full_node_still_opens_tunnels(autojump_clock: trio.testing.MockClock) -> None:
    """A tunnel socket is no new link."""
    async with open_stage() as (stage, remote):
        await stage.bound(THING)
        node = stage.cluster.nodes["node"]
        node.settings = dataclasses.replace(node.settings, max_links=2)
        assert node.why_not_ready() is not None
        stream = await remote.open_stream(THING, "ssh")
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        with pytest.raises(Refused) as refused:
            await stage.device("other").log_in()
        assert refused.value.status == 503


async def test_strangers_are_counted(autojump_clock: trio.testing.MockClock) -> None:
    """An AlwaysOn socket without AUTH is an unauthenticated connection; with it, it is a link."""
    async with open_stage() as (stage, _):
        node = stage.cluster.nodes["node"]
        socket = Socket(stage.cluster.connect("device"))
        await socket.open("/Thingworx/WS")
        assert node.strangers.count == 1
        device = await stage.bound(THING)
        assert node.strangers.count == 1
        assert node.links == 2  # with the remote's
        started = stage.cluster.connect("device")
        with pytest.raises(Refused) as refused:
            await Socket(started).open("/Thingworx/WSTunnelServer/node-0123456789abcdef")
        assert refused.value.status == 404
        assert device.main is not None
        device.main.cut()
        socket.cut()
        await trio.sleep(1)
        assert node.strangers.count == 0
        assert node.links == 1


# -- BIND


class OnlyThese(DevelopmentKey):
    """A key is for things whose names begin like this."""

    allowed = "mine"

    def may_bind(self, principal: Principal, thing: str) -> Denial | None:  # noqa: ARG002
        if thing.startswith(self.allowed):
            return None
        return Denial(reason=Reason.NOT_AUTHORISED, text="not for this key")


async def logged_in(stage: Stage, *things: str, style: str = "c") -> Device:
    device = stage.device(*things, style=style)
    await device.log_in()
    return device


async def test_a_gateway_with_1200_names(autojump_clock: trio.testing.MockClock) -> None:
    """They come in several parts, as one BIND, with a gateway's name; all of them are reachable."""
    names = tuple(f"SteamSensor1-{number:04}" for number in range(1200))
    async with open_stage() as (stage, _):
        device = await logged_in(stage, *names)
        bind = Bind(names, Gateway("MyGateway", "mytype"))
        assert len(encode_parts(Said(bind))) > 1
        assert (await device.ask(bind)).ok
        node = stage.cluster.nodes["node"]
        assert len(node.registry) == 1200
        assert (await device.unbind(*names[:1199])).ok
        await trio.sleep(1)
        assert len(node.registry) == 1


async def test_what_the_key_may_not_bind(autojump_clock: trio.testing.MockClock) -> None:
    """Refused, with the reason; one name among many takes nothing from the others."""
    async with (
        open_cluster(authority=lambda: OnlyThese(KEY), alwayson=SETTINGS) as cluster,
        trio.open_nursery() as nursery,
    ):
        device = await logged_in(Stage(cluster, nursery), "mine", "yours")
        refused = await device.ask(Bind(("yours",)))
        assert (refused.status, refused.why) == (0x83, "yours: not for this key")
        assert (await device.ask(Bind(("mine", "yours")))).ok
        assert [thing for thing, _ in cluster.nodes["node"].registry.things()] == ["mine"]
        assert (await device.ask(Bind(()))).ok
        assert not (await device.ask(Bind(("\n",)))).ok


async def test_what_is_no_name(autojump_clock: trio.testing.MockClock) -> None:
    """The answer quotes no more of it than a message has room for."""
    async with open_stage() as (stage, _):
        device = await logged_in(stage, THING)
        for names in (("x" * 1_048_540,), ("\x1b" + "y" * 209_000,) * 5):
            refused = await device.ask(Bind(names))
            assert "this is no name of a thing" in refused.why
            assert len(refused.why) < 400
            assert refused.why.isprintable()


async def test_unbound_before_it_is_bound(autojump_clock: trio.testing.MockClock) -> None:
    """Both come in one segment: the last word counts, and both are answered."""
    async with open_stage() as (stage, _):
        device = await logged_in(stage)
        assert device.main is not None
        said = (Said(Bind((THING,)), 8), Said(Unbind((THING,)), 9))
        frames = [BytesMessage(part) for each in said for part in encode_parts(each)]
        await device.main.stream.send_all(b"".join(map(device.main.client.send, frames)))
        while len(device.responses) < 2:
            assert await device.listen()
        await trio.testing.wait_all_tasks_blocked()
        assert all(each.ok for each in device.responses.values())
        assert len(stage.cluster.nodes["node"].registry) == 0


async def test_a_bind_again_that_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    """It takes the older bind with it, here as at the node; and the session may stay for more."""
    rights = OnlyThese(KEY)
    async with (
        open_cluster(authority=lambda: rights, alwayson=SETTINGS) as cluster,
        trio.open_nursery() as nursery,
    ):
        device = await logged_in(Stage(cluster, nursery), "mine")
        assert (await device.ask(Bind(("mine",)))).ok
        door = cluster.nodes["node"].alwayson
        assert door is not None
        assert list(door.front.sessions) == ["mine"]
        rights.allowed = "other"
        assert (await device.ask(Bind(("mine",)))).status == 0x83
        assert not door.front.sessions
        assert (await device.ask(Bind(("other",)))).ok
        assert list(door.front.sessions) == ["other"]


def epoch_of(registry: Whereabouts, thing: str) -> int:
    return dict(registry.things())[thing].epoch


async def test_the_last_bind_wins(autojump_clock: trio.testing.MockClock) -> None:
    """Also against an epoch that no clock would make; the loser, which may be half dead, is cut."""
    async with open_stage("a", "b") as (stage, _):
        first = await stage.bound(THING, node="a")
        registry = stage.cluster.nodes["b"].registry
        before = epoch_of(registry, THING)
        second = await stage.bound(THING, node="b")
        await trio.sleep(1)
        assert epoch_of(stage.cluster.nodes["a"].registry, THING) > before
        assert stage.cluster.nodes["a"].registry.locate(THING) == "b"
        assert first.main is not None
        assert second.main is not None
        assert first.main.closed is not None
        assert second.main.closed is None


async def test_a_bind_beats_whatever_is_known(autojump_clock: trio.testing.MockClock) -> None:
    """A clock that went back, here or where the thing was before."""
    async with open_stage("a", "b") as (stage, _):
        far = 2**61
        registry = stage.cluster.nodes["b"].registry
        assert registry.bind(THING, far, Port("edge", "from the future", Outlet()))[0]
        await stage.bound(THING, node="b")
        assert epoch_of(stage.cluster.nodes["b"].registry, THING) == far + 1


# -- keep-alive


async def test_a_device_that_never_answers_pings_stays(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No ping is sent at all (the double asserts it), and its own pings are enough."""
    async with open_stage() as (stage, _):
        device = await stage.bound(THING)
        await trio.sleep(600)
        assert device.main is not None
        assert len(device.main.pongs) > 10
        assert len(stage.cluster.nodes["node"].registry) == 1


async def test_silence_ends_the_main_socket(autojump_clock: trio.testing.MockClock) -> None:
    """90 s: more than a C device's 55 s and a Java device's 45."""
    async with open_stage() as (stage, _):
        device = await stage.bound(THING)
        device.pings = False  # but for one
        await trio.sleep(60)
        assert len(stage.cluster.nodes["node"].registry) == 1
        await trio.sleep(60)
        assert not len(stage.cluster.nodes["node"].registry)


# -- requests


def request(name: str, characteristic: int = Characteristic.SERVICE) -> Request:
    return Request(Method.POST, Entity(10, THING), characteristic, name)


@pytest.mark.parametrize(
    ("asked", "rows", "fields"),
    [
        (request("GetPropertySubscriptions"), (), ["edgeName", "pushType", "pushThreshold"]),
        (request("GetEventSubscriptions"), (), []),
        (request("UpdateSubscribedPropertyValues"), (), []),
        (request("SteamSensorFault", Characteristic.EVENT), (), []),
        (request("GetPropertySubscriptions", Characteristic.PROPERTY), (), []),
    ],
)
async def test_whatever_a_device_waits_for_is_answered(
    asked: Request, rows: tuple[()], fields: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    """Each unanswered request would block a thread of the device for 10 s."""
    async with open_stage() as (stage, _):
        device = await stage.bound(THING)
        response = await device.ask(asked)
        assert response.ok
        assert response.table.rows == rows
        assert [field.name for field in response.table.fields] == fields


async def test_values_that_we_do_not_know(autojump_clock: trio.testing.MockClock) -> None:
    """A property of a type that the codec has not: answered, and no reason to lose the device."""
    async with open_stage() as (stage, _):
        device = await stage.bound(THING)
        assert device.main is not None
        body = bytes.fromhex("0a01740201500005010176000400000000010001047fffffffffffffff00")
        await device.main.send(bytes.fromhex("01030000004d000000000000123400") + body)
        await trio.sleep(1)
        assert device.responses[77].ok


async def test_the_platforms_first_words(autojump_clock: trio.testing.MockClock) -> None:
    """A C application starts its own work when it hears NotifyPropertyUpdate after its bind."""
    async with open_stage(notify=True) as (stage, _):
        device = await stage.bound(THING)
        await trio.sleep(1)
        assert [each.name for each in device.requests] == ["NotifyPropertyUpdate"]
        assert device.requests[0].params is None


async def test_a_device_that_asks_and_does_not_read(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """Its answers are bounded: it is cut, and nobody else notices."""
    monkeypatch.setattr(dialogue, "MAX_OUTGOING", 10_000)
    async with open_stage(capacity=1000) as (stage, _):
        other = await stage.bound("Other")
        device = await logged_in(stage, THING)
        assert (await device.ask(Bind((THING,)))).ok
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await device.say(Said(request("GetPropertySubscriptions"), 1))
        assert (await other.ask(request("GetPropertySubscriptions"))).ok


@pytest.mark.parametrize("send", [b"\x02" + bytes(20), "text"], ids=["version", "text"])
async def test_nonsense_ends_the_socket(
    send: str | bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """And nothing but it."""
    async with open_stage() as (stage, _):
        device = await stage.bound(THING)
        assert device.main is not None
        await device.main.send(send)
        await trio.sleep(1)
        assert device.main.closed is not None
        await stage.bound(THING)


async def test_too_large_a_message(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody waits for its end."""
    async with open_stage() as (stage, _):
        device = await stage.bound(THING)
        assert device.main is not None
        with pytest.raises(trio.BrokenResourceError):
            await device.main.send(bytes(3 * 1024 * 1024))
        await trio.sleep(1)
        assert not len(stage.cluster.nodes["node"].registry)
