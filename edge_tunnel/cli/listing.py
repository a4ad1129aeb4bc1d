"""What ``things``, ``tunnels`` and ``nodes`` have in common: ask, show, and look again."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import trio

from edge_tunnel.cli.access import Access, add_access, read_access
from edge_tunnel.cli.arguments import positive_seconds
from edge_tunnel.cli.events import json_line
from edge_tunnel.cli.exits import Exit
from edge_tunnel.cli.rates import Rate, Rates, moves
from edge_tunnel.cli.stopping import open_stop
from edge_tunnel.cli.table import Column, lay_out
from edge_tunnel.config.source import printable
from edge_tunnel.errors import LinkLost
from edge_tunnel.link.backoff import Backoff
from edge_tunnel.link.dialling import dial_websocket
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.protocol.listing import Missing
from edge_tunnel.remote.lists import Lister, Sample, open_lister
from edge_tunnel.remote.stdio import write_fully

__all__ = ["View", "add_listing", "add_named_listing", "run_listing", "seconds"]

_INTERVAL: Final = 2.0
"""Seconds between two samples of --watch."""

_MEASURE: Final = 1.0
"""Seconds over which rates are measured where nobody watches."""

_CONNECT_TIMEOUT: Final = 5.0
"""Seconds for one node: a person waits."""

_LONGEST_WAIT: Final = 5.0
"""Seconds between two tries to get a lost node back."""

_STDOUT: Final = 1
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"

AnySample: TypeAlias = Sample[Any]


@dataclass(frozen=True, kw_only=True)
class View:
    """One list, as it is asked for and shown."""

    event: str
    """Of a row's JSON line."""

    ask: Callable[[Lister, str], Any]
    """The coroutine of a sample: a method of `Lister`."""

    columns: Sequence[Column]
    cells: Callable[[Any, Rate, float], Sequence[str]]
    """``(row, rate, now)``: one text for each column; now in seconds since 1970."""

    data: Callable[[Any, Rate], Mapping[str, object]]
    """``(row, rate)``: for JSON."""

    nothing: tuple[str, str]
    """What is said where there is no row; the second word goes before the pattern."""


def seconds(milliseconds: int) -> float | None:
    """A time of the wire for JSON."""
    return milliseconds / 1000 or None


def add_listing(parser: argparse.ArgumentParser) -> None:
    """The options of all three."""
    add_access(parser)
    parser.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    parser.add_argument(
        "--interval",
        type=positive_seconds,
        default=_INTERVAL,
        metavar="S",
        help="seconds between two looks of --watch (%(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON for each row")
    parser.add_argument(
        "--wide", action="store_true", help="all columns, however narrow the terminal is"
    )


def add_named_listing(parser: argparse.ArgumentParser, view: View) -> None:
    """The same for a list of which some names can be asked for."""
    text = "names with * and ? in them; quote it (all)"
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="", help=text)
    add_listing(parser)
    parser.set_defaults(run=lambda args: run_listing(args, view, args.pattern))


def run_listing(args: argparse.Namespace, view: View, pattern: str) -> int:
    """Show the list, once or until told to stop."""
    access = read_access(args)
    show = Show(view, args, pattern)
    trio.run(_watch if args.watch else _once, access, show, args.interval)
    return Exit.DONE


@asynccontextmanager
async def _open(access: Access) -> AsyncIterator[Lister]:
    dial = dial_websocket(_CONNECT_TIMEOUT, access.tls, access.http_proxy)
    key = access.key.reveal()
    async with open_lister(access.urls, key, dial, timeout=_CONNECT_TIMEOUT) as lister:
        if lister.notice:
            print(f"edge-tunnel: {printable(lister.notice)}", file=sys.stderr)
        yield lister


async def _once(access: Access, show: Show, _interval: float) -> None:
    async with _open(access) as lister:
        sample = await show.take(lister)
        # where a node is silent, each sample takes seconds: one is enough to see that
        if not sample.missing and any(map(moves, sample.rows)):
            await trio.sleep(_MEASURE)
            sample = await show.take(lister)
    await show.print(sample)


