"""``edge_tunnel.protocol``: what is spoken with a server."""

from __future__ import annotations

import pytest

from tests.config.conftest import Inspect

BASE = '"ws_servers": [{"host": "h", "port": 443}], "appKey": "k", "auto_bind": [{"name": "t"}]'


def own(text: str) -> str:
    """A file whose own group is this."""
    return f'{{{BASE}, "edge_tunnel": {{{text}}}}}'


@pytest.mark.parametrize("protocol", ["auto", "edge-tunnel", "alwayson"])
def test_each(inspect: Inspect, protocol: str) -> None:
    """As it is written."""
    config = inspect(own(f'"protocol": "{protocol}"')).config
    assert config is not None
    assert config.protocol == protocol


def test_left_out(inspect: Inspect) -> None:
    """The greeting picks."""
    config = inspect(own("")).config
    assert config is not None
    assert config.protocol == "auto"


def test_another(inspect: Inspect) -> None:
    """An error that names those that there are."""
    found = inspect(own('"protocol": "mqtt"'))
    assert found.config is None
    (error,) = [each for each in found.findings if each.key == "edge_tunnel.protocol"]
    assert "alwayson" in f"{error.message} {error.hint}"


@pytest.mark.parametrize(
    ("protocol", "usable", "says"),
    [
        ("alwayson", False, "AlwaysOn has no end-to-end encryption"),
        ("auto", True, "AlwaysOn is never spoken"),
        ("edge-tunnel", True, ""),
    ],
)
def test_with_encryption_required(inspect: Inspect, protocol: str, usable: bool, says: str) -> None:
    """AlwaysOn has none between the two ends: an error, a note, and nothing to say."""
    found = inspect(own(f'"protocol": "{protocol}", "end_to_end_encryption": "require"'))
    said = [each.message for each in found.findings if each.key == "edge_tunnel.protocol"]
    assert (found.config is not None) == usable
    assert [says in each for each in said] == ([True] if says else [])
