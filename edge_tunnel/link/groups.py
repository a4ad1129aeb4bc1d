"""A nursery whose lone error comes out as itself.

trio wraps errors of a nursery in exception groups, always. Callers of our context managers program
against `LinkLost` or their own error, so a group of one is taken apart at our border; a real group
stays one.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["lone_error", "open_plain_nursery"]


@contextmanager
def lone_error() -> Iterator[None]:
    """Raise the one error of a group instead of the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        try:
            raise error
        finally:
            del error  # no reference cycle through its own traceback


@asynccontextmanager
async def open_plain_nursery() -> AsyncIterator[trio.Nursery]:
    """`trio.open_nursery`, with `lone_error` around it."""
    with lone_error():
        async with trio.open_nursery() as nursery:
            yield nursery
