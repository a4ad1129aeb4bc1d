"""A person who waits is told for what: one line on stderr, and only if it takes long."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from edge_tunnel.cli.events import fit_to_show
from edge_tunnel.link.groups import open_plain_nursery

__all__ = ["open_patience"]

_PATIENCE: Final = 2.0
"""Seconds of silence that nobody takes for a hang; a second node has had its turn by then."""


@asynccontextmanager
async def open_patience(text: Callable[[], str]) -> AsyncIterator[None]:
    """Say `text` if the block takes longer than a moment; what it is, is asked then."""
    async with open_plain_nursery() as nursery:
        nursery.start_soon(_say, text)
        yield
        nursery.cancel_scope.cancel()


async def _say(text: Callable[[], str]) -> None:
    await trio.sleep(_PATIENCE)
    print(fit_to_show(f"edge-tunnel: {text()}"), file=sys.stderr, flush=True)
