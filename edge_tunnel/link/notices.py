"""What a role tells the outside: one notice for each thing that happened.

A notice is what becomes a JSON line on stdout and what `edge.events()` yields. Somebody who does
not listen must not make a process grow, so each subscription is a bounded queue that drops what is
newest and counts it.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import trio

__all__ = ["Notice", "Notices"]

_QUEUE: Final = 1024
"""Notices that a slow listener may be behind: a burst of 500 streams, opened and closed."""


@dataclass(frozen=True)
class Notice:
    """Something that happened: `event` is its name, `data` what is known of it."""

    event: str
    time: float
    """Seconds since 1970, as `time.time`."""

    data: Mapping[str, object] = field(default_factory=dict)

    def __getitem__(self, key: str) -> object:
        return self.data[key]

    def as_dict(self) -> dict[str, object]:
        """For a JSON line: `event` and `time` first."""
        return {"event": self.event, "time": round(self.time, 3), **self.data}


class Notices:
    """Hands each notice to everybody who listens."""

    def __init__(self) -> None:
        self._channels: set[trio.MemorySendChannel[Notice]] = set()
        self._calls: list[Callable[[Notice], None]] = []
        self._closed = False
        self.dropped = 0

    def emit(self, event: str, **data: object) -> None:
        """Something happened."""
        if not (self._calls or self._channels):
            return
        notice = Notice(event, time.time(), data)
        for call in self._calls:
            call(notice)
        for channel in list(self._channels):
            self._offer(channel, notice)

    def _offer(self, channel: trio.MemorySendChannel[Notice], notice: Notice) -> None:
        try:
            channel.send_nowait(notice)
        except trio.WouldBlock:
            self.dropped += 1
        except trio.BrokenResourceError:  # nobody listens there any more
            self._channels.discard(channel)

    def call(self, function: Callable[[Notice], None]) -> None:
        """Call `function` for each notice, at once (it must not wait)."""
        self._calls.append(function)

    def subscribe(self) -> trio.MemoryReceiveChannel[Notice]:
        """Iterate over what happens from now on; ends with `close`.

        Who stops listening before that closes it (``with notices.subscribe() as ...``) or drops it.
        """
        sender, receiver = trio.open_memory_channel[Notice](_QUEUE)
        if self._closed:
            sender.close()
        else:
            self._channels.add(sender)
            weakref.finalize(receiver, self._channels.discard, sender)
        return receiver

    def close(self) -> None:
        """Nothing more will happen: every iteration ends."""
        self._closed = True
        for channel in self._channels:
            channel.close()
        self._channels.clear()
