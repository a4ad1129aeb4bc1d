"""The main socket of our edge at a server that knows only AlwaysOn, and another configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from edge_tunnel import (
    ConfigError,
    LinkLost,
    LinkSettings,
    Notice,
    Secret,
    open_edge,
)
from edge_tunnel.alwayson.messages import (
    Auth,
    KeepAlive,
    Response,
    Status,
)
from edge_tunnel.alwayson.tunnels import service
from edge_tunnel.link.groups import open_plain_nursery
from tests.alwayson.connection_server import (
    KEY,
    ConnectionServer,
    TunnelSocket,
    connection_server,
)
from tests.alwayson.edge_bench import TID, bench, config_of, echo, target

# -- the main socket


async def test_bound() -> None:
    """AUTH, BIND with the session that the answer gave, and what the application sees."""
    async with bench(things=("pump-7", "gateway-7")) as on:
        assert on.device.bound == ["pump-7", "gateway-7"]
        assert on.edge.statistics().bound == ("gateway-7", "pump-7")
        assert on.edge.statistics().url == on.server.url


async def test_many_things() -> None:
    """1,200 names take several messages."""
    names = tuple(f"SteamSensor1-{number:04}" for number in range(1200))
    async with bench(things=names) as on:
        assert tuple(on.device.bound) == names


@pytest.mark.parametrize(
    ("protocol", "rejects", "offered"),
    [("auto", False, 1), ("auto", True, 2), ("alwayson", False, 1), ("alwayson", True, 1)],
)
async def test_what_is_offered_in_the_handshake(protocol: str, rejects: bool, offered: int) -> None:
    """Auto asks for ours first, and takes no for an answer, on the same connection or the next."""
    server = ConnectionServer()
    server.rejects_subprotocols = rejects
    with trio.fail_after(30):
        async with (
            connection_server(server),
            open_edge(config_of(server, protocol=protocol)) as edge,
        ):
            with edge.notices.subscribe() as notices:
                device = await server.device()
                said = [each async for each in _until(notices, "bound")]
    linked = next(each for each in said if each.event == "linked")
    assert linked["protocol"] == "alwayson"
    ours = "edge-tunnel.1" if protocol == "auto" and not rejects else ""
    assert device.headers["subprotocols"] == ours
    assert server.attempts == offered


async def _until(notices: trio.MemoryReceiveChannel[Notice], event: str) -> AsyncIterator[Notice]:
    async for each in notices:
        yield each
        if each.event == event:
            return


@pytest.mark.parametrize(
    "fields", [{"protocol": "edge-tunnel"}, {"end_to_end_encryption": "require"}]
)
async def test_ours_or_nothing(fields: dict[str, Any]) -> None:
    """Where only ours is allowed, or encryption between the ends, the key is not even shown."""
    server = ConnectionServer()
    link = LinkSettings(encrypted=False, retry_interval=0.1, retries=0)
    with trio.fail_after(30):
        async with connection_server(server):
            with pytest.raises(LinkLost, match="not an edge_tunnel node"):
                async with open_edge(config_of(server, link=link, **fields)):
                    await trio.sleep_forever()


async def test_alwayson_with_encryption_required() -> None:
    """They exclude each other, and that is said at once."""
    fields = {"protocol": "alwayson", "end_to_end_encryption": "require"}
    with pytest.raises(ConfigError, match="exclude each other"):
        async with open_edge(config_of(ConnectionServer(), **fields)):
            pass


async def test_a_wrong_key() -> None:
    """Refused, with a text; and tried again later, as a key may be made good."""
    with trio.fail_after(30):
        async with connection_server(ConnectionServer()) as server:
            wrong = config_of(server, app_key=Secret("wrong"))
            async with open_edge(wrong) as edge:
                with edge.notices.subscribe() as notices:
                    said = [each async for each in _until(notices, "link_refused")]
                    again = [each async for each in _until(notices, "link_refused")]
    assert "does not take this application key" in str(said[-1]["reason"])
    assert "wrong" not in str([*said, *again])


async def test_a_bind_that_is_refused() -> None:
    """By a server in which an old connection still holds the name: said, and asked again."""
    server = ConnectionServer()
    server.bind = Response(Status.CONFLICT, "already bound")
    with trio.fail_after(30):
        async with connection_server(server), open_edge(config_of(server)) as edge:
            with edge.notices.subscribe() as notices:
                said = [each async for each in _until(notices, "link_lost")]
                server.bind = Response()
                await edge.wait_bound()
    assert any(each.event == "bind_refused" and each["reason"] == "already bound" for each in said)
    assert "already bound" in str(said[-1]["reason"])


async def test_a_server_that_says_nothing() -> None:
    """It may be any WebSocket server: the line says what was asked."""
    server = ConnectionServer()
    server.silent = True
    link = LinkSettings(encrypted=False, connect_timeout=0.3, retries=0)
    with trio.fail_after(30):
        async with connection_server(server):
            with pytest.raises(LinkLost, match="no answer to AUTH"):
                async with open_edge(config_of(server, link=link)):
                    await trio.sleep_forever()


@pytest.mark.slow
async def test_a_silent_server_is_pinged_and_missed() -> None:
    """A half-open connection: no pong comes, and the edge dials again."""
    link = LinkSettings(encrypted=False, ping_interval=0.1, ping_timeout=0.3, retry_interval=0.1)
    async with bench(link=link) as on:
        await trio.sleep(0.5)  # pinged, answered: still there
        assert not on.events
        on.device.socket._stream_lock.acquire_nowait()  # it writes nothing any more
        lost = await on.event("link_lost")
        assert "silent for 0.4 s" in str(lost["reason"])
        assert (await on.server.device()).bound == ["device"]


async def test_a_lost_main_socket_costs_no_tunnel() -> None:
    """It is dialled again, bound again, and the tunnel goes on meanwhile."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port)
        on.device.scope.cancel()
        await on.event("link_lost")
        device = await on.server.device()
        assert device.bound == ["device"]
        await tunnel.send(b"still here")
        assert await tunnel.receive(10) == b"still here"
        assert (await device.start("device", "another", port)).ok


