"""proxy/forwarded.py and strangers.py: for whom a balancer comes, and that nobody can lie to us."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tunnel.proxy.forwarded import forwarded_peer
from edge_tunnel.proxy.strangers import Strangers

OURS = (ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48"))


@pytest.mark.parametrize(
    ("peer", "values", "from_whom"),
    [
        ("10.0.0.1:9", ["192.0.2.7"], "192.0.2.7:0"),
        ("10.0.0.1:9", ["192.0.2.7:4711"], "192.0.2.7:4711"),
        ("10.0.0.1:9", ["2001:db8::5"], "2001:db8::5:0"),
        ("10.0.0.1:9", ["[2001:db8::5]:4711"], "2001:db8::5:4711"),
        ("10.0.0.1:9", ["::ffff:192.0.2.7"], "192.0.2.7:0"),
        ("::ffff:10.0.0.1:9", ["192.0.2.7"], "192.0.2.7:0"),
        ("2001:db8:ffff::1:9", ["192.0.2.7"], "192.0.2.7:0"),
        # what the peer wrote itself stands to the left of what our proxies wrote
        ("10.0.0.1:9", ["1.2.3.4, 192.0.2.7"], "192.0.2.7:0"),
        ("10.0.0.1:9", ["1.2.3.4", "192.0.2.7"], "192.0.2.7:0"),
        ("10.0.0.1:9", ["1.2.3.4, 192.0.2.7, 10.0.0.2"], "192.0.2.7:0"),
        ("10.0.0.1:9", ["10.9.9.9", "10.0.0.2"], "10.9.9.9:0"),
        # nothing to go by
        ("10.0.0.1:9", [], "10.0.0.1:9"),
        ("10.0.0.1:9", [""], "10.0.0.1:9"),
        ("10.0.0.1:9", ["192.0.2.7, unknown"], "10.0.0.1:9"),
        ("10.0.0.1:9", ["192.0.2.7, 10.0.0.2, nonsense\x00"], "10.0.0.1:9"),
        ("10.0.0.1:9", ["192.0.2.7:port"], "10.0.0.1:9"),
        # nobody believes a stranger
        ("192.0.2.9:9", ["1.2.3.4"], "192.0.2.9:9"),
        ("a peer that is gone already", ["1.2.3.4"], "a peer that is gone already"),
    ],
)
def test_for_whom_it_comes(peer: str, values: list[str], from_whom: str) -> None:
    """The rightmost address that is none of our proxies; of a stranger his own."""
    assert forwarded_peer(peer, values, OURS) == from_whom


addresses = st.ip_addresses().map(str)


@settings(deadline=None)
@given(st.lists(st.text() | addresses, max_size=4), addresses)
def test_what_a_peer_writes_changes_nothing(invented: list[str], real: str) -> None:
    """Whatever stands to the left of what our proxy appended, the answer is the same."""
    alone = forwarded_peer("10.0.0.1:9", [real], OURS)
    if not any(forwarded_peer(f"{real}:1", ["9.9.9.9"], [each]) == "9.9.9.9:0" for each in OURS):
        assert forwarded_peer("10.0.0.1:9", [*invented, real], OURS) == alone


# -- places


def test_a_balancer_holds_places_for_others() -> None:
    """Its connections count for those for whom they come, once that is known."""
    strangers = Strangers(100, 2, OURS)
    those = [strangers.enter("10.0.0.1:9") for _ in range(4)]
    assert strangers.has_room("10.0.0.1:9")
    assert [each.comes_for(["192.0.2.7"]) for each in those] == [True, True, False, False]
    assert those[3].comes_for(["192.0.2.8"])
    assert those[0].peer == "192.0.2.7:0"
    for each in those:
        each.leave()
        each.leave()
    assert strangers.count == len(strangers.sources) == 0
    assert strangers.enter("10.0.0.1:9").comes_for(["192.0.2.7"])


def test_a_stranger_counts_for_himself() -> None:
    """Who is no proxy of ours takes no place of the address that he names."""
    strangers = Strangers(100, 2, OURS)
    those = [strangers.enter("192.0.2.9:9") for _ in range(2)]
    assert all(each.comes_for([f"192.0.2.{n}"]) for n, each in enumerate(those))
    assert not strangers.has_room("192.0.2.9:9")
    assert those[0].peer == "192.0.2.9:9"


def test_places_in_all_are_for_balancers_too() -> None:
    """A balancer is trusted with an address, not with the node."""
    strangers = Strangers(3, 0, OURS)
    for _ in range(3):
        strangers.enter("10.0.0.1:9")
    assert not strangers.has_room("10.0.0.1:9")
