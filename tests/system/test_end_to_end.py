"""End-to-end encryption between real ends, with nodes that read, lie, or are too old for it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from edge_tunnel import (
    Edge,
    EdgeConfig,
    Identity,
    KnownThings,
    Node,
    Notice,
    Reason,
    Remote,
    TunnelEnded,
    open_edge,
    open_remote,
)
from edge_tunnel.link import endpoint
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Attach, Attached, Close, End, Kind, Welcome
from edge_tunnel.protocol.proof import attach_proof
from edge_tunnel.proxy.port import Port
from edge_tunnel.testing.cluster import KEY, Cluster, open_cluster
from tests.conftest import echo, mem_config

IDENTITY = Identity()
SECRET = b"nobody but the two ends can read this"


@asynccontextmanager
async def an_edge(
    cluster: Cluster, identity: Identity = IDENTITY, policy: str = "allow"
) -> AsyncIterator[Edge]:
    config: EdgeConfig = mem_config(*cluster.nodes, end_to_end_encryption=policy)
    dial = cluster.dial_as("edge")
    async with open_edge(config, {"echo": echo}, identity=identity, dial=dial) as edge:
        await edge.wait_bound()
        yield edge


@asynccontextmanager
async def a_remote(
    cluster: Cluster, *nodes: str, encryption: bool = True, known: KnownThings | None = None
) -> AsyncIterator[Remote]:
    async with open_remote(
        [f"mem://{name}" for name in nodes or cluster.nodes],
        KEY,
        dial=cluster.dial_as("remote"),
        encryption=encryption,
        known_things=known,
    ) as remote:
        yield remote


@asynccontextmanager
async def ends(*nodes: str) -> AsyncIterator[tuple[Cluster, Remote]]:
    with trio.fail_after(200):
        async with open_cluster(*nodes) as cluster, an_edge(cluster), a_remote(cluster) as remote:
            yield cluster, remote


async def ask(remote: Remote, data: bytes = SECRET) -> bytes:
    """What the echo service makes of it."""
    stream = await remote.open_stream("device", "echo")
    await stream.send_all(data)
    await stream.send_eof()
    return b"".join([bytes(part) async for part in stream])


async def refusal(remote: Remote) -> TunnelEnded:
    with pytest.raises(TunnelEnded) as caught:
        await remote.open_tunnel("device", "echo")
    return caught.value


Change = Callable[[bytes], bytes]


def break_into(node: Node, change: Change) -> None:
    """From now on the node passes on what `change` makes of each message."""
    honest = node.traffic.on_message

    def on_message(port: Port, message: bytes) -> None:
        honest(port, change(message))

    node.traffic.on_message = on_message  # type: ignore[method-assign]


async def test_a_node_reads_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Whatever passes it, the bytes of the user are not in it; without encryption they are."""
    seen: list[bytes] = []
    with trio.fail_after(200):
        async with open_cluster() as cluster:
            break_into(cluster.nodes["node"], lambda message: seen.append(message) or message)  # type: ignore[func-returns-value]
            async with an_edge(cluster):
                async with a_remote(cluster) as remote:
                    assert await ask(remote) == SECRET
                assert sum(message[1] == Kind.DATA for message in seen) == 2
                assert not any(SECRET[:8] in message for message in seen)
                async with a_remote(cluster, encryption=False) as remote:
                    assert await ask(remote) == SECRET
                assert any(SECRET in message for message in seen)


def other_bytes(message: bytes) -> bytes:
    """One bit of the user's bytes."""
    return message[:-20] + bytes([message[-20] ^ 1]) + message[-19:]


def shorter_end(message: bytes) -> bytes:
    frame = decode(message)
    assert isinstance(frame, End)
    return encode(frame._replace(offset=0))


@pytest.mark.parametrize(
    ("kind", "change"), [(Kind.DATA, other_bytes), (Kind.END, shorter_end)], ids=["DATA", "END"]
)
async def test_a_node_changes_nothing(
    kind: Kind, change: Change, autojump_clock: trio.testing.MockClock
) -> None:
    """The user's stream breaks; no wrong byte and no early end gets to either side."""

    def evil(message: bytes) -> bytes:
        return change(message) if message[1] == kind else message

    with trio.fail_after(200):
        async with open_cluster() as cluster:
            break_into(cluster.nodes["node"], evil)
            async with an_edge(cluster), a_remote(cluster) as remote:
                stream = await remote.open_stream("device", "echo")
                got = b""
                with pytest.raises(trio.BrokenResourceError) as caught:
                    await stream.send_all(SECRET)
                    await stream.send_eof()
                    while True:
                        part = await stream.receive_some()
                        assert part, "an end that nobody meant"
                        got += part
                assert got in (b"", SECRET)
                assert "changed on its way" in str(caught.value.__cause__)


