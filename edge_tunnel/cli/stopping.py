"""How a long-running command ends: a signal, its parent's leaving, or nobody reading its output."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.remote.stdio import read_some

__all__ = ["Stop", "open_stop"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop:
    """Becomes set when the command is to end."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self.signal: signal.Signals | None = None
        """The signal that asked for it; None if it was something else."""

    def set(self) -> None:
        """End the command."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether the command is to end."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the command is to end."""
        await self._event.wait()

    async def cancels(self, scope: trio.CancelScope) -> None:
        """Wait for it, and cancel what waits for anything else."""
        await self.wait()
        scope.cancel()


@asynccontextmanager
async def open_stop(*, with_stdin: bool = False, with_hangup: bool = True) -> AsyncIterator[Stop]:
    """Listen for SIGTERM, SIGINT and SIGHUP for the length of the block.

    `with_stdin`: the end of stdin ends the command as well. It is what a parent's death looks like,
    however it died. `with_hangup`: whether SIGHUP does. A signal that our parent ignores for us
    (nohup) stays ignored.
    """
    stop = Stop()
    signals_meant = _SIGNALS if with_hangup else (signal.SIGTERM, signal.SIGINT)
    wanted = [each for each in signals_meant if signal.getsignal(each) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*wanted) as signals:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(_on_signal, signals, stop)
            if with_stdin:
                nursery.start_soon(_on_stdin_end, stop)
            yield stop
            nursery.cancel_scope.cancel()


async def _on_signal(signals: AsyncIterator[int], stop: Stop) -> None:
    async for number in signals:
        stop.signal = stop.signal or signal.Signals(number)
        stop.set()


async def _on_stdin_end(stop: Stop) -> None:
    """In a thread, since stdin may be anything; what comes is not looked at."""
    try:
        while await trio.to_thread.run_sync(read_some, 0, abandon_on_cancel=True):
            pass
    except OSError:  # closed already, or its other end is gone
        pass
    stop.set()
