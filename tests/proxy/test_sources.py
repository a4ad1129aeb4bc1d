"""proxy/sources.py: who counts as one, and that a place is given back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.proxy.sources import Sources, source_of


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("192.0.2.7:4711", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6:4711", "2001:db8:1:2::/64"),  # as socket names have it
        ("[2001:db8:1:2::9]:4711", "2001:db8:1:2::/64"),
        ("fe80::1%eth0:4711", "fe80::/64"),
        ("::ffff:192.0.2.7:4711", "192.0.2.7"),
        ("a peer that is gone already", "a peer that is gone already"),
        ("", ""),
    ],
)
def test_who_is_counted_as_one(peer: str, source: str) -> None:
    """An IPv4 address, or the /64 that one subscriber has."""
    assert source_of(peer) == source


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans())))
def test_the_count_is_exact(steps: list[tuple[int, bool]]) -> None:
    """As many as came and have not left, for each source; nothing stays of who left."""
    sources, here = Sources(3), [0, 0, 0, 0]
    for who, comes in steps:
        peer = f"192.0.2.{who}:{len(steps)}"
        assert sources.has_room(peer) == (here[who] < 3)
        if comes:
            sources.enter(peer)
            here[who] += 1
        elif here[who]:
            sources.leave(peer)
            here[who] -= 1
    assert len(sources) == sum(count > 0 for count in here)


def test_no_limit() -> None:
    """0 is off: all come from a balancer."""
    sources = Sources(0)
    for port in range(1000):
        sources.enter(f"192.0.2.1:{port}")
    assert sources.has_room("192.0.2.1:1")