async def test_a_node_that_takes_the_offer_out(autojump_clock: trio.testing.MockClock) -> None:
    """It opens a tunnel of its own to the edge instead: the remote takes no such answer."""

    def downgrade(message: bytes) -> bytes:
        if message[1] not in (Kind.ATTACH, Kind.ATTACHED):
            return message
        frame = decode(message)
        if isinstance(frame, Attach):
            plain = frame._replace(offer=b"", secret=bytes(32))
            return encode(plain._replace(proof=attach_proof(bytes(32), plain)))
        assert isinstance(frame, Attached)
        return message

    with trio.fail_after(200):
        async with open_cluster() as cluster:
            break_into(cluster.nodes["node"], downgrade)
            async with an_edge(cluster) as edge, a_remote(cluster) as remote:
                error = await refusal(remote)
                assert error.reason is Reason.ENCRYPTION
                await trio.testing.wait_all_tasks_blocked()
                assert not edge.statistics().streams


async def test_a_node_that_does_not_know_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """The remote's own node is too old, or says so: nothing is opened, and it is named."""
    with trio.fail_after(200):
        async with open_cluster() as cluster, an_edge(cluster):
            door = cluster.nodes["node"]._reception
            honest = door._agree

            def old(hello: object) -> object:
                answer = honest(hello)  # type: ignore[arg-type]
                assert isinstance(answer, Welcome)
                return answer._replace(features=("drain",))

            monkeypatch.setattr(door, "_agree", old)
            async with a_remote(cluster) as remote:
                error = await refusal(remote)
                assert error.reason is Reason.ENCRYPTION
                assert "mem://node is too old" in str(error)
            async with a_remote(cluster, encryption=False) as remote:
                assert await ask(remote) == SECRET


async def test_an_edge_that_does_not_know_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """It would not understand the ATTACH: the node says so instead of sending it."""
    with trio.fail_after(200):
        async with open_cluster("a", "b") as cluster:
            with monkeypatch.context() as patch:
                patch.setattr(endpoint, "FEATURES", ("drain",))
                edge = an_edge(cluster)
                await edge.__aenter__()
            for name in ("a", "b"):  # the edge's own node, and by a hop
                async with a_remote(cluster, name) as remote:
                    error = await refusal(remote)
                    assert error.reason is Reason.ENCRYPTION
                    assert "edge_tunnel of device is too old" in str(error)
                async with a_remote(cluster, name, encryption=False) as remote:
                    assert await ask(remote) == SECRET
            await edge.__aexit__(None, None, None)


async def test_a_node_on_the_way_that_does_not_know_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """The edge's node is older than the remote's: before and after the hop is greeted."""
    with trio.fail_after(200):
        async with open_cluster("a", "b") as cluster, an_edge(cluster):
            hops = cluster.nodes["a"].hops
            assert hops is not None
            honest = hops._answer

            def old(join: object, names: object) -> object:
                answer = honest(join, names)  # type: ignore[arg-type]
                assert isinstance(answer, Welcome)
                return answer._replace(features=("drain",))

            monkeypatch.setattr(hops, "_answer", old)
            async with a_remote(cluster, "b") as remote:
                for _ in range(2):
                    error = await refusal(remote)
                    assert error.reason is Reason.ENCRYPTION
                    assert "node a is too old" in str(error)
                assert len(cluster.lines_between("a", "b")) == 1, "the hop stands"
            async with a_remote(cluster, "b", encryption=False) as remote:
                assert await ask(remote) == SECRET


@pytest.mark.parametrize(
    ("policy", "encryption", "reason"),
    [
        ("allow", True, None),
        ("allow", False, None),
        ("require", True, None),
        ("require", False, Reason.REFUSED_BY_DEVICE),
        ("off", True, Reason.ENCRYPTION),
        ("off", False, None),
    ],
)
async def test_the_device_has_the_last_word(
    policy: str, encryption: bool, reason: Reason | None, autojump_clock: trio.testing.MockClock
) -> None:
    """What the device is configured to, and what a remote that wants the other is told."""
    with trio.fail_after(200):
        async with (
            open_cluster() as cluster,
            an_edge(cluster, policy=policy),
            a_remote(cluster, encryption=encryption) as remote,
        ):
            if reason is None:
                assert await ask(remote) == SECRET
            else:
                error = await refusal(remote)
                assert error.reason is reason
                assert "encryption" in str(error)


