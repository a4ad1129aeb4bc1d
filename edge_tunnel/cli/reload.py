"""SIGHUP on an edge: read the file again, and go on with what it says."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from edge_tunnel.cli.events import Reporter
from edge_tunnel.config import load_config
from edge_tunnel.edge.edge import Edge
from edge_tunnel.errors import ConfigError
from edge_tunnel.link.groups import open_plain_nursery

__all__ = ["open_reload"]

_log = logging.getLogger("edge_tunnel.config")


@asynccontextmanager
async def open_reload(edge: Edge, path: str, reporter: Reporter) -> AsyncIterator[None]:
    """Listen for SIGHUP for the length of the block. A broken file changes nothing and says why."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(_reload_on, signals, edge, path, reporter)
            yield
            nursery.cancel_scope.cancel()


async def _reload_on(
    signals: AsyncIterator[int], edge: Edge, path: str, reporter: Reporter
) -> None:
    async for _ in signals:
        try:
            loaded = load_config(path)
            changed = edge.reconfigure(loaded.config)
        except ConfigError as error:
            _log.error("%s; nothing was changed", error)
            reporter.emit("reload_failed", reason=str(error))
            continue
        logging.getLogger().setLevel(loaded.config.log_level)
        reporter.emit("reloaded", changed=list(changed.fields))
