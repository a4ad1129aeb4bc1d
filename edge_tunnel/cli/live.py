"""The live line of ``edge-tunnel connect`` on a terminal: state, rates, open streams."""

from __future__ import annotations

import contextlib
import os
from typing import Final

import trio

from edge_tunnel.cli.events import Reporter
from edge_tunnel.remote.remote import Remote, RemoteStatistics
from edge_tunnel.remote.stdio import write_fully

__all__ = ["CLEAR_LINE", "human_bytes", "show_live"]

CLEAR_LINE: Final = b"\r\x1b[K"

_STDOUT, _STDERR = 1, 2


async def show_live(remote: Remote, reporter: Reporter, name: str) -> None:
    """Draw the line once a second, until cancelled."""
    if os.isatty(_STDOUT):
        reporter.before_line = CLEAR_LINE  # the events scroll away above the line
    before = remote.statistics()
    with contextlib.suppress(OSError):  # the terminal is gone: so is the line
        while True:
            now = remote.statistics()
            await _draw(f"{name} | {_state(remote)} | {_rates(before, now)} | {_streams(now)}")
            before = now
            try:
                await trio.sleep(1)
            except trio.Cancelled:
                write_fully(_STDERR, CLEAR_LINE)
                raise


async def _draw(line: str) -> None:
    data = CLEAR_LINE + line[: _width() - 1].encode(errors="replace")
    await trio.to_thread.run_sync(write_fully, _STDERR, data, abandon_on_cancel=True)


def _width() -> int:
    try:
        return os.get_terminal_size(_STDERR).columns or 80  # some terminals say 0
    except OSError:
        return 80


def _state(remote: Remote) -> str:
    if remote.link is None:
        return "no link, trying"
    tunnels = list(remote.tunnels.values())
    if not tunnels:
        return "waiting for a connection"
    return "attached" if all(each.attached for each in tunnels) else "detached, waiting"


def _rates(before: RemoteStatistics, now: RemoteStatistics) -> str:
    down = max(0, now.received - before.received)  # a new tunnel counts from 0
    up = max(0, now.sent - before.sent)
    return f"in {human_bytes(down)}/s out {human_bytes(up)}/s"


def _streams(now: RemoteStatistics) -> str:
    return "1 stream" if now.streams == 1 else f"{now.streams} streams"


def human_bytes(count: float) -> str:
    """As 17 B, 4.2 KB, 310 MB: three digits at most."""
    units = iter(("B", "KB", "MB", "GB", "TB"))
    unit = next(units)
    while count >= 999.5 and unit != "TB":
        count, unit = count / 1000, next(units)
    return f"{count:.0f} {unit}" if count >= 99.5 or unit == "B" else f"{count:.1f} {unit}"
