"""proxy/guard.py and permit.py: what a node asks of its authority, when, and what follows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from edge_tunnel import Reason, StreamRefused, TunnelEnded, open_edge, open_remote
from edge_tunnel.access.rights import (
    Authority,
    Credentials,
    Denial,
    Grant,
    Principal,
    ServiceOffer,
)
from edge_tunnel.config.model import EdgeConfig, Service
from edge_tunnel.config.secret import Secret
from edge_tunnel.edge.edge import Edge
from edge_tunnel.edge.offered import Offered
from edge_tunnel.link.notices import Notice
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol import frames
from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Bye,
    Close,
    Detached,
    Services,
    Unbound,
    Welcome,
)
from edge_tunnel.protocol.tunnel import RESUME_TIMEOUT
from edge_tunnel.proxy.permit import Permit
from edge_tunnel.remote.remote import Remote
from edge_tunnel.testing.cluster import Cluster, open_cluster
from edge_tunnel.testing.transports import transport_pair
from tests.conftest import echo
from tests.proxy.test_node import TUNNEL, Peer, attach, attached, hello

NO = Denial(reason=Reason.NOT_AUTHORISED, text="the policy does not allow it")


class Rules(Authority):
    """One for all nodes, changed by tests as an administrator would. Keys are names."""

    def __init__(self) -> None:
        self.grants: dict[tuple[str, str, str], Grant] = {}  # user, thing, service
        self.things: dict[str, set[str]] = {"device": {"t"}}  # of an edge
        self.revoked: set[str] = set()
        self.tickets = {"ticket": "alice"}
        self.named: tuple[ServiceOffer, ...] = ()
        self.starts: dict[bytes, float] = {}
        self.unready: str | None = None
        self._told: list[Callable[[], None]] = []  # one of each node

    async def admit(self, credentials: Credentials) -> Principal | Denial:
        await trio.lowlevel.checkpoint()
        key = credentials.key
        user = self.tickets.pop(key, None)
        if user is not None:
            return Principal(role="remote", name=user, via="ticket", session=f"session of {user}")
        who = Principal(
            role=credentials.role, name=key.removeprefix("session of "), via=f"key {key}"
        )
        known = {user for user, _, _ in self.grants} | {*self.things}
        if self.still(who) is not None or who.name not in known:
            return Denial(reason=Reason.NOT_AUTHORISED, text="the key is not accepted here")
        return who

    def why_not_ready(self) -> str | None:
        return self.unready

    def still(self, principal: Principal) -> Denial | None:
        return NO if principal.name in self.revoked else None

    def may_bind(self, principal: Principal, thing: str) -> Denial | None:
        return None if thing in self.things.get(principal.name, ()) else NO

    def judge(self, principal: Principal, thing: str, service: str) -> Grant | Denial:
        return self.grants.get((principal.name, thing, service), NO)

    def may_see(self, principal: Principal, thing: str) -> bool:
        return any((user, seen) == (principal.name, thing) for user, seen, _ in self.grants)

    def offers(self, thing: str) -> tuple[ServiceOffer, ...]:  # noqa: ARG002
        return self.named

    def began(self, tunnel: bytes, now: float) -> float:
        return self.starts.setdefault(tunnel, now)

    # what an administrator does

    def allow(self, user: str, **limits: Any) -> None:
        self.grants[user, "t", "ssh"] = Grant(**limits)

    def tell(self) -> None:
        for told in self._told:
            told()

    @property
    def on_change(self) -> Callable[[], None]:
        return self.tell

    @on_change.setter
    def on_change(self, told: Callable[[], None]) -> None:
        self._told.append(told)


@asynccontextmanager
async def ruled(*names: str) -> AsyncIterator[tuple[Cluster, Rules]]:
    rules = Rules()
    rules.allow("alice")
    with trio.fail_after(100_000):
        async with open_cluster(*names, authority=lambda: rules) as cluster:
            for node in cluster.nodes.values():
                node.traffic.guard._clock = trio.current_time
            yield cluster, rules


class _MemConfig(EdgeConfig):
    def urls(self) -> tuple[str, ...]:
        return ("mem://a",)


def config(key: str = "device", **more: Any) -> EdgeConfig:
    return _MemConfig(servers=(), app_key=Secret(key), things=("t",), **more)


@asynccontextmanager
async def ends(
    cluster: Cluster, key: str = "alice", urls: tuple[str, ...] = ("mem://a",)
) -> AsyncIterator[tuple[Edge, Remote]]:
    async with (
        open_edge(config(), {"ssh": echo}, dial=cluster.dial_as("edge")) as edge,
        open_remote(urls, key, dial=cluster.dial_as("remote")) as remote,
    ):
        await edge.wait_bound()
        yield edge, remote


async def exchange(stream: TunnelStream, data: bytes = b"x" * 1000) -> None:
    await stream.send_all(data)
    back = b""
    while len(back) < len(data):
        back += await stream.receive_some()
    assert back == data


async def broken(stream: TunnelStream) -> str:
    """Wait until the stream is reset; why."""
    with pytest.raises(trio.BrokenResourceError) as caught:
        while await stream.receive_some():
            pass
    return str(caught.value.__cause__)


async def greeted(cluster: Cluster, role: str, key: str, *features: str) -> Peer:
    """An endpoint of node a, played by the test, that has said HELLO."""
    near, far = transport_pair()
    cluster._nursery.start_soon(cluster.nodes["a"].talk, far)
    peer = Peer(near)
    await peer.say(hello(role, key=key)._replace(features=features))
    return peer


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


# -- rights that change while something lives


@pytest.mark.parametrize("node", ["a", "b"])
async def test_a_right_that_is_taken_ends_what_it_carried(
    autojump_clock: object, node: str
) -> None:
    """Both ends of the tunnel are reset; one whose right stands goes on."""
    async with ruled("a", "b") as (cluster, rules):
        rules.allow("bob")
        async with (
            ends(cluster, "alice", (f"mem://{node}",)) as (edge, alice),
            open_remote(("mem://b",), "bob", dial=cluster.dial_as("bob")) as bob,
        ):
            hers, his = await alice.open_stream("t", "ssh"), await bob.open_stream("t", "ssh")
            await exchange(hers)
            del rules.grants["alice", "t", "ssh"]
            rules.tell()
            assert NO.text in await broken(hers)
            await exchange(his)
            assert len(edge.tunnels) == 1


async def test_a_revoked_key_ends_its_links(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules):
        remote = await greeted(cluster, "remote", "alice")
        assert isinstance(await remote.hear(), Welcome)
        rules.revoked.add("alice")
        rules.tell()
        assert await remote.hear() == Bye(NO.reason, NO.text, 0)


async def test_a_device_that_may_serve_a_thing_no_longer(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules), ends(cluster) as (edge, remote):
        notices: list[Notice] = []
        edge.notices.call(notices.append)
        remote.notices.call(notices.append)
        stream = await remote.open_stream("t", "ssh")
        rules.things["device"].clear()
        rules.tell()
        assert cluster.nodes["a"].registry.locate("t") is None
        rules.things["device"].add("t")  # the edge asks again, after a while
        await exchange(stream)
        waits = {each.event: each["reason"] for each in notices if "detached" in each.event}
        assert waits == {
            "tunnel_detached": NO.text,
            "detached": "the device may not serve this thing any more",
        }


async def test_a_device_that_may_never_again(autojump_clock: object) -> None:
    """Both ends wait as for any link that was lost, and nobody for ever."""
    async with ruled("a") as (cluster, rules), ends(cluster) as (edge, remote):
        stream = await remote.open_stream("t", "ssh")
        rules.things["device"].clear()
        rules.tell()
        with trio.fail_after(2 * RESUME_TIMEOUT):
            assert "detached for 120 s" in await broken(stream)
        await trio.sleep(1)
        assert edge.link is not None
        assert not (edge.tunnels or remote.tunnels or len(cluster.nodes["a"].routes))


async def edge_and_alice(cluster: Cluster) -> tuple[Peer, Peer]:
    """Both played by the test, with one tunnel."""
    edge = await greeted(cluster, "edge", "device")
    remote = await greeted(cluster, "remote", "alice")
    for each in (edge, remote):
        assert isinstance(await each.hear(), Welcome)
    await edge.say(Bind("t", 1))
    assert await edge.hear() == Bound("t", 1)
    await remote.say(attach(1))
    assert await edge.hear() == attach(1)
    await edge.say(attached(1))
    assert await remote.hear() == attached(1)
    return edge, remote


async def test_a_refused_bind_takes_the_older_one_with_it(autojump_clock: object) -> None:
    """UNBOUND says that the link does not hold the thing: that has to be so, for tunnels too."""
    async with ruled("a") as (cluster, rules):
        edge, remote = await edge_and_alice(cluster)
        rules.things["device"].clear()  # and nobody tells the node
        await edge.say(Bind("t", 2))
        assert await edge.hear() == Unbound("t", 0, NO.reason, NO.text)
        told = await remote.hear()
        assert isinstance(told, Detached)
        assert cluster.nodes["a"].registry.locate("t") is None


async def test_a_refused_resume_is_the_end(autojump_clock: object) -> None:
    """The edge's link was lost, and the remote may attach no more: no end of it is left."""
    async with ruled("a") as (cluster, rules):
        edge, remote = await edge_and_alice(cluster)
        edge.transport.cut()
        assert isinstance(await remote.hear(), Detached)
        rules.grants.clear()  # and nobody tells the node
        await remote.say(attach(2, fresh=False))
        assert await remote.hear() == Close(TUNNEL, 0, 2, NO.reason, NO.text)
        assert len(cluster.nodes["a"].routes) == 0


