"""What is said of tunnels, by whomever: arguments of several types, and hostile ones."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from edge_tunnel.alwayson.messages import Characteristic, Entity, Method, Request
from edge_tunnel.alwayson.reading import AlwaysOnError
from edge_tunnel.alwayson.tunnels import (
    CommandFromEdge,
    CompleteTunnel,
    StartTunnel,
    service,
    tunnel_request,
)
from edge_tunnel.alwayson.values import BaseType, Value, integer, one_row, string

CONNECTION = '{"host": "127.0.0.1", "port": 22}'


def start(**fields: Value) -> StartTunnel:
    """From arguments that are enough, but for those given."""
    values = {"tid": string("t1"), "connection": string(CONNECTION), **fields}
    request = service("device", "StartTunnel", one_row(values))
    found = tunnel_request(request)
    assert isinstance(found, StartTunnel)
    return found


def test_the_least_that_is_enough() -> None:
    """Everything else has the original's default."""
    assert start() == StartTunnel("t1", "127.0.0.1", 22)
    assert (start().chunksize, start().idle_timeout, start().num_connects) == (8192, 30_000, 1)


def test_numbers_of_any_type() -> None:
    """INTEGER, NUMBER, or a text of one; JSON as JSON."""
    connection = Value(BaseType.JSON, '{"host": "h", "port": "22", "num_connects": 0}')
    given = start(chunksize=Value(BaseType.NUMBER, 16384.0), connection=connection)
    assert (given.chunksize, given.port, given.num_connects) == (16384, 22, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"tid": string("")},
        {"tid": string("a\nb")},
        {"tid": string("x" * 300)},
        {"tid": integer(1)},
        {"connection": string("{}")},
        {"connection": string("[1]")},
        {"connection": string("[" * 100_000)},
        {"connection": string("no JSON")},
        {"connection": string('{"host": "h", "port": 0}')},
        {"connection": string('{"host": "h", "port": 65536}')},
        {"connection": string('{"host": "h", "port": NaN}')},
        {"connection": string('{"host": "h", "port": true}')},
        {"connection": string('{"host": 1, "port": 22}')},
        {"connection": string('{"host": "h", "port": ' + "9" * 5000 + "}")},
        {"connection": integer(1)},
        {"chunksize": string("many")},
        {"chunksize": Value(BaseType.NUMBER, float("inf"))},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_what_cannot_be_opened(fields: dict[str, Value]) -> None:
    """It is refused with a text, not met later."""
    with pytest.raises(AlwaysOnError):
        start(**fields)


def test_without_arguments() -> None:
    """No table, and a table without a row."""
    for params in (None, one_row({})):
        with pytest.raises(AlwaysOnError):
            tunnel_request(service("device", "StartTunnel", params))


def test_what_is_about_something_else() -> None:
    """A property of that name, another service."""
    assert tunnel_request(service("device", "GetMetadata")) is None
    entity = Entity(10, "device")
    prop = Request(Method.GET, entity, Characteristic.PROPERTY, "StartTunnel")
    assert tunnel_request(prop) is None


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
NUMBER = st.integers(-(2**31), 2**31 - 1)
TUNNELS = st.one_of(
    st.builds(
        StartTunnel,
        TEXT,
        st.text(max_size=40),
        st.integers(1, 65_535),
        TEXT,
        NUMBER,
        NUMBER,
        NUMBER,
        NUMBER.filter(bool),
        st.text(max_size=40),
    ),
    st.builds(CompleteTunnel, TEXT, TEXT, st.text(max_size=40)),
    st.builds(CommandFromEdge, TEXT, TEXT),
)


@given(TUNNELS)
def test_there_and_back(said: Any) -> None:
    """Whatever is said is understood."""
    assert tunnel_request(said.request("device")) == said
