"""proxy/rates.py: an identity has one rate, over however many links; in virtual time or none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from edge_tunnel import Reason
from edge_tunnel.access.rights import Credentials, Denial, DevelopmentKey, Principal
from edge_tunnel.protocol.frames import Bind, Bound, Bye, Close, Frame, Open, Reset
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy import rates as module
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.rates import Rates
from tests.proxy.peers import TUNNEL, Peer, attach, attached, join, running


def link(role: str, name: str, *, shared: bool = False) -> Port:
    who = Principal(role=role, name=name, shared=shared, via="a test")
    return Port(role, "somewhere", Outlet(), who)


def binds(rates: Rates, ports: list[Port], times: int, now: float = 0.0) -> int:
    """How many of so many binds, by these links in turn, are taken."""
    return sum(not rates.bind(ports[turn % len(ports)], now) for turn in range(times))


def attaches(rates: Rates, ports: list[Port], times: int, size: int = 100) -> int:
    return sum(not rates.attach(ports[turn % len(ports)], size, 0.0) for turn in range(times))


@settings(deadline=None)
@given(st.integers(1, 12))
def test_ten_links_have_the_rate_of_one(links: int) -> None:
    """However many links an identity spreads its binds and attaches over, they are one's."""
    rates = Rates()
    ports = [link("edge", "gateway") for _ in range(links)]
    assert binds(rates, ports, 6000) == 5120
    assert binds(rates, ports, 6000, now=10.0) == 500
    users = [link("remote", "anna") for _ in range(links)]
    assert attaches(rates, users, 3000) == 2048


def test_a_link_anew_pays_for_the_one_before() -> None:
    """Leaving and coming back is no way around it: what is owed stays owed."""
    rates = Rates()
    port = link("remote", "anna")
    assert attaches(rates, [port], 3000) == 2048
    rates.lost(port)
    assert attaches(rates, [link("remote", "anna")], 10) == 0


def test_others_are_not_touched() -> None:
    """Another name, and the same name in the other role, have their own."""
    rates = Rates()
    assert attaches(rates, [link("remote", "anna")], 3000) == 2048
    assert attaches(rates, [link("remote", "ben")], 10) == 10
    assert attaches(rates, [link("edge", "anna")], 10) == 10


def test_a_key_of_everybody_is_nobody() -> None:
    """In development mode each link counts alone, and is forgotten with the link."""
    rates = Rates()
    ports = [link("edge", "edge", shared=True) for _ in range(3)]
    for port in ports:
        assert binds(rates, [port], 6000) == 5120
        rates.lost(port)
    assert len(rates._binds) == 0


def test_a_thing_has_a_rate_of_its_own() -> None:
    """Whoever binds it; a large message counts as its KiB."""
    rates = Rates()
    assert sum(not rates.bind_thing("t", 0.0) for _ in range(100)) == 30
    assert rates.bind_thing("u", 0.0) == 0
    assert attaches(rates, [link("remote", "anna")], 3000, size=10_240) == 2048 // 11


class Named(DevelopmentKey):
    """A key is who shows it."""

    async def admit(self, credentials: Credentials) -> Principal | Denial:
        return Principal(role=credentials.role, name="somebody", via="a test")


async def test_two_links_of_one_user_at_a_node(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one link has used up the other one lacks, for binds and for attaches."""
    monkeypatch.setattr(module, "_ATTACHES", (0.001, 3.0))
    monkeypatch.setattr(module, "_BINDS", (0.001, 3.0))
    async with running(Named("k")) as (node, nursery):
        edges = [await join(node, nursery, "edge") for _ in range(2)]
        remotes = [await join(node, nursery, "remote") for _ in range(2)]
        for thing in ("a", "b", "t"):
            assert await ask(edges[0], Bind(thing, 1)) == Bound(thing, 1)
        answer = await ask(edges[1], Bind("d", 1))
        assert isinstance(answer, Bye) and answer.reason == Reason.TOO_MANY
        for number in range(3):
            await remotes[number % 2].say(attach()._replace(tunnel=bytes([number]) + TUNNEL[1:]))
            await wait_all_tasks_blocked()  # two links have no order among them
        answer = await ask(remotes[1], attach()._replace(tunnel=bytes([99]) + TUNNEL[1:]))
        assert isinstance(answer, Close) and answer.reason == Reason.TOO_MANY


async def test_streams_that_are_opened_and_reset(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2023-44487: what is reset at once is counted, too, over all tunnels of a user."""
    monkeypatch.setattr(module, "_OPENS", (0.001, 6.0))
    async with running(Named("k")) as (node, nursery):
        edge = await join(node, nursery, "edge")
        assert await ask(edge, Bind("t", 1)) == Bound("t", 1)
        remotes = [await join(node, nursery, "remote") for _ in range(2)]
        tunnels = [bytes([number]) + TUNNEL[1:] for number in range(2)]
        for remote, tunnel in zip(remotes, tunnels, strict=True):
            await remote.say(attach()._replace(tunnel=tunnel))
            await edge.hear()
            assert await ask(edge, attached()._replace(tunnel=tunnel), remote)
        for number in range(1, 4):
            for remote, tunnel in zip(remotes, tunnels, strict=True):
                opened = Open(tunnel, number, 1, 65_536)
                assert await ask(remote, opened, edge) == opened
                reset = Reset(tunnel, number, 1, Reason.RESET, "")
                assert await ask(remote, reset, edge) == reset
        answer = await ask(remotes[0], Open(tunnels[0], 9, 1, 65_536))
        assert isinstance(answer, Close) and answer.reason == Reason.TOO_MANY
        assert await remotes[1].silent()  # it has its tunnel, until it opens another stream


async def ask(peer: Peer, frame: Frame, hears: Peer | None = None) -> Frame:
    await peer.say(frame)
    return await (hears or peer).hear()
