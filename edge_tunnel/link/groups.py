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
    """Raise the one error of a group instead of the group.

    When a task fails in the moment in which all of them are cancelled from outside, the group has
    Cancelled in it as well. It gives way to the error, as in trio's own unpacking of groups: who
    goes on after the error is cancelled at the next checkpoint anyway.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        errors = [each for each in _leaves(group) if not isinstance(each, trio.Cancelled)]
        if len(errors) != 1:
            raise
        error = errors.pop()
        context = error.__context__
        try:
            raise error
        finally:
            error.__context__ = context  # not the group that it came in: a tale told twice
            del error, context, group  # no reference cycle through its own traceback


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


@asynccontextmanager
async def open_plain_nursery() -> AsyncIterator[trio.Nursery]:
    """`trio.open_nursery`, with `lone_error` around it."""
    with lone_error():
        async with trio.open_nursery() as nursery:
            yield nursery
