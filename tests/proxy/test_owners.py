"""Who may speak for a tunnel (invariant 6), and who waits for it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel import Reason
from edge_tunnel.protocol.frames import (
    Attach,
    Bind,
    Bound,
    Close,
    Data,
    Detached,
    Ping,
    Pong,
    Probe,
)
from tests.proxy.peers import TUNNEL, attach, attached, edge_and_remote, hello, join, running
from tests.proxy.rules import Rules


async def test_frames_of_links_that_are_not_attached_are_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Knowing a tunnel's id gives nothing: neither sending into it nor closing it."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        thief = await join(node, nursery, "remote")
        other = await join(node, nursery, "edge")
        for stranger in (thief, other):
            await stranger.say(Data(TUNNEL, 1, 1, 0, b"x"), Close(TUNNEL, 0, 1, 0, ""))
        assert await edge.silent()
        assert await remote.silent()


async def test_stolen_id_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """An ATTACH with a stolen id reaches the edge, is refused, and the owner notices nothing."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        thief = await join(node, nursery, "remote")
        await thief.say(attach(2, fresh=False))
        assert await edge.hear() == attach(2, fresh=False)
        await remote.say(Probe(TUNNEL, 0, 1, 5))  # the owner's path works meanwhile
        assert await edge.hear() == Probe(TUNNEL, 0, 1, 5)
        refusal = Close(TUNNEL, 0, 2, Reason.UNKNOWN_TUNNEL, "")
        await edge.say(refusal)
        assert await thief.hear() == refusal
        assert await remote.silent()
        await edge.say(Probe(TUNNEL, 0, 1, 6))
        assert await remote.hear() == Probe(TUNNEL, 0, 1, 6)


async def test_a_refusal_while_the_owner_is_away(autojump_clock: trio.testing.MockClock) -> None:
    """What a thief asks for is refused; the tunnel waits for its owner as it did before."""
    async with running() as (node, nursery):
        told: list[str] = []
        node.notices.call(lambda notice: told.append(notice.event))
        edge, remote = await edge_and_remote(node, nursery)
        remote.transport.cut()
        assert isinstance(await edge.hear(), Detached)
        thief = await join(node, nursery, "remote")
        await thief.say(attach(2, fresh=False))
        assert await edge.hear() == attach(2, fresh=False)
        await edge.say(Close(TUNNEL, 0, 2, Reason.UNKNOWN_TUNNEL, ""))
        assert isinstance(await thief.hear(), Close)
        assert len(node.routes) == 1
        assert "tunnel_closed" not in told


async def test_an_owner_that_is_refused_after_it_was_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its device has given the tunnel up: it does not count any more, and a new one may be had."""
    rules = Rules()
    rules.allow("alice", max_tunnels=1)
    rules.things["k"] = {"t"}
    async with running(rules) as (node, nursery):
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        assert await edge.hear() == Bound("t", 1)
        for tunnel in (bytes(16), bytes(15) + b"1"):
            ask = attach()._replace(tunnel=tunnel)
            alice = await join(node, nursery, "remote", hello("remote", key="alice"))
            await alice.say(ask)
            assert await edge.hear() == ask
            await edge.say(attached()._replace(tunnel=tunnel))
            await alice.hear()
            alice.transport.cut()
            assert isinstance(await edge.hear(), Detached)
            alice = await join(node, nursery, "remote", hello("remote", key="alice"))
            await alice.say(ask._replace(epoch=2, fresh=False))
            assert await edge.hear() == ask._replace(epoch=2, fresh=False)
            await edge.say(Close(tunnel, 0, 2, Reason.UNKNOWN_TUNNEL, ""))
            assert isinstance(await alice.hear(), Close)
            assert len(node.routes) == 0


async def test_a_refusal_that_comes_late_closes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A thief that leaves before the edge's no: it is nobody's any more, and not the owner's."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        thief = await join(node, nursery, "remote")
        await thief.say(attach(2, fresh=False))
        assert await edge.hear() == attach(2, fresh=False)
        thief.transport.cut()
        assert isinstance(await edge.hear(), Detached)
        await edge.say(Close(TUNNEL, 0, 2, Reason.UNKNOWN_TUNNEL, ""))
        await edge.say(Probe(TUNNEL, 0, 1, 6))
        assert await remote.hear() == Probe(TUNNEL, 0, 1, 6)
        await remote.say(Probe(TUNNEL, 0, 1, 5))
        assert await edge.hear() == Probe(TUNNEL, 0, 1, 5)


async def test_thief_with_the_same_epoch_gets_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two attaches of one epoch: the first stands, and the edge's answer goes to its sender."""
    async with running() as (node, nursery):
        edge, owner = await edge_and_remote(node, nursery)
        thief = await join(node, nursery, "remote")
        await owner.say(attach(2, fresh=False))
        await edge.hear()
        await thief.say(attach(2, fresh=False), attach(1, fresh=False), attach(0, fresh=False))
        assert await edge.silent()
        assert isinstance(await thief.hear(), Detached)  # ask again: an owner does
        await thief.say(attach(3, fresh=False))  # a higher one goes to the edge, which refuses it
        await edge.hear()
        await edge.say(attached(2), Close(TUNNEL, 0, 3, Reason.UNKNOWN_TUNNEL, ""))
        assert await owner.hear() == attached(2)
        assert await thief.hear() == Close(TUNNEL, 0, 3, Reason.UNKNOWN_TUNNEL, "")
        await edge.say(Data(TUNNEL, 1, 2, 0, b"for the owner"))
        assert await owner.hear() == Data(TUNNEL, 1, 2, 0, b"for the owner")
        assert await thief.silent()


