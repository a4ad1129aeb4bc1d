"""link/groups.py: whoever programs against an error gets it, however many tasks were around."""

from __future__ import annotations

import sys

import pytest
import trio

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.groups import lone_error, open_plain_nursery

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


async def _lose() -> None:
    raise LinkLost("gone")


async def test_an_error_comes_out_as_itself() -> None:
    """Also from nurseries in nurseries, and without the group as its context."""
    with pytest.raises(LinkLost) as caught:
        async with open_plain_nursery() as nursery, trio.open_nursery() as inner:
            nursery.start_soon(trio.sleep_forever)
            inner.start_soon(_lose)
    assert caught.value.__context__ is None


async def test_an_error_in_the_moment_of_a_cancellation() -> None:
    """The group has Cancelled in it; it is the error all the same, where it is expected."""
    caught = False

    async def lose_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise LinkLost("gone") from None

    with trio.CancelScope() as scope:
        try:
            async with open_plain_nursery() as nursery:
                nursery.start_soon(lose_when_cancelled)
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
        except LinkLost:
            caught = True
            await trio.lowlevel.checkpoint()
            raise AssertionError("still cancelled")  # noqa: B904 - it is not the LinkLost's fault
    assert caught
    assert scope.cancelled_caught


async def test_two_errors_stay_a_group() -> None:
    """None of them is more true than the other."""
    with pytest.raises(BaseExceptionGroup), lone_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_lose)
            nursery.start_soon(_lose)


async def test_cancelled_alone_stays_cancelled() -> None:
    """It reaches its scope."""
    with trio.CancelScope() as scope:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
    assert scope.cancelled_caught