async def test_a_node_that_does_not_understand_the_policy_ends_nothing_for_it(
    autojump_clock: object,
) -> None:
    """It is not ready for anything new; a key that is revoked ends its links all the same."""
    async with ruled("a") as (cluster, rules), ends(cluster) as (_, remote):
        stream = await remote.open_stream("t", "ssh")
        rules.unready = "policy 2 is not understood here"
        rules.grants.clear()
        rules.tell()
        await exchange(stream)
        newcomer = await greeted(cluster, "remote", "alice")
        assert await newcomer.hear() == Bye(Reason.TOO_MANY, rules.unready, 0)
        rules.revoked.add("alice")
        rules.tell()
        await broken(stream)


async def test_an_answer_is_asked_for_again_when_a_rule_ends(autojump_clock: object) -> None:
    """The right goes on with what the other rules say, or ends."""
    async with ruled("a") as (cluster, rules):
        rules.allow("alice", review=trio.current_time() + 100)
        async with ends(cluster) as (_, remote):
            stream = await remote.open_stream("t", "ssh")
            rules.allow("alice", review=trio.current_time() + 200)  # nobody tells the node
            await trio.sleep(150)
            await exchange(stream)
            rules.grants.clear()
            with trio.fail_after(100):
                assert NO.text in await broken(stream)


