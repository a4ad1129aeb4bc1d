"""What a node counts for people: since when, how many streams and bytes. It decides nothing.

Bulk pays nothing here: `routes` adds the size of each message to its route anyway, and only OPEN,
END, RESET and ATTACHED are looked at for the number of streams.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edge_tunnel.protocol.frames import MAX_STREAMS, Kind, Offer
from edge_tunnel.proxy.port import Port

__all__ = ["COUNTED", "Account", "Ledger", "LiveStreams"]

COUNTED: Final = frozenset({Kind.OPEN.value, Kind.END.value, Kind.RESET.value})
"""Frames that begin or end a stream."""

_BOTH_WAYS: Final = 3


class LiveStreams:
    """The streams of one tunnel, as far as its frames tell the node that passes them on.

    A stream that had ended one way before this node carried the tunnel is counted until the tunnel
    is attached again after its end.
    """

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        self._ended: dict[int, int] = {}  # stream -> the ways that have ended: 1, 2 or 0

    def __len__(self) -> int:
        return len(self._ended)

    def passed(self, kind: int, stream: int, *, towards_edge: bool) -> None:
        """A frame of `COUNTED` passed."""
        if kind == Kind.OPEN:
            if len(self._ended) < MAX_STREAMS:  # beyond it the edge refuses
                self._ended.setdefault(stream, 0)
        elif stream in self._ended:
            ways = self._ended[stream] | (1 if towards_edge else 2)
            if kind == Kind.RESET or ways == _BOTH_WAYS:
                del self._ended[stream]
            else:
                self._ended[stream] = ways

    def attached(self, streams: Iterable[int]) -> None:
        """The edge said which streams it has; what it did not hear of is opened again."""
        self._ended = {stream: self._ended.get(stream, 0) for stream in streams}


class Account:
    """What is kept for a thing as long as it is bound here."""

    __slots__ = ("epoch", "fingerprint", "from_edge", "from_remote", "port", "services", "since")

    def __init__(self, port: Port, epoch: int, since: float) -> None:
        self.port = port
        self.epoch = epoch
        self.since = since  # seconds since 1970
        self.services: tuple[str, ...] = ()  # as the edge says
        self.fingerprint = ""  # likewise
        self.from_edge = 0  # bytes of tunnels that are over; the others' are with their routes
        self.from_remote = 0


class Ledger:
    """Of one node."""

    def __init__(self) -> None:
        self.things: dict[str, Account] = {}
        self.passed = 0
        """Bytes of tunnels that are over here."""

    def bound(self, thing: str, epoch: int, port: Port, now: float) -> None:
        """The thing is bound by this port. The same once more changes nothing."""
        known = self.things.get(thing)
        if known is None or (known.port, known.epoch) != (port, epoch):
            self.things[thing] = Account(port, epoch, now)

    def offered(self, offer: Offer, port: Port) -> None:
        """The edge says what it offers for a thing; for one that it has not bound it is nothing."""
        known = self.things.get(offer.thing)
        if known is not None and known.port is port:
            known.services, known.fingerprint = offer.services, offer.fingerprint

    def unbound(self, thing: str, port: Port) -> None:
        """The port does not have the thing any more."""
        known = self.things.get(thing)
        if known is not None and known.port is port:
            del self.things[thing]

    def ended(self, thing: str, from_edge: int, from_remote: int) -> None:
        """A tunnel is over here."""
        self.passed += from_edge + from_remote
        account = self.things.get(thing)
        if account is not None:
            account.from_edge += from_edge
            account.from_remote += from_remote