@pytest.mark.parametrize("answer", ["accepted", "refused"])
async def test_an_answer_to_who_has_left(
    autojump_clock: trio.testing.MockClock, answer: str
) -> None:
    """It is not that of the next one who asks with the same epoch: who did, the edge cannot say."""
    async with running() as (node, nursery):
        edge, _ = await edge_and_remote(node, nursery)
        first, second = await join(node, nursery, "remote"), await join(node, nursery, "remote")
        await first.say(attach(2, fresh=False))
        assert await edge.hear() == attach(2, fresh=False)
        first.transport.cut()
        assert isinstance(await edge.hear(), Detached)
        await second.say(attach(2, fresh=False))
        assert isinstance(await second.hear(), Detached)
        if answer == "accepted":
            await edge.say(attached(2))
            assert await edge.hear() == Detached(TUNNEL, 0, 2, Reason.PEER_LEFT, "")
        else:
            await edge.say(Close(TUNNEL, 0, 2, Reason.UNKNOWN_TUNNEL, ""))
        assert await second.silent()
        await second.say(attach(3, fresh=False))
        assert await edge.hear() == attach(3, fresh=False)
        await edge.say(attached(3))
        assert await second.hear() == attached(3)


async def test_a_thief_that_takes_back_what_the_owner_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The device has the tunnel with that very epoch, from another node: it drops the ATTACH as
    late, and would take the CLOSE for its owner's."""
    async with running() as (node, nursery):
        edge, thief = await join(node, nursery, "edge"), await join(node, nursery, "remote")
        await edge.say(Bind("t", 1))
        assert await edge.hear() == Bound("t", 1)
        await thief.say(attach(5, fresh=False), Close(TUNNEL, 0, 5, Reason.DONE, ""))
        assert await edge.hear() == attach(5, fresh=False)
        assert await edge.silent()
        assert len(node.routes) == 0


async def test_two_that_wait_with_one_id(autojump_clock: trio.testing.MockClock) -> None:
    """A stranger that waits with the owner's tunnel id, and leaves, takes nothing along."""
    async with running() as (node, nursery):
        owner, thief = await join(node, nursery, "remote"), await join(node, nursery, "remote")
        await owner.say(attach(2, fresh=False))
        await thief.say(attach(3, fresh=False))
        await trio.sleep(0.1)
        thief.transport.cut()
        await trio.sleep(0.1)
        await owner.say(Ping(1))
        assert await owner.hear() == Pong(1)
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        assert [await edge.hear(), await edge.hear()] == [Bound("t", 1), attach(2, fresh=False)]


async def test_attached_moves_the_tunnel(autojump_clock: trio.testing.MockClock) -> None:
    """Only ATTACHED of the candidate's epoch moves it; then the old link's frames are dropped."""
    async with running() as (node, nursery):
        edge, old = await edge_and_remote(node, nursery)
        new = await join(node, nursery, "remote")
        await new.say(attach(5, fresh=False))
        await edge.hear()
        await edge.say(attached(4))
        assert await new.silent()
        assert await edge.hear() == Detached(TUNNEL, 0, 4, Reason.PEER_LEFT, "")
        await edge.say(attached(5))
        assert await new.hear() == attached(5)
        await old.say(Data(TUNNEL, 1, 1, 0, b"late"))
        assert await edge.silent()
        await new.say(Data(TUNNEL, 1, 5, 0, b"now"))
        assert await edge.hear() == Data(TUNNEL, 1, 5, 0, b"now")


async def test_unanswered_attach_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    """The edge's link dies between ATTACH and its answer: the remote is told, with that epoch."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await remote.say(attach(2, fresh=False))
        await edge.hear()
        edge.transport.cut()
        first, second = await remote.hear(), await remote.hear()
        assert {type(first), type(second)} == {Detached}
        assert {first.epoch, second.epoch} == {1, 2}  # type: ignore[union-attr]


async def test_resume_waits_for_the_thing(autojump_clock: trio.testing.MockClock) -> None:
    """An ATTACH of a tunnel that was open waits until its thing is bound; a new one is refused."""
    async with running() as (node, nursery):
        remote = await join(node, nursery, "remote")
        await remote.say(attach(2, fresh=False))
        assert await remote.silent()
        other = await join(node, nursery, "remote")
        await other.say(attach(1)._replace(tunnel=bytes(16)))
        refused = await other.hear()
        assert isinstance(refused, Close)
        assert refused.reason == Reason.NO_SUCH_THING
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        assert [type(await edge.hear()) for _ in range(2)] == [Bound, Attach]


async def test_new_tunnel_waits_a_little_for_a_device_that_was_just_here(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A device that comes back at once is not "no such thing"; one that stays away is."""
    async with running() as (node, nursery):
        remote = await join(node, nursery, "remote")
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 1))
        await edge.hear()
        edge.transport.cut()
        await trio.sleep(1)
        await remote.say(attach())
        assert await remote.silent()
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 2))
        assert [type(await edge.hear()) for _ in range(2)] == [Bound, Attach]
        edge.transport.cut()
        assert isinstance(await remote.hear(), Detached)
        await remote.say(attach(2))
        await trio.sleep(11)
        await remote.say(Ping(1))
        assert await remote.hear() == Pong(1)
        refused = await remote.hear()
        assert isinstance(refused, Close)
        assert refused.reason == Reason.NO_SUCH_THING
        assert len(node.waiting) == 0