# -- how far a right goes


@pytest.mark.parametrize("how", ["cut", "kill"])
async def test_a_session_ends_when_it_is_over(autojump_clock: object, how: str) -> None:
    """A resume does not make it longer, at the same node or another."""
    async with ruled("a", "b") as (cluster, rules):
        rules.allow("alice", session=300.0)
        urls = ("mem://a",) if how == "cut" else ("mem://b", "mem://a")
        async with ends(cluster, "alice", urls) as (_, remote):
            with remote.notices.subscribe() as events:
                start = trio.current_time()
                stream = await remote.open_stream("t", "ssh")
                while (notice := await anext(events)).event != "granted":
                    pass
                assert notice["seconds"] == pytest.approx(300, abs=1)
                await trio.sleep(150)
                if how == "cut":
                    cluster.cut("remote")
                else:
                    cluster.kill("b")
                await exchange(stream)
                assert "session" in await broken(stream)
                assert trio.current_time() - start == pytest.approx(300, abs=3)


async def test_idle_is_without_a_byte(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules):
        rules.allow("alice", idle=60.0)
        async with ends(cluster) as (_, remote):
            stream = await remote.open_stream("t", "ssh")
            for _ in range(5):
                await trio.sleep(50)
                await exchange(stream)
            assert "no byte for 60 s" in await broken(stream)


async def test_tunnels_at_once_and_a_minute(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules):
        for service in "123456789":
            rules.grants["alice", "t", service] = Grant(max_tunnels=3, tunnels_per_minute=4)
        rules.things["device"].add("t")
        services = dict.fromkeys("123456789", echo)
        async with (
            open_edge(config(), services, dial=cluster.dial_as("edge")) as edge,
            open_remote(("mem://a",), "alice", dial=cluster.dial_as("remote")) as remote,
        ):
            await edge.wait_bound()
            tunnels = [await remote.open_tunnel("t", service) for service in "123"]
            with pytest.raises(TunnelEnded, match="3 tunnels at once"):
                await remote.open_tunnel("t", "4")
            cluster.cut("remote")  # a resume is no new tunnel
            await trio.sleep(10)
            assert not any(tunnel.closed for tunnel in tunnels)
            await remote.close_tunnel(tunnels[0], linger=0)
            await remote.open_tunnel("t", "5")
            await remote.close_tunnel(tunnels[1], linger=0)
            with pytest.raises(TunnelEnded, match="4 new tunnels a minute"):
                await remote.open_tunnel("t", "6")
            await trio.sleep(61)
            await remote.open_tunnel("t", "7")
        await trio.sleep(120)
        guard = cluster.nodes["a"].traffic.guard
        assert not guard._tunnels and not guard._opened, "who left is not remembered"


