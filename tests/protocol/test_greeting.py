"""The greeting: versions, roles, and texts that say what to do."""

from __future__ import annotations

import pytest

from edge_tunnel.protocol.frames import Bye, Hello, Welcome
from edge_tunnel.protocol.greeting import SOFTWARE, agree
from edge_tunnel.reasons import Reason

HELLO = Hello(1, 1, "edge", SOFTWARE, "key", bytes(16), 15000, ())


def test_agreed() -> None:
    """The same version on both sides: welcome, with nothing to say."""
    assert agree(HELLO, "node-a") == Welcome(1, "node-a", SOFTWARE, (), "")


@pytest.mark.parametrize(("oldest", "newest"), [(2, 3), (0, 0), (5, 4), (1, 0)])
def test_no_common_version(oldest: int, newest: int) -> None:
    """The text names both ranges."""
    answer = agree(HELLO._replace(oldest=oldest, newest=newest), "node-a")
    assert isinstance(answer, Bye)
    assert answer.reason == Reason.VERSION
    assert f"speaks {oldest} to {newest}" in answer.text


def test_the_highest_common_version() -> None:
    """A newer endpoint speaks the node's version; features that only it knows are left out."""
    answer = agree(HELLO._replace(newest=9, features=("zip",)), "node-a")
    assert answer == Welcome(1, "node-a", SOFTWARE, (), "")


def test_unknown_role() -> None:
    """Only edges and remotes link to a node."""
    answer = agree(HELLO._replace(role="admin"), "node-a")
    assert isinstance(answer, Bye)
    assert answer.reason == Reason.PROTOCOL_ERROR
