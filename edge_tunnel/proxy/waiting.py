"""Attaches whose thing is not bound at the moment.

A resume waits for its thing: the device is on its way to another link. A new tunnel waits only if
the thing's link was lost a moment ago; else there is no such thing, and its user is told at once.
Pure: `now` (seconds, monotonic) is passed in.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, TypeAlias

from edge_tunnel.protocol.frames import Attach, Close
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.routes import HOP_SHARE
from edge_tunnel.reasons import Reason

__all__ = ["Waiting", "WaitingRoom"]

MAX_WAITING: Final = 1024
"""Attaches of one link that may wait: the tunnels of one technician. A hop has HOP_SHARE times as
many."""

GRACE: Final = 10.0
"""Seconds that a new tunnel waits for a thing whose link was just lost. Devices come back within a
second or two; a technician who connects in between should not be told that there is none."""


_Place: TypeAlias = tuple[Port, bytes, int]


class Waiting(NamedTuple):
    """One of them."""

    frame: Attach
    message: bytes
    remote: Port
    until: float


class WaitingRoom:
    """All of them, by thing; and by remote, because a tunnel's id may be known to strangers.

    By a link one attach of a tunnel waits, the newest. By a hop they are of several links, and each
    leaves by its own epoch: the other node says so for each that it takes back.
    """

    def __init__(self) -> None:
        self._by_thing: dict[str, dict[_Place, Waiting]] = {}
        self._lost_at: dict[str, float] = {}  # things lost within GRACE, in order of their loss
        self._node_gone_at = -math.inf

    def __len__(self) -> int:
        return sum(len(each) for each in self._by_thing.values())

    def enter(
        self, frame: Attach, message: bytes, remote: Port, now: float, *, looking: bool = False
    ) -> Close | None:
        """Wait for the thing; or the refusal, if there is nothing to wait for.

        A resume that finds no room is not refused, which would end its tunnel: it gets no answer,
        and is asked again after some seconds.

        `looking`: the engine is asked for it; `looked` follows.
        """
        until = self._hope(frame.thing) if frame.fresh else math.inf
        until = max(until, now + GRACE) if looking else until
        if until < now:
            return _no_such_thing(frame)
        place = _place(remote, frame.tunnel, frame.epoch)
        known = remote.waiting.get(place[1:])
        if known is not None:
            self._leave(known, place)
        if len(remote.waiting) >= MAX_WAITING * (HOP_SHARE if remote.is_hop else 1):
            full = Close(frame.tunnel, 0, frame.epoch, Reason.TOO_MANY, "")
            return full if frame.fresh else None
        remote.waiting[place[1:]] = frame.thing
        waiting = Waiting(frame, message, remote, until)
        self._by_thing.setdefault(frame.thing, {})[place] = waiting
        return None

    def leave(self, remote: Port, tunnel: bytes, epoch: int) -> None:
        """The attach of this epoch was taken back, or by a link a newer one takes its place.

        One that is newer than that stays; what ends an older attach may come late.
        """
        place = _place(remote, tunnel, epoch)
        thing = remote.waiting.get(place[1:])
        if thing is not None and self._by_thing[thing][place].frame.epoch <= epoch:
            self._leave(thing, place)

    def _leave(self, thing: str, place: _Place) -> None:
        del place[0].waiting[place[1:]]
        del self._by_thing[thing][place]
        if not self._by_thing[thing]:
            del self._by_thing[thing]

    def leave_all(self, remote: Port) -> None:
        """The remote's link is lost."""
        for place, thing in list(remote.waiting.items()):
            self._leave(thing, (remote, *place))

    def bound(self, thing: str) -> list[Waiting]:
        """The thing is here: whoever waited for it, in order; they wait no more."""
        found = self._by_thing.pop(thing, {})
        for remote, tunnel, epoch in found:
            del remote.waiting[tunnel, epoch]
        return list(found.values())

    def looked(self, thing: str, now: float) -> list[tuple[Port, Attach, Close]]:
        """The engine was asked and knows no such thing: whoever waited for that alone waits no
        more, and is refused."""
        entries = self._by_thing.get(thing, {}).values() if self._hope(thing) < now else ()
        hopeless = [entry for entry in entries if entry.frame.fresh]
        for entry in hopeless:
            self.leave(entry.remote, entry.frame.tunnel, entry.frame.epoch)
        return [(each.remote, each.frame, _no_such_thing(each.frame)) for each in hopeless]

    def lost(self, thing: str, now: float) -> None:
        """The thing's link was lost: for a moment, new tunnels wait for it as well."""
        while self._lost_at and next(iter(self._lost_at.values())) + GRACE < now:
            del self._lost_at[next(iter(self._lost_at))]
        self._lost_at.pop(thing, None)
        self._lost_at[thing] = now

    def node_gone(self, now: float) -> None:
        """Another node died, and nobody knows any more which things it had."""
        self._node_gone_at = now

    def _hope(self, thing: str) -> float:
        """Until when a thing that is not bound may come back."""
        return max(self._lost_at.get(thing, -math.inf), self._node_gone_at) + GRACE

    def expired(self, remote: Port, now: float) -> list[tuple[Attach, Close]]:
        """What has waited too long, for this remote, with its refusal; they wait no more."""
        places = [(thing, (remote, *place)) for place, thing in remote.waiting.items()]
        entries = [self._by_thing[thing][place] for thing, place in places]
        late = [entry for entry in entries if entry.until < now]
        for entry in late:
            self.leave(remote, entry.frame.tunnel, entry.frame.epoch)
        return [(entry.frame, _no_such_thing(entry.frame)) for entry in late]


def _place(remote: Port, tunnel: bytes, epoch: int) -> _Place:
    return remote, tunnel, epoch if remote.is_hop else 0


def _no_such_thing(frame: Attach) -> Close:
    text = f"no device is bound as {frame.thing!r}"
    return Close(frame.tunnel, 0, frame.epoch, Reason.NO_SUCH_THING, text)
