"""When each tunnel with a session limit began: known to all nodes, so that moving renews nothing.

A node that carries such a tunnel writes one row, ``sessions/TUNNEL``, into the store; all others
have it in memory by their watch. The earliest start that anybody knows counts. Nobody waits for it:
where no start is known a tunnel begins now, also one that resumes - a resume that had to wait for
the store would lose live streams whenever the store is away - and as soon as an earlier start is
seen, that one holds. So a start is lost only with the node that alone knew it, before it could
write: within a second of the tunnel's first attach, or while the store is away.

Only nodes write rows, about tunnels whose edge has answered ATTACHED, that is, has verified the
remote's proof: nobody makes a row for the tunnel of somebody else. A row outlives its session, so
that a tunnel cannot come back as a new one because its row is gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, NamedTuple

import trio

from edge_tunnel.access.store import SESSIONS, Conflict, Store, StoreAway, Write

__all__ = ["Sessions", "Start", "read_start", "session_key", "start_row"]

MARGIN: Final = 3600.0
"""Seconds that a row outlives its session: longer than an edge keeps a tunnel without a link."""

_RETRY: Final = 1.0
"""Seconds until the next try to write, when the store is away or another node was faster."""

_MOST: Final = 10_000
"""Starts that wait for a store that is away; of more, the first ones are forgotten."""


class Start(NamedTuple):
    """The beginning of a tunnel's session."""

    began: float
    """Unix seconds."""

    user: str


class _Due(NamedTuple):
    start: Start
    ends: float
    """Unix seconds at which its row is of no use any more."""


def session_key(tunnel: bytes) -> str:
    """Where the start of a tunnel is."""
    return SESSIONS + tunnel.hex()


def start_row(start: Start) -> str:
    """As it is stored."""
    return json.dumps(start._asdict())


def read_start(row: str | None) -> Start | None:
    """Back from `start_row`. None: there is none, or not one that this program writes."""
    try:
        start = Start(**json.loads(row or ""))
    except (ValueError, TypeError):
        return None
    good = isinstance(start.user, str) and type(start.began) in (int, float)
    return start if good else None


class Sessions:
    """Starts of tunnels, as one node knows them; answers at once, and writes in `run`."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        """`now` gives Unix seconds."""
        self._store = store
        self._now = now
        self._due: dict[bytes, _Due] = {}
        self._news = trio.Event()

    def start(self, tunnel: bytes) -> Start | None:
        """The earliest that is known."""
        stored = read_start(self._store.session(session_key(tunnel)))
        due = self._due.get(tunnel)
        known = (stored, None if due is None else due.start)
        return min((each for each in known if each is not None), default=None)

    def remember(self, tunnel: bytes, start: Start, session: float) -> None:
        """This node carries this tunnel, whose session lasts so many seconds from its start."""
        known = self.start(tunnel)
        if known is not None and known.began <= start.began:
            return
        self._due.pop(tunnel, None)
        if len(self._due) >= _MOST:
            del self._due[next(iter(self._due))]
        self._due[tunnel] = _Due(start, start.began + session + MARGIN)
        self._news.set()

    async def run(self) -> None:
        """Write what is remembered, until cancelled."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._due:
                await self.write_down()
                if self._due:
                    await trio.sleep(_RETRY)

    async def write_down(self) -> None:
        """Write what is not in the store yet, as far as it lets us."""
        for tunnel in list(self._due):
            try:
                if (write := self._write(tunnel)) is not None:
                    await self._store.commit(write)
            except Conflict:
                continue  # its row is on its way to us
            except StoreAway:
                return
            if self._write(tunnel) is None:
                self._due.pop(tunnel, None)

    def _write(self, tunnel: bytes) -> Write | None:
        """What is to be written; None: nothing any more."""
        due = self._due.get(tunnel)
        if due is None:
            return None
        left = due.ends - self._now()
        row = self._store.session(session_key(tunnel))
        there = read_start(row)
        if left <= 0 or (row is not None and there is None):
            return None
        if there is not None and (there.began <= due.start.began or there.user != due.start.user):
            return None
        return Write(session_key(tunnel), start_row(due.start), row, ttl=left)
