"""proxy/demands.py: which software a node takes, and what it says to what it does not."""

from __future__ import annotations

import pytest

from edge_tunnel.config.versions import Demand, Demands
from edge_tunnel.protocol.frames import Bye, Hello, Join, Welcome
from edge_tunnel.protocol.greeting import SOFTWARE
from edge_tunnel.proxy.demands import answer_greeting
from edge_tunnel.reasons import Reason

HELLO = Hello(1, 1, "edge", SOFTWARE, "key", bytes(16), 15000, ())
PEERS = {"edge": "this edge", "remote": "this remote", "node": "the other node"}
GREETINGS: dict[str, Hello | Join] = {
    "edge": HELLO,
    "remote": HELLO._replace(role="remote"),
    "node": Join(1, 1, "b", SOFTWARE, "key", 6000, ()),
}


@pytest.mark.parametrize("role", GREETINGS)
def test_each_role_has_its_own_demand(role: str) -> None:
    """What is asked of one says nothing about the others."""
    demands = Demands(**{role: Demand(minimum="99")})
    for each, greeting in GREETINGS.items():
        answer = answer_greeting(greeting, "node-a", demands)
        assert isinstance(answer, Bye if each == role else Welcome)


@pytest.mark.parametrize("role", GREETINGS)
def test_the_line_for_who_is_too_old(role: str) -> None:
    """It names both versions, and how to update."""
    demands = Demands(**{role: Demand(minimum="1.2.0")})
    answer = answer_greeting(GREETINGS[role], "node-a", demands)
    assert answer == Bye(
        Reason.VERSION,
        f"this node needs edge_tunnel 1.2.0 or newer, {PEERS[role]} is {SOFTWARE}: "
        "update it with 'pip install --upgrade edge-tunnel'",
        0,
    )


@pytest.mark.parametrize("version", ["0.1.0", "0.9.9", "0.10", "x", "²", "0.1.0rc1", "1.0.0rc1"])
@pytest.mark.parametrize("name", ["edge_tunnel/", "edge_tunnel/ ", "edge_tunnel"])
def test_too_old(name: str, version: str) -> None:
    """Below the minimum; a version that cannot be read, or none, is below all."""
    software = name if name == "edge_tunnel" else name + version
    hello = HELLO._replace(software=software)
    answer = answer_greeting(hello, "node-a", Demands(edge=Demand(minimum="1.0.0")))
    assert isinstance(answer, Bye)
    assert answer.reason == Reason.VERSION


@pytest.mark.parametrize("version", ["1.0.0", "1.0", "1.0.1rc1", "1.0.0.post1", "0.10.0+x"])
def test_new_enough(version: str) -> None:
    hello = HELLO._replace(software=f"edge_tunnel/{version}")
    demand = Demand(minimum="1.0.0" if version[0] == "1" else "0.10.0")
    assert isinstance(answer_greeting(hello, "node-a", Demands(edge=demand)), Welcome)


def test_older_than_recommended() -> None:
    """It is welcome, with a notice for its user; who is new enough hears nothing."""
    demands = Demands(edge=Demand(recommended="0.20.0"))
    answer = answer_greeting(HELLO, "node-a", demands)
    assert isinstance(answer, Welcome)
    assert answer.notice == (
        f"edge_tunnel 0.20.0 or newer is recommended by this node, this edge is {SOFTWARE}: "
        "update it with 'pip install --upgrade edge-tunnel'"
    )
    newer = answer_greeting(HELLO._replace(software="edge_tunnel/0.20.0"), "node-a", demands)
    assert isinstance(newer, Welcome) and newer.notice == ""


def test_by_default_nothing_is_recommended() -> None:
    answer = answer_greeting(HELLO, "node-a", Demands())
    assert answer == Welcome(1, "node-a", SOFTWARE, (), "")


def test_other_software_is_not_measured_by_our_versions() -> None:
    """Another implementation of WIRE.md has version numbers of its own."""
    hello = HELLO._replace(software="other/0.0.1")
    demands = Demands(edge=Demand(minimum="1.0.0", recommended="2.0.0"))
    answer = answer_greeting(hello, "node-a", demands)
    assert isinstance(answer, Welcome) and answer.notice == ""


def test_the_protocol_comes_first() -> None:
    """Who speaks no version of the wire that the node knows hears of that."""
    hello = HELLO._replace(oldest=7, newest=8, software="edge_tunnel/0.0.1")
    answer = answer_greeting(hello, "node-a", Demands())
    assert isinstance(answer, Bye) and "speaks 7 to 8" in answer.text
