"""How far a right goes: time, silence, tunnels and streams."""

from __future__ import annotations

import pytest
import trio

from edge_tunnel import Reason, StreamRefused, TunnelEnded, open_edge, open_remote
from edge_tunnel.access.rights import (
    Grant,
    ServiceOffer,
)
from edge_tunnel.protocol import frames
from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Bye,
    Services,
    Welcome,
)
from tests.conftest import echo
from tests.proxy.peers import TUNNEL, attach, attached
from tests.proxy.rules import broken, config, ends, exchange, greeted, ruled


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
