"""protocol/listing.py: what several nodes say becomes one list."""

from __future__ import annotations

from random import Random

import hypothesis.strategies as st
from hypothesis import given

from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Offer
from edge_tunnel.protocol.listing import NodeRow, ThingRow, TunnelRow, merge, offered

ID = bytes(16)


def thing(node: str = "a", epoch: int = 1, *, known: bool = True, name: str = "t") -> ThingRow:
    return ThingRow(name, node, epoch, known, 0, "", (), 0, 0, 0, 0)


def tunnel(edge: tuple[str, str], remote: tuple[str, str], epoch: int = 1) -> TunnelRow:
    return TunnelRow(ID, epoch, "t", "ssh", 5, *edge, *remote, 1, 10, 20)


AT_EDGE = tunnel(("a", "edge:1"), ("b", ""))._replace(from_edge=100)
AT_REMOTE = tunnel(("a", ""), ("b", "remote:2"))._replace(since_ms=3, from_remote=200)
BOTH = TunnelRow(ID, 1, "t", "ssh", 3, "a", "edge:1", "b", "remote:2", 1, 100, 200)


def test_a_tunnel_of_two_nodes_is_one() -> None:
    """Each of them knows the address of its own end; the larger counter and the older time win."""
    assert merge([AT_EDGE, AT_REMOTE]) == merge([AT_REMOTE, AT_EDGE]) == [BOTH]


def test_an_older_route_of_a_tunnel_adds_no_end() -> None:
    """The remote moved from b to c, and b has not noticed."""
    now = tunnel(("a", "edge:1"), ("c", ""), epoch=2)
    assert merge([AT_REMOTE, now])[0].remote_address == ""
    assert merge([now, AT_REMOTE])[0].remote_node == "c"


def test_of_a_thing_the_higher_epoch_is_right() -> None:
    """Also where only the map knows it; of one epoch the thing's own node knows more."""
    assert merge([thing("a", 1), thing("b", 2)]) == [thing("b", 2)]
    assert merge([thing("a", 1), thing("b", 2, known=False)]) == [thing("b", 2, known=False)]
    assert merge([thing("a", known=False), thing("a")]) == [thing("a")]


def test_a_node_speaks_for_itself() -> None:
    """What it told the cluster long ago is for when it is silent."""
    old = NodeRow("a", False, "", "", 0, False, 1, 0, 0, 0)
    new = NodeRow("a", True, "", "", 0, True, 2, 0, 0, 0)
    assert merge([old, new]) == merge([new, old]) == [new]


THINGS = st.builds(
    thing,
    st.sampled_from("abc"),
    st.integers(1, 3),
    known=st.booleans(),
    name=st.sampled_from(["s", "t", "u"]),
)


@given(st.lists(THINGS), st.randoms())
def test_order_does_not_matter(rows: list[ThingRow], random: Random) -> None:
    """Each thing once, sorted, whoever answered first."""
    merged = merge(rows)
    assert [row.thing for row in merged] == sorted({row.thing for row in rows})
    mixed = list(rows)
    random.shuffle(mixed)
    assert [(row.epoch, row.known) for row in merge(mixed)] == [
        (row.epoch, row.known) for row in merged
    ]


@given(st.lists(st.text(max_size=300), max_size=80))
def test_an_offer_is_always_a_good_frame(services: list[str]) -> None:
    """An application's service may have any name; none of them may cost the link."""
    frame = Offer("t", offered(services))
    assert decode(encode(frame)) == frame
