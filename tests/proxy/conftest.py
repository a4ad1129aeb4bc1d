"""A real etcd that the tests of this folder share; each test has a key prefix of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_tunnel.testing.etcd import Etcd, open_etcd


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    """One member. Tests that hurt it start their own."""
    with open_etcd() as engine:
        yield engine


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Keys of this test only."""
    return f"/{request.node.name}/"