@pytest.mark.parametrize(
    ("policy", "encryption", "reason"),
    [("require", False, Reason.REFUSED_BY_DEVICE), ("off", True, Reason.ENCRYPTION)],
)
async def test_the_device_changes_its_mind(
    policy: str, encryption: bool, reason: Reason, autojump_clock: trio.testing.MockClock
) -> None:
    """Configured anew, it ends the tunnels that it would not take any more, and no others."""
    with trio.fail_after(200):
        async with (
            open_cluster() as cluster,
            an_edge(cluster) as edge,
            a_remote(cluster, encryption=encryption) as one,
            a_remote(cluster, encryption=not encryption) as other,
        ):
            stream = await one.open_stream("device", "echo")
            tunnel = await one.open_tunnel("device", "echo")
            good = await other.open_tunnel("device", "echo")
            edge.reconfigure(dataclasses.replace(edge.config, end_to_end_encryption=policy))
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            assert tunnel.closed
            assert tunnel.closed.reason is reason
            assert not good.closed


async def test_another_device_under_the_name(autojump_clock: trio.testing.MockClock) -> None:
    """It is not talked to until it is forgotten; the right one is, also after a restart."""
    known = KnownThings()
    with trio.fail_after(500):
        async with open_cluster() as cluster, a_remote(cluster, known=known) as remote:
            for _ in range(2):
                async with an_edge(cluster):
                    assert await ask(remote) == SECRET
            impostor = Identity()
            async with an_edge(cluster, impostor) as edge:
                error = await refusal(remote)
                assert error.reason is Reason.IDENTITY
                assert IDENTITY.fingerprint in str(error)
                assert impostor.fingerprint in str(error)
                assert edge.statistics().streams_opened == 0
                known.forget("device")
                assert await ask(remote) == SECRET


async def test_an_expected_fingerprint(autojump_clock: trio.testing.MockClock) -> None:
    """Given by hand, the first use is no matter of trust."""
    with trio.fail_after(200):
        async with open_cluster() as cluster, an_edge(cluster) as edge:
            good = KnownThings(expected={"device": edge.fingerprint})
            async with a_remote(cluster, known=good) as remote:
                assert await ask(remote) == SECRET
            bad = KnownThings(expected={"device": Identity().fingerprint})
            async with a_remote(cluster, known=bad) as remote:
                assert (await refusal(remote)).reason is Reason.IDENTITY


async def test_the_fingerprint_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """By the edge when it is bound, by the remote at the first use and when it is attached."""
    with trio.fail_after(200):
        async with open_cluster() as cluster:
            config = mem_config("node")
            dial = cluster.dial_as("edge")
            async with open_edge(config, {"echo": echo}, identity=IDENTITY, dial=dial) as edge:
                told = [notice async for notice in _until(edge, "bound")]
                assert told[-1]["fingerprint"] == edge.fingerprint == IDENTITY.fingerprint
                async with a_remote(cluster) as remote:
                    notices: list[tuple[str, object]] = []
                    remote.notices.call(
                        lambda each: notices.append((each.event, each.data.get("fingerprint")))
                    )
                    await remote.open_tunnel("device", "echo")
                    assert ("remembered", IDENTITY.fingerprint) in notices
                    assert ("attached", IDENTITY.fingerprint) in notices


async def _until(edge: Edge, event: str) -> AsyncIterator[Notice]:
    async for notice in edge.events():
        yield notice
        if notice.event == event:
            return


async def test_a_close_by_a_node_resets(autojump_clock: trio.testing.MockClock) -> None:
    """Nodes may end a tunnel, as WIRE.md says; that is a reset, and never a clean end."""
    async with ends() as (cluster, remote):
        stream = await remote.open_stream("device", "echo")
        tunnel = next(iter(remote.tunnels.values()))
        route = cluster.nodes["node"].traffic.routes._routes[tunnel.id]
        assert route.remote is not None
        route.remote.send(Close(tunnel.id, 0, tunnel.epoch, Reason.DONE, ""))
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_bulk_over_cut_links(autojump_clock: trio.testing.MockClock) -> None:
    """Two nodes, links that are cut between the parts: each byte once, with encryption."""
    part = bytes(range(256)) * 1024
    async with ends("a", "b") as (cluster, remote):
        stream = await remote.open_stream("device", "echo")
        tunnel = next(iter(remote.tunnels.values()))
        for who in ("edge", "remote", "remote", "edge"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, part)
                await trio.testing.wait_all_tasks_blocked()
                cluster.cut(who)
                got = b""
                while len(got) < len(part):
                    got += await stream.receive_some()
                assert got == part
        assert tunnel.epoch >= 4
