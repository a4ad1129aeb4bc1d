"""SIGHUP on an edge: read the file again, and go on with what it says."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import trio

from edge_tunnel.cli.events import Reporter
from edge_tunnel.config import EdgeConfig, load_config
from edge_tunnel.edge.edge import Edge
from edge_tunnel.errors import ConfigError
from edge_tunnel.link.groups import open_plain_nursery

__all__ = ["open_reload"]

Corrected: TypeAlias = Callable[[EdgeConfig], EdgeConfig]

_log = logging.getLogger("edge_tunnel.config")


@asynccontextmanager
async def open_reload(
    edge: Edge, path: str, reporter: Reporter, corrected: Corrected
) -> AsyncIterator[None]:
    """Listen for SIGHUP for the length of the block. A broken file changes nothing and says why.

    `corrected`: what the command line makes of a configuration.
    """
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(_reload_on, signals, edge, partial(_load, path, corrected), reporter)
            yield
            nursery.cancel_scope.cancel()


def _load(path: str, corrected: Corrected) -> EdgeConfig:
    return corrected(load_config(path).config)


async def _reload_on(
    signals: AsyncIterator[int],
    edge: Edge,
    load: Callable[[], EdgeConfig],
    reporter: Reporter,
) -> None:
    async for _ in signals:
        try:
            config = load()
            changed = edge.reconfigure(config)
        except ConfigError as error:
            _log.error("%s; nothing was changed", error)
            reporter.emit("reload_failed", reason=str(error))
            continue
        logging.getLogger().setLevel(config.log_level)
        reporter.emit("reloaded", changed=list(changed.fields))
