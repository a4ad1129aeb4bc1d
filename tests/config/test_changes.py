"""What a reload has to do."""

from __future__ import annotations

import dataclasses

import pytest

from edge_tunnel.config import (
    EdgeConfig,
    LinkSettings,
    Secret,
    Server,
    Service,
    TunnelSettings,
    changes,
)

OLD = EdgeConfig(
    servers=(Server(host="a", port=1),), app_key=Secret("k"), things=("t",), log_level="INFO"
)


@pytest.mark.parametrize(
    ("field", "value", "reconnect", "rebind"),
    [
        ("services", (Service(name="s", host="h", port=1),), False, False),
        ("tunnel", TunnelSettings(max_concurrent=1), False, False),
        ("log_level", "DEBUG", False, False),
        ("things", ("t", "u"), False, True),
        ("servers", (Server(host="b", port=1),), True, False),
        ("app_key", Secret("l"), True, False),
        ("link", LinkSettings(ping_interval=1.0), True, False),
    ],
)
def test_each_change(field: str, value: object, reconnect: bool, rebind: bool) -> None:
    """Services and limits change at once; a server or key needs a new link."""
    new = dataclasses.replace(OLD, **{field: value})  # type: ignore[arg-type]
    found = changes(OLD, new)
    assert found.fields == (field,)
    assert (found.needs_reconnect, found.needs_rebind) == (reconnect, rebind)


def test_nothing_changed() -> None:
    assert not changes(OLD, dataclasses.replace(OLD))
