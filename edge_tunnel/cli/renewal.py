"""A node's certificates while it runs: looked after, and read again on SIGHUP."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from edge_tunnel.cli.hangup import Hangup
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.proxy.renewed import Renewed, watch

__all__ = ["open_renewal"]

_log = logging.getLogger("edge_tunnel.proxy")


@asynccontextmanager
async def open_renewal(
    all_of_them: Sequence[Renewed[Any]], emit: Callable[..., None], hangup: Hangup
) -> AsyncIterator[None]:
    """For the length of the block. SIGHUP reads all at once; a broken one changes nothing."""
    if not all_of_them:
        yield
        return
    hangup.call(partial(_renew, all_of_them, emit))
    async with open_plain_nursery() as nursery:
        nursery.start_soon(watch, all_of_them, emit)
        yield
        nursery.cancel_scope.cancel()


async def _renew(all_of_them: Sequence[Renewed[Any]], emit: Callable[..., None]) -> None:
    failed = False
    for one in all_of_them:
        why = await trio.to_thread.run_sync(one.renew)
        if why is not None:
            failed = True
            _log.error("%s; the former certificate of %s stays in use", why, one.what)
            emit("certificate_refused", what=one.what, reason=why)
    if not failed:
        emit("reloaded", changed=[one.what for one in all_of_them])
