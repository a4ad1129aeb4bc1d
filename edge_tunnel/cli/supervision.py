"""Which worker is to be started when, and when all is over: decided without a clock or a process.

A worker that ends is started again, later each time that it did not last. One that cannot even
start, the first time, because of what it was told, will not do better the next time: then all end.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Final

from edge_tunnel.cli.exits import Exit

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "STEADY", "End", "Supervision"]

FIRST_PAUSE: Final = 0.5
"""Seconds before a worker is started again; twice as many each time that it does not last."""

LONGEST_PAUSE: Final = 30.0
"""Seconds: what its devices find on the other workers meanwhile costs them a reconnect each."""

STEADY: Final = 60.0
"""Seconds after which a worker has lasted."""

_TOLD_WRONG: Final = frozenset(
    {Exit.USAGE, Exit.UNREADABLE, Exit.CANNOT_CREATE, Exit.NOT_AUTHORISED, Exit.CONFIGURATION}
)
"""Ends that come again, however often it is tried."""

_TOLD_TO_END: Final = frozenset({-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, 130})


@dataclass
class _Place:
    """One worker's: who is there, and since when."""

    due: float | None = 0.0
    pid: int | None = None
    since: float = 0.0
    pause: float = FIRST_PAUSE
    runs: int = 0


@dataclass(frozen=True)
class End:
    """A worker's, as it is told to the user."""

    worker: int
    how: str
    again: float | None
    """Seconds until it is started again; None: never."""


class Supervision:
    """The workers of one parent, by their number from 1 on. Times are seconds of any clock."""

    def __init__(self, count: int) -> None:
        self.code = int(Exit.DONE)
        """What the parent ends with."""
        self._places = {number: _Place() for number in range(1, count + 1)}
        self.stopping = False
        """Nobody is started any more."""

    @property
    def pids(self) -> dict[int, int]:
        """The processes that run, and the worker that each of them is."""
        places = self._places.items()
        return {place.pid: number for number, place in places if place.pid is not None}

    @property
    def is_over(self) -> bool:
        """Nobody runs, and nobody is to be started."""
        return self.stopping and not self.pids

    def due(self, now: float) -> list[int]:
        """The workers that are to be started now."""
        places = self._places.items()
        return [number for number, each in places if each.due is not None and each.due <= now]

    def pause(self, now: float) -> float | None:
        """Seconds until somebody is due; None: nobody will be, unless somebody ends."""
        times = [each.due for each in self._places.values() if each.due is not None]
        return max(0.0, min(times) - now) if times else None

    def started(self, worker: int, pid: int, now: float) -> None:
        """It runs."""
        place = self._places[worker]
        place.due, place.pid, place.since, place.runs = None, pid, now, place.runs + 1

    def stop(self) -> None:
        """Start nobody any more."""
        self.stopping = True
        for place in self._places.values():
            place.due = None

    def ended(self, pid: int, code: int, now: float) -> End:
        """It does not run any more. `code`: that of its exit; negative: of the signal."""
        worker = self.pids[pid]
        place = self._places[worker]
        place.pid = None
        if place.runs == 1 and code in _TOLD_WRONG:
            self.stop()
        if self.stopping:
            self.code = self.code or _counted(code)
            return End(worker, _how(code), None)
        return End(worker, _how(code), self._again(place, now))

    def _again(self, place: _Place, now: float) -> float:
        if now - place.since >= STEADY:
            place.pause = FIRST_PAUSE
        pause, place.pause = place.pause, min(2 * place.pause, LONGEST_PAUSE)
        place.due = now + pause
        return pause


def _counted(code: int) -> int:
    """What the end of a worker that was told to end adds to the parent's."""
    if code in _TOLD_TO_END:  # a second signal met it when it had done all but leave
        return int(Exit.DONE)
    return code if code >= 0 else int(Exit.INTERNAL)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-code}"
