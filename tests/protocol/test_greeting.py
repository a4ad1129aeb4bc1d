"""The greeting: versions, roles, and texts that say what to do."""

from __future__ import annotations

import pytest

from edge_tunnel.protocol.frames import Bye, Hello, Welcome
from edge_tunnel.protocol.greeting import SOFTWARE, Demands, agree
from edge_tunnel.reasons import Reason

HELLO = Hello(1, 1, "edge", SOFTWARE, "key", bytes(16), 15000, ())


def test_agreed() -> None:
    """The same version on both sides: welcome, with nothing to say."""
    assert agree(HELLO, "node-a", Demands()) == Welcome(1, "node-a", SOFTWARE, (), "")


@pytest.mark.parametrize(("oldest", "newest"), [(2, 3), (0, 0), (5, 4), (1, 0)])
def test_no_common_version(oldest: int, newest: int) -> None:
    """The text names both ranges."""
    answer = agree(HELLO._replace(oldest=oldest, newest=newest), "node-a", Demands())
    assert isinstance(answer, Bye)
    assert answer.reason == Reason.VERSION
    assert f"speaks {oldest} to {newest}" in answer.text


def test_the_highest_common_version() -> None:
    """A newer endpoint speaks the node's version; features that only it knows are left out."""
    answer = agree(HELLO._replace(newest=9, features=("zip",)), "node-a", Demands())
    assert answer == Welcome(1, "node-a", SOFTWARE, (), "")


def test_unknown_role() -> None:
    """Only edges and remotes link to a node."""
    answer = agree(HELLO._replace(role="admin"), "node-a", Demands())
    assert isinstance(answer, Bye)
    assert answer.reason == Reason.PROTOCOL_ERROR


@pytest.mark.parametrize("version", ["0.1.0", "0.9.9", "0.10", "", "x", "²", "0.1.0rc1"])
def test_too_old(version: str) -> None:
    """Software below the minimum is told which version it needs, and how to get it."""
    hello = HELLO._replace(software=f"edge_tunnel/{version}")
    answer = agree(hello, "node-a", Demands(minimum="1.0.0"))
    assert isinstance(answer, Bye)
    assert answer.reason == Reason.VERSION
    assert "needs edge_tunnel 1.0.0" in answer.text


def test_older_than_recommended() -> None:
    """It is welcome, with a notice for its user."""
    answer = agree(HELLO, "node-a", Demands(recommended="0.20.0"))
    assert isinstance(answer, Welcome)
    assert answer.notice.startswith("edge_tunnel 0.20.0 or newer is recommended")


def test_other_software_is_not_measured_by_our_versions() -> None:
    """Another implementation of WIRE.md has version numbers of its own."""
    hello = HELLO._replace(software="other/0.0.1")
    assert isinstance(agree(hello, "node-a", Demands(minimum="1.0.0")), Welcome)