async def test_streams_at_once(autojump_clock: object) -> None:
    """The remote knows its limit, and streams that are over count no more."""
    async with ruled("a") as (cluster, rules):
        rules.allow("alice", max_streams=2)
        async with ends(cluster) as (_, remote):
            for _ in range(3):
                one, two = [await remote.open_stream("t", "ssh") for _ in "12"]
                with pytest.raises(StreamRefused, match="2 streams at once"):
                    await remote.open_stream("t", "ssh")
                await exchange(one)
                await one.send_eof()
                assert await one.receive_some() == b""
                two.abort()
                await trio.sleep(5)


async def test_a_remote_that_opens_more_loses_its_tunnel(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules):
        rules.allow("alice", max_streams=2)
        async with ends(cluster) as (_, remote):
            stream = await remote.open_stream("t", "ssh")
            cluster.cut("remote")  # the next link's node is told which streams there are
            await exchange(stream)
            next(iter(remote.tunnels.values())).max_streams = 100  # type: ignore[attr-defined]
            for _ in "12":
                await remote.open_stream_early("t", "ssh")
            assert "2 streams at once" in await broken(stream)


async def test_a_ticket_lives_on_as_a_session(autojump_clock: object) -> None:
    """It is good for one greeting; a link that is lost afterwards costs nothing."""
    async with ruled("a") as (cluster, _), ends(cluster, "ticket") as (_, remote):
        stream = await remote.open_stream("t", "ssh")
        cluster.cut("remote")
        await exchange(stream)
        again = await greeted(cluster, "remote", "ticket")
        assert isinstance(await again.hear(), Bye)


@pytest.mark.parametrize("role", ["edge", "remote"])
async def test_grants_and_offers_come_from_nodes_alone(autojump_clock: object, role: str) -> None:
    async with ruled("a") as (cluster, _):
        for frame in (frames.Grant(TUNNEL, 0, 1, 0, 0, "t"), Services("t", ())):
            peer = await greeted(cluster, role, "device" if role == "edge" else "alice")
            assert isinstance(await peer.hear(), Welcome)
            await peer.say(frame)
            answer = await peer.hear()
            assert isinstance(answer, Bye) and answer.reason == Reason.PROTOCOL_ERROR


async def test_who_does_not_know_of_grants_is_not_sent_them(autojump_clock: object) -> None:
    async with ruled("a") as (cluster, rules):
        rules.allow("alice", session=60.0)
        rules.named = (ServiceOffer(name="ssh", host="127.0.0.1", port=22),)
        offer = frames.ServiceOffer("ssh", "127.0.0.1", 22)
        for features in ((), ("grants", "services")):
            edge = await greeted(cluster, "edge", "device", *features)
            remote = await greeted(cluster, "remote", "alice", *features)
            assert isinstance(await edge.hear(), Welcome)
            assert isinstance(await remote.hear(), Welcome)
            await edge.say(Bind("t", len(features) + 1))
            assert isinstance(await edge.hear(), Bound)
            if features:
                assert await edge.hear() == Services("t", (offer,))
            await remote.say(attach(len(features) + 1))
            if features:
                assert await remote.hear() == frames.Grant(TUNNEL, 0, 3, 0, 60_000, "")
            assert await edge.hear() == attach(len(features) + 1)
            await edge.say(attached(len(features) + 1))
            assert await remote.hear() == attached(len(features) + 1)


@pytest.mark.parametrize("key", ["alice", "ticket"])
async def test_the_policy_names_a_device_before_it_was_seen(
    autojump_clock: object, key: str
) -> None:
    """At the first use; what a remote knows already, a node cannot change."""
    other = "SHA256:" + "A" * 43
    async with ruled("a") as (cluster, rules):
        rules.allow("alice", fingerprint=other)
        async with ends(cluster, key) as (edge, remote):
            with pytest.raises(TunnelEnded, match="the policy names SHA256:AAA") as caught:
                await remote.open_stream("t", "ssh")
            assert caught.value.reason is Reason.IDENTITY
            rules.allow("alice", fingerprint=edge.fingerprint)
            await exchange(await remote.open_stream("t", "ssh"))
            await remote.close_tunnel(next(iter(remote.tunnels.values())), linger=0)  # type: ignore[arg-type]
            rules.allow("alice", fingerprint=other)
            await exchange(await remote.open_stream("t", "ssh"))


# -- the device has the last word


async def read_until_reset(stream: trio.SocketStream) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()


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
