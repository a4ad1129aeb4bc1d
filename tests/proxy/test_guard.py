"""proxy/guard.py and permit.py: what a node asks of its authority, when, and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from edge_tunnel import Reason, TunnelEnded, open_edge, open_remote
from edge_tunnel.access.rights import (
    Grant,
    Principal,
    ServiceOffer,
)
from edge_tunnel.config.model import Service
from edge_tunnel.edge.offered import Offered
from edge_tunnel.protocol import frames
from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Bye,
    Close,
    Services,
    Unbound,
    Welcome,
)
from edge_tunnel.proxy.permit import Permit
from tests.proxy.peers import TUNNEL, attach, attached
from tests.proxy.rules import NO, broken, config, ends, exchange, greeted, ruled

# -- who gets in, and what for


async def test_a_stranger_is_told_so(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, _):
        answer = await (await greeted(cluster, "remote", "mallory")).hear()
        assert answer == Bye(Reason.NOT_AUTHORISED, "the key is not accepted here", 0)


async def test_an_edge_binds_its_own_things_alone(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, _):
        edge = await greeted(cluster, "edge", "device")
        assert isinstance(await edge.hear(), Welcome)
        await edge.say(Bind("another", 5), Bind("t", 5))
        assert await edge.hear() == Unbound("another", 0, NO.reason, NO.text)
        assert await edge.hear() == Bound("t", 5)
        assert cluster.nodes["a"].registry.locate("another") is None


@pytest.mark.parametrize("node", ["a", "b"])
async def test_default_is_no(autojump_clock: object, node: str) -> None:
    """A right to one service is none to another, on the thing's node as over a hop."""
    async with ruled("a", "b") as (cluster, rules):
        rules.grants["bob", "other", "ssh"] = Grant()
        async with ends(cluster, "bob", (f"mem://{node}",)) as (edge, remote):
            with pytest.raises(TunnelEnded) as caught:
                await remote.open_stream("t", "ssh")
            assert caught.value.reason is Reason.NOT_AUTHORISED
            assert not edge.tunnels


async def test_a_resume_is_judged_as_the_first_attach(autojump_clock: object) -> None:
    async with ruled("a", "b") as (cluster, rules), ends(cluster) as (_, remote):
        stream = await remote.open_stream("t", "ssh")
        await exchange(stream)
        del rules.grants["alice", "t", "ssh"]
        rules.grants["alice", "elsewhere", "ssh"] = Grant()  # she is still somebody
        cluster.cut("remote")
        assert NO.text in await broken(stream)


async def test_the_tunnel_id_of_somebody_else_is_worth_nothing(autojump_clock: object) -> None:
    """Not even for one who has the same rights: as if there was none. The edge hears nothing."""
    async with ruled("a") as (cluster, rules):
        rules.allow("bob")
        edge, remote, thief = [
            await greeted(cluster, role, key)
            for role, key in (("edge", "device"), ("remote", "alice"), ("remote", "bob"))
        ]
        for each in (edge, remote, thief):
            assert isinstance(await each.hear(), Welcome)
        await edge.say(Bind("t", 1))
        assert await edge.hear() == Bound("t", 1)
        await remote.say(attach(1))
        assert await edge.hear() == attach(1)
        await edge.say(attached(1))
        assert await remote.hear() == attached(1)
        await thief.say(attach(9, fresh=False))
        assert await thief.hear() == Close(TUNNEL, 0, 9, Reason.UNKNOWN_TUNNEL, "")
        assert await edge.silent() and await remote.silent()


async def test_an_attach_that_waited_is_judged_when_its_thing_comes(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules):
        remote = await greeted(cluster, "remote", "alice")
        assert isinstance(await remote.hear(), Welcome)
        await remote.say(attach(2, fresh=False))
        assert await remote.silent()
        rules.grants.clear()
        edge = await greeted(cluster, "edge", "device")
        assert isinstance(await edge.hear(), Welcome)
        await edge.say(Bind("t", 1))
        assert await edge.hear() == Bound("t", 1)
        assert await remote.hear() == Close(TUNNEL, 0, 2, NO.reason, NO.text)
        assert await edge.silent()


async def read_until_reset(stream: trio.SocketStream) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()


# -- the device has the last word


async def test_a_device_without_a_list_takes_the_policys(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        cluster._nursery.start_soon(trio.serve_listeners, read_until_reset, listeners)
        rules.named = (ServiceOffer(name="ssh", host="127.0.0.1", port=port),)
        async with (
            open_edge(config(), dial=cluster.dial_as("edge")) as edge,
            open_remote(("mem://a",), "alice", dial=cluster.dial_as("remote")) as remote,
        ):
            await edge.wait_bound()
            stream = await remote.open_stream("t", "ssh")
            rules.named = (ServiceOffer(name="other", host="127.0.0.1", port=port),)
            rules.tell()
            assert "offers it no longer" in await broken(stream)


def test_a_node_cannot_widen_the_list() -> None:
    here = Service(name="ssh", host="127.0.0.1", port=22)
    there = ("10.0.0.5", "plc.local", "0.0.0.0", "127.0.0.1.evil.example", "169.254.1.1", "")
    named = tuple(frames.ServiceOffer(f"s{n}", host, 80) for n, host in enumerate(there))
    loopback = frames.ServiceOffer("web", "::1", 80)
    listed, empty = Offered({"ssh": here}, {}), Offered({}, {})
    for offered in (listed, empty):
        offered.policy(Services("t", (*named, loopback, frames.ServiceOffer("ssh", "::1", 2222))))
    assert listed.names("t") == ["ssh"] and listed.find("t", "ssh") is here
    assert empty.names("t") == ["ssh", "web"]
    assert empty.names("another") == []


# -- permits


def test_the_first_of_all_ends() -> None:
    who = Principal(role="remote", name="alice", via="key", until=500.0)
    grant = Grant(until=400.0, session=250.0)
    assert Permit(who, grant, 100.0, 0.0).ends == 350.0
    assert Permit(who, replace(grant, session=None), 100.0, 0.0).ends == 400.0
    assert Permit(who, Grant(), 100.0, 0.0).ends == 500.0
    assert Permit(replace(who, until=None), Grant(), 0.0, 0.0).ends == float("inf")
