"""What one turn of a task makes ready for others is sent at its end, without a task switch.

A read from a socket brings many messages, and most of them are passed on at once: to other links,
to local sockets. Whoever could write there would otherwise be woken by the scheduler, one turn for
each message, which costs more than everything else about a small message. So whoever takes a batch
of messages does it inside ``with batch():``, and what became ready meanwhile is written when the
batch is over, as far as it can be without waiting; only what cannot waits for a task of its own.

Nothing awaits inside a batch, so that there is one at a time in a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

import trio

__all__ = ["batch", "now", "soon"]

Call: TypeAlias = Callable[[], object]


class _Batch:
    """Also the context: a generator's would cost as much as a small message."""

    __slots__ = ("calls", "depth", "now")

    def __init__(self) -> None:
        self.depth = 0
        self.calls: dict[Call, None] = {}
        self.now = 0.0  # not looked at

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        if self.depth > 1:
            self.depth -= 1
            return
        bug: BaseException | None = None
        try:
            while self.calls:  # a call may make the next: what a socket took is credit for a link
                calls, self.calls = self.calls, {}
                for call in calls:
                    try:
                        call()
                    except BaseException as error:  # noqa: BLE001 - raised when all others' bytes are out
                        bug = bug or error
        finally:
            self.depth = 0
            self.now = 0.0
        if bug is not None:
            raise bug


class _Here(threading.local):
    def __init__(self) -> None:
        self.batch = _Batch()


_here = _Here()


def batch() -> _Batch:
    """The context of a batch; inside another one it is the same batch."""
    return _here.batch


def soon(call: Call) -> bool:
    """Have `call` called once, at the end of this batch. Returns False if there is no batch.

    It must not raise, nor wait.
    """
    batch = _here.batch
    if batch.depth:
        batch.calls[call] = None
        return True
    return False


def now() -> float:
    """trio's time (s). It is looked at once in a batch, in which nothing waits: to ask trio takes
    longer than anything else that is asked so often."""
    return _here.batch.now or _look()


def _look() -> float:
    time = trio.current_time()
    if _here.batch.depth:
        _here.batch.now = time
    return time
