"""proxy/ledger.py: what is counted, and what is forgotten."""

from __future__ import annotations

from edge_tunnel.protocol.frames import MAX_STREAMS, Kind, Offer
from edge_tunnel.protocol.identity import fingerprint_of
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.ledger import Ledger, LiveStreams
from edge_tunnel.proxy.port import Port

PRINT = fingerprint_of(bytes(32))


def edge() -> Port:
    return Port("edge", "192.0.2.7:1", Outlet())


def opened(*streams: int) -> LiveStreams:
    live = LiveStreams()
    for stream in streams:
        live.passed(Kind.OPEN, stream, towards_edge=True)
    return live


def test_a_stream_lives_until_it_ended_both_ways() -> None:
    """Half-closed is alive; END again, after a resume, ends nothing twice."""
    live = opened(1, 2)
    live.passed(Kind.END, 1, towards_edge=True)
    live.passed(Kind.END, 1, towards_edge=True)
    assert len(live) == 2
    live.passed(Kind.END, 1, towards_edge=False)
    assert len(live) == 1
    live.passed(Kind.END, 1, towards_edge=False)
    live.passed(Kind.END, 9, towards_edge=False)
    assert len(live) == 1


def test_a_reset_ends_both_ways() -> None:
    """Its answer, another RESET, ends nothing more."""
    live = opened(1, 2)
    live.passed(Kind.RESET, 2, towards_edge=False)
    live.passed(Kind.RESET, 2, towards_edge=True)
    assert len(live) == 1


def test_an_attach_says_what_is_alive() -> None:
    """Streams that the edge does not have are over; a half that had ended stays so."""
    live = opened(1, 2, 3)
    live.passed(Kind.END, 3, towards_edge=True)
    live.attached([3, 7])
    assert len(live) == 2
    live.passed(Kind.END, 3, towards_edge=False)
    assert len(live) == 1


def test_a_flood_of_streams_is_bounded() -> None:
    """A remote that opens more than any edge takes costs no memory."""
    assert len(opened(*range(1, 2 * MAX_STREAMS))) == MAX_STREAMS


def test_a_thing_has_an_account_while_it_is_bound() -> None:
    """A new bind begins a new one; the loser's end does not end the winner's."""
    ledger, one, other = Ledger(), edge(), edge()
    ledger.bound("t", 1, one, 100.0)
    ledger.ended("t", 10, 20)
    ledger.bound("t", 1, one, 200.0)  # BIND said again
    assert (ledger.things["t"].since, ledger.things["t"].from_edge) == (100.0, 10)
    ledger.offered(Offer("t", ("ssh",)), one)
    assert ledger.things["t"].services == ("ssh",)
    ledger.bound("t", 2, other, 300.0)
    ledger.offered(Offer("t", ("web",), PRINT), one)
    ledger.offered(Offer("u", ("web",)), one)
    assert not ledger.things["t"].services and not ledger.things["t"].fingerprint
    ledger.offered(Offer("t", (), PRINT), other)
    assert ledger.things["t"].fingerprint == PRINT and len(ledger.things) == 1
    ledger.unbound("t", one)
    assert (ledger.things["t"].since, ledger.things["t"].from_edge) == (300.0, 0)
    ledger.unbound("t", other)
    ledger.ended("t", 1, 2)
    assert ledger.things == {} and ledger.passed == 33