async def _watch(access: Access, show: Show, interval: float) -> None:
    async with open_stop() as stop, open_plain_nursery() as nursery:
        nursery.start_soon(stop.cancels, nursery.cancel_scope)
        backoff = Backoff(_LONGEST_WAIT)
        once = False
        while True:
            try:
                async with _open(access) as lister:
                    while True:
                        due = trio.current_time() + interval
                        await show.print(await show.take(lister))
                        once = True
                        backoff.succeeded()
                        await trio.sleep_until(due)
            except LinkLost as error:
                if not once:  # it never worked: say so, and do not go on for ever
                    raise
                await show.trouble(str(error))
            await trio.sleep(backoff.next_delay())


class Show:
    """Where a list goes: a table, a screen that is drawn again, or JSON lines."""

    def __init__(self, view: View, args: argparse.Namespace, pattern: str) -> None:
        self._view = view
        self._json: bool = args.json
        self._watch: bool = args.watch
        self._pattern = pattern
        self._tty = os.isatty(_STDOUT) and not self._json
        self._wide = args.wide or not self._tty
        self._rates = Rates()
        self._drawn = False

    async def take(self, lister: Lister) -> AnySample:
        """A new sample."""
        sample: AnySample = await self._view.ask(lister, self._pattern)
        self._rates.take(sample.rows, trio.current_time())
        return sample

    async def print(self, sample: AnySample) -> None:
        """Show it. Waits for whoever reads."""
        if self._json:
            await _write(self._json_lines(sample))
        elif self._tty and self._watch:
            await self._draw(self._fit(self._table(sample), self._notes(sample.missing)))
        else:
            notes = self._notes(sample.missing)
            await _write([*self._table(sample), *([""] if self._watch else [])])
            for note in notes:
                print(f"edge-tunnel: {note}", file=sys.stderr)

    async def trouble(self, text: str) -> None:
        """The node is lost; it will be tried again."""
        text = printable(f"{text}; trying again")
        if self._json:
            await _write([json_line("link_lost", reason=text)])
        else:
            print(f"edge-tunnel: {text}", file=sys.stderr)

    def _json_lines(self, sample: AnySample) -> list[str]:
        view = self._view
        lines = [
            json_line(view.event, **view.data(row, self._rates.of(row))) for row in sample.rows
        ]
        lines += [json_line("missing", node=node, reason=why) for node, why in sample.missing]
        if self._watch:
            lines.append(json_line("sample", rows=len(sample.rows), missing=len(sample.missing)))
        return lines

    def _table(self, sample: AnySample) -> list[str]:
        if not sample.rows:
            text, word = self._view.nothing
            return [f"{text} {word} {printable(self._pattern)}" if self._pattern else text]
        now = time.time()
        rows = [
            [printable(cell) for cell in self._view.cells(row, self._rates.of(row), now)]
            for row in sample.rows
        ]
        width = None if self._wide else _terminal()[0]
        lines, left_out = lay_out(self._view.columns, rows, width)
        if left_out:
            names = ", ".join(left_out).lower()
            lines.append(f"(left out, for want of width: {names}; --wide shows all)")
        return lines

    def _notes(self, missing: Sequence[Missing]) -> list[str]:
        return [printable(f"node {node} {why}") for node, why in missing]

    def _fit(self, table: list[str], notes: list[str]) -> list[str]:
        """As much as the screen has lines for."""
        room = max(2, _terminal()[1] - len(notes) - 1)
        if len(table) > room:
            more = len(table) - room + 1
            table = [*table[: room - 1], f"... and {more} lines more"]
        return [*table, *notes]

    async def _draw(self, lines: list[str]) -> None:
        start = _HOME if self._drawn else "\x1b[2J" + _HOME
        self._drawn = True
        lines = [f"{line}{_CLEAR_LINE}" for line in lines]
        await _write([start + lines[0], *lines[1:]], end=_CLEAR_REST)


def _terminal() -> tuple[int, int]:
    try:
        found = os.get_terminal_size(_STDOUT)
    except OSError:
        return 80, 24
    return found.columns or 80, found.lines or 24  # some terminals say 0


async def _write(lines: Sequence[str], end: str = "") -> None:
    """In a thread: whoever reads may be slow, and Ctrl-C must work."""
    data = ("".join(f"{line}\n" for line in lines) + end).encode(errors="replace")
    await trio.to_thread.run_sync(write_fully, _STDOUT, data, abandon_on_cancel=True)
