"""Which link a thing is bound by."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel import Reason
from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Bye,
    Close,
    Detached,
    Probe,
    Unbound,
)
from edge_tunnel.proxy import traffic
from tests.proxy.peers import TUNNEL, attach, edge_and_remote, join, running


async def test_higher_epoch_wins(autojump_clock: trio.testing.MockClock) -> None:
    """The newer link of a device gets it; the older is told, and its tunnels are detached."""
    async with running() as (node, nursery):
        old, remote = await edge_and_remote(node, nursery)
        new = await join(node, nursery, "edge")
        await new.say(Bind("t", 2))
        assert await new.hear() == Bound("t", 2)
        told = await old.hear()
        assert isinstance(told, Unbound)
        assert (told.epoch, told.reason) == (2, Reason.SUPERSEDED)
        detached = await remote.hear()
        assert isinstance(detached, Detached)
        stale = await join(node, nursery, "edge")
        await stale.say(Bind("t", 1))
        answer = await stale.hear()
        assert isinstance(answer, Unbound)
        assert answer.epoch == 2


async def test_an_edge_that_goes_back(autojump_clock: trio.testing.MockClock) -> None:
    """A bind with a lower epoch by the link that holds the thing: it is told that it does not."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await edge.say(Bind("t", 0))
        told = await edge.hear()
        assert isinstance(told, Unbound)
        assert (told.epoch, told.reason) == (1, Reason.SUPERSEDED)
        assert isinstance(await remote.hear(), Detached)
        await remote.say(attach(2, fresh=False))
        assert await edge.silent()
        await edge.say(Bind("t", 2))
        assert await edge.hear() == Bound("t", 2)
        assert await edge.hear() == attach(2, fresh=False)


async def test_a_bind_again_needs_no_room(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edge with all the things that it may have binds one of them anew."""
    monkeypatch.setattr(traffic, "MAX_BINDS", 1)
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await edge.say(Bind("t", 2), Bind("u", 3))
        assert await edge.hear() == Bound("t", 2)
        refused = await edge.hear()
        assert isinstance(refused, Unbound)
        assert (refused.thing, refused.reason) == ("u", Reason.TOO_MANY)
        assert await remote.silent()


async def test_a_tunnel_that_the_next_edge_does_not_know(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is over for its remote, and so for the node: it would be counted as long as that stays."""
    async with running() as (node, nursery):
        _, remote = await edge_and_remote(node, nursery)
        clone = await join(node, nursery, "edge")
        await clone.say(Bind("t", 2))
        assert await clone.hear() == Bound("t", 2)
        assert isinstance(await remote.hear(), Detached)
        stranger = await join(node, nursery, "remote")
        for who, epochs in ((stranger, (2,)), (remote, (3, 4))):  # the owner asks once more
            for epoch in epochs:
                await who.say(attach(epoch, fresh=False))
                while await clone.hear() != attach(epoch, fresh=False):
                    pass  # an older one of the owner is taken back
            for epoch in epochs:
                assert len(node.routes) == 1
                await clone.say(Close(TUNNEL, 0, epoch, Reason.UNKNOWN_TUNNEL, ""))
            assert await who.hear() == Close(TUNNEL, 0, epochs[-1], Reason.UNKNOWN_TUNNEL, "")
            assert len(node.routes) == (1 if who is stranger else 0)


async def test_a_refusal_by_the_edge_that_is_attached(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It changes nothing: the old route stands."""
    async with running() as (node, nursery):
        edge, remote = await edge_and_remote(node, nursery)
        await remote.say(attach(2, fresh=False))
        assert await edge.hear() == attach(2, fresh=False)
        await edge.say(Close(TUNNEL, 0, 2, Reason.UNKNOWN_TUNNEL, ""))
        assert isinstance(await remote.hear(), Close)
        await remote.say(Probe(TUNNEL, 0, 1, 6))
        assert await edge.hear() == Probe(TUNNEL, 0, 1, 6)


async def test_remote_cannot_bind(autojump_clock: trio.testing.MockClock) -> None:
    """Binding is for edges, attaching for remotes; anything else ends the link."""
    async with running() as (node, nursery):
        for role, frame in (("remote", Bind("t", 1)), ("edge", attach())):
            peer = await join(node, nursery, role)
            await peer.say(frame)
            assert isinstance(await peer.hear(), Bye)