async def test_waiting_attach_leaves_with_its_remote(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nothing of a remote that left, or took its attach back, reaches the edge later."""
    async with running() as (node, nursery):
        for farewell in ("close", "cut"):
            remote = await join(node, nursery, "remote")
            await remote.say(attach(2, fresh=False))
            if farewell == "close":
                await remote.say(Close(TUNNEL, 0, 2, 0, ""))
            else:
                remote.transport.cut()
            await trio.sleep(0.1)
        assert len(node.waiting) == 0


async def test_a_tunnel_that_is_closed_while_it_is_attached_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its device has moved, the remote asks there, and takes it back: nothing of it is left."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        edge.transport.cut()
        assert isinstance(await remote.hear(), Detached)
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 2))
        assert await edge.hear() == Bound("t", 2)
        close = Close(TUNNEL, 0, 2, Reason.DONE, "")
        await remote.say(attach(2, fresh=False), close)
        assert await edge.hear() == attach(2, fresh=False)
        await edge.say(attached(2))
        assert await edge.hear() == close
        assert len(node.routes) == 0


async def test_a_remote_that_leaves_while_it_asks_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its older attach has been answered too late for it: that route ends as well."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        close = Close(TUNNEL, 0, 2, Reason.DONE, "")
        await remote.say(attach(2, fresh=False), close)
        heard = [await edge.hear() for _ in range(2)]
        assert heard == [attach(2, fresh=False), close._replace(epoch=1)]
        await edge.say(attached(2))
        assert await edge.hear() == close
        assert len(node.routes) == 0


async def test_an_edge_that_closes_while_the_remote_asks_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The remote takes nothing of the old epoch any more: its new attach is answered."""
    async with running() as (node, nursery):
        edge, old = await edge_and_remote(node, nursery)
        new = await join(node, nursery, "remote")
        await new.say(attach(2, fresh=False))
        assert await edge.hear() == attach(2, fresh=False)
        close = Close(TUNNEL, 0, 1, Reason.IDLE, "idle")
        await edge.say(close)
        assert await old.hear() == close
        assert await new.hear() == close._replace(epoch=2)
        assert await edge.hear() == close._replace(epoch=2)  # if it opens it, it ends it
        assert len(node.routes) == 0


async def test_a_tunnel_that_is_closed_while_it_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The remote's own CLOSE, of an attach that no edge saw, ends the tunnel here, too."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        edge.transport.cut()
        assert isinstance(await remote.hear(), Detached)
        await remote.say(attach(2, fresh=False), Close(TUNNEL, 0, 2, Reason.DONE, ""), Ping(1))
        assert await remote.hear() == Pong(1)
        assert (len(node.routes), len(node.waiting)) == (0, 0)


async def test_an_owner_that_asks_for_long(autojump_clock: trio.testing.MockClock) -> None:
    """The device answers late: only the last of many attaches counts, and that one does."""
    async with running() as (node, nursery):
        edge, remote = await join(node, nursery, "edge"), await join(node, nursery, "remote")
        await edge.say(Bind("t", 1))
        assert await edge.hear() == Bound("t", 1)
        await remote.say(*(attach(epoch) for epoch in range(1, 13)))
        heard = [await edge.hear() for _ in range(12 + 11)]
        assert heard.index(attach(12)) < len(heard) - 1  # what it asked before is taken back behind
        await edge.say(attached(1))
        assert isinstance(await edge.hear(), Detached)
        await edge.say(attached(12))
        assert await remote.hear() == attached(12)


async def test_an_attach_that_was_asked_before_a_refusal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It waited for its thing; the remote asked again, and was refused. No device hears of it."""
    async with running() as (node, nursery):
        edge, remote = await join(node, nursery, "edge"), await join(node, nursery, "remote")
        await edge.say(Bind("t", 1))
        assert await edge.hear() == Bound("t", 1)
        edge.transport.cut()
        await trio.sleep(1)
        await remote.say(attach(1))
        await trio.sleep(10)
        await remote.say(attach(2))
        refusal = await remote.hear()
        assert isinstance(refusal, Close)
        assert (refusal.reason, refusal.epoch) == (Reason.NO_SUCH_THING, 2)
        edge = await join(node, nursery, "edge")
        await edge.say(Bind("t", 2))
        assert await edge.hear() == Bound("t", 2)
        assert await edge.silent()
