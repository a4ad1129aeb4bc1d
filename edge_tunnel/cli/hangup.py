"""SIGHUP of a node: one receiver, since a second one would take the signal from the first."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from edge_tunnel.link.groups import open_plain_nursery

__all__ = ["Hangup", "open_hangup"]


class Hangup:
    """What is done at the signal, in this order."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], Awaitable[None]]] = []

    def call(self, function: Callable[[], Awaitable[None]]) -> None:
        """Do this at each signal."""
        self._calls.append(function)

    async def listen(self, signals: AsyncIterator[int]) -> None:
        """Until cancelled."""
        async for _ in signals:
            for call in self._calls:
                await call()


@asynccontextmanager
async def open_hangup(*, wanted: bool) -> AsyncIterator[Hangup]:
    """Listen for the length of the block, if somebody wants to. A signal that our parent ignores
    for us (nohup) stays ignored."""
    hangup = Hangup()
    if not wanted or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        yield hangup
        return
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(hangup.listen, signals)
            yield hangup
            nursery.cancel_scope.cancel()