async def test_leaving() -> None:
    """Tunnels first, then UNBIND, then a closing handshake."""
    with trio.fail_after(30):
        async with (
            target(echo) as port,
            connection_server(ConnectionServer()) as server,
            open_plain_nursery() as nursery,
        ):
            async with open_edge(config_of(server, port)):
                device = await server.device()
                assert (await device.start("device", TID, port)).ok
                tunnel = await server.tunnel()
                await tunnel.send(b"x")
                assert await tunnel.receive(1) == b"x"
                nursery.start_soon(_closed_by, tunnel, 1001)
            await device.wait_for(lambda: device.unbound == ["device"])
            await device.over.wait()
            assert device.socket.closed.code == 1000


async def _closed_by(tunnel: TunnelSocket, code: int) -> None:
    assert (await tunnel.closed())[0] == code


# -- another configuration


async def test_what_is_taken_off_the_list_ends() -> None:
    """At once, with a reset on both sides; what stays on it goes on."""
    async with target(echo) as one, target(echo) as two, bench(one, two) as on:
        gone, stays = await on.open(one, "one"), await on.open(two, "two")
        on.edge.reconfigure(config_of(on.server, two))
        assert await gone.closed() == (1011, "the device offers it no longer")
        await stays.send(b"x")
        assert await stays.receive(1) == b"x"


async def test_other_things() -> None:
    """Bound and unbound on the same socket."""
    async with bench() as on:
        on.edge.reconfigure(config_of(on.server, things=("new",)))
        await on.edge.wait_bound()
        assert on.device.bound == ["device", "new"]
        assert on.device.unbound == ["device"]
        assert on.edge.statistics().bound == ("new",)
        assert (await on.device.call(service("device", "x"))).why == "Thing [device] Does Not Exist"


async def test_another_server() -> None:
    """It is left for the new one; tunnels go on where they are."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port)
        async with connection_server(ConnectionServer()) as other:
            on.edge.reconfigure(config_of(other, port))
            assert (await other.device()).bound == ["device"]
            await on.edge.wait_bound()
            assert on.edge.statistics().url == other.url
            assert (await on.event("link_lost"))["reason"] == "the endpoint was configured anew"
            await tunnel.send(b"x")
            assert await tunnel.receive(1) == b"x"


async def test_a_configuration_that_cannot_be() -> None:
    """Nothing changes."""
    async with bench() as on:
        bad = dataclasses.replace(
            on.edge.config, protocol="alwayson", end_to_end_encryption="require"
        )
        with pytest.raises(ConfigError):
            on.edge.reconfigure(bad)
        assert on.edge.statistics().bound == ("device",)


def test_auth_shows_no_key() -> None:
    """In whatever is printed of it."""
    assert KEY not in repr(Auth((("appKey", KEY),)))
    assert KeepAlive() == KeepAlive()
