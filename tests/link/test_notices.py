"""link/notices.py: listeners that come late, leave early, or just go away."""

from __future__ import annotations

import gc

import trio

from edge_tunnel.link.notices import Notices


async def test_whoever_comes_after_the_end_does_not_wait() -> None:
    """Nothing more will happen, so the iteration ends at once."""
    notices = Notices()
    notices.close()
    with trio.fail_after(5):
        assert [notice async for notice in notices.subscribe()] == []


async def test_a_listener_that_went_away_is_forgotten() -> None:
    """By `close`, or just dropped: nothing is collected for it any more."""
    notices = Notices()
    with notices.subscribe():
        pass
    notices.emit("one")
    async for _ in _first(notices):
        break
    gc.collect()
    assert len(notices._channels) == 0
    assert notices.dropped == 0


def _first(notices: Notices) -> trio.MemoryReceiveChannel[object]:
    listener = notices.subscribe()
    notices.emit("two")
    return listener
