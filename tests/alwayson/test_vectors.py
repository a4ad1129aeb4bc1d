"""The codec against what real devices say: their bytes are the arbiter."""

from __future__ import annotations

import pytest

from edge_tunnel.alwayson.codec import decode, encode
from edge_tunnel.alwayson.messages import (
    NO_SESSION,
    Auth,
    Bind,
    Entity,
    Gateway,
    Message,
    Request,
    Response,
    Status,
    Unbind,
    auth,
)
from edge_tunnel.alwayson.multipart import Assembly, encode_parts
from edge_tunnel.alwayson.text import decode_text, encode_text
from edge_tunnel.alwayson.tunnels import (
    CommandFromEdge,
    CommandToEdge,
    CompleteTunnel,
    StartTunnel,
    tunnel_request,
)
from edge_tunnel.alwayson.values import Location, Value
from tests.alwayson.vectors import BINARY, VECTORS, Vector, vector

PADDED = {
    "response_all_types": 1,
    "response_error_reason_in_infotable_trailing_zeros": 14,
}
"""Vectors of the C SDK that end with zero bytes which are not of the message, and how many."""

WEBSOCKET = {"client_ping", "close_frame", "tunnel_close_from_edge"}
"""Vectors that are the WebSocket's own control frames: not the codec's."""

THING = Entity(10, "SteamSensor1")


@pytest.mark.parametrize("each", BINARY, ids=str)
def test_each_message(each: Vector) -> None:
    """It encodes back to the same bytes, or to the same without the padding that is listed."""
    again = encode(decode(each.data))
    assert each.data == again + bytes(PADDED.get(each.name, 0))


@pytest.mark.parametrize("name", ["tunnel_text_frame_to_edge", "tunnel_text_frame_from_edge"])
def test_text(name: str) -> None:
    """What is said on a tunnel's socket."""
    text = vector(name).decode()
    assert decode_text(text) == b"hello world\n"
    assert encode_text(b"hello world\n") == text


def test_every_vector_is_looked_at() -> None:
    """None is forgotten: binary, text, or listed as the WebSocket's own."""
    assert len(VECTORS) == 47
    other = {each.name for each in VECTORS if each.opcode > 2}
    assert other == WEBSOCKET
    assert {each.name for each in VECTORS if each.opcode == 1} == {
        "tunnel_text_frame_to_edge",
        "tunnel_text_frame_from_edge",
    }


def test_authentication() -> None:
    """Its key, and the session in the header of the answer; a Java device is not bound yet."""
    key = "11111111-2222-3333-4444-555555555555"
    ask = decode(vector("auth_request", "Java SDK 6.2.0"))
    assert ask == Message(auth(key), 1, NO_SESSION, NO_SESSION)
    assert isinstance(ask.body, Auth)
    assert ask.body.app_key == key
    assert key not in repr(ask)
    answer = ask.answer(Response())._replace(session_id=0x1234)
    assert encode(answer) == vector("auth_ok_response", "Java SDK 6.2.0")


def test_bind() -> None:
    """With a gateway and without."""
    assert decode(vector("bind_request")).body == Bind(("SteamSensor1",))
    assert decode(vector("unbind_request")).body == Unbind(("SteamSensor1",))
    names = ("SteamSensor1-0001", "SteamSensor1", "SteamSensor1-0002")
    gateway = decode(vector("bind_with_gateway")).body
    assert gateway == Bind(names, Gateway("MyGateway", "mytype"))


def test_every_type() -> None:
    """Each type that a device sends, in one row."""
    body = decode(vector("response_all_types")).body
    assert isinstance(body, Response)
    assert body.ok
    assert body.table.first() == {
        "s": "caf\u00e9",
        "n": -1.25,
        "i": -2,
        "b": True,
        "d": 1_500_000_000_123,
        "l": Location(2.5, 1.5, 3.5),
        "bl": b"abc",
        "v": Value(22, 7),
        "j": '{"a":1}',
        "x": None,
    }
    assert body.table.fields[2].aspects == (
        ("isPrimaryKey", Value(2, True)),
        ("units", Value(0, "kg")),
    )


def test_a_table_in_a_table() -> None:
    """Properties that a device pushes."""
    body = decode(vector("edge_UpdateSubscribedPropertyValues")).body
    assert isinstance(body, Request)
    assert body.params is not None
    values = body.params.first()["values"]
    assert [row[0].plain for row in values.rows] == ["TemperatureLimit", "Logfile"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "client", "why"),
    [
        ("response_not_found_no_reason", "C SDK 2.2.1", ""),
        (
            "response_not_found_with_reason_1",
            "Java SDK 6.2.0",
            "Service [NoSuchService] Does Not Exist On Thing [SteamSensor1]",
        ),
        ("response_error_reason_in_infotable_trailing_zeros", "C SDK 2.2.1", "asked to fail"),
    ],
)
def test_reasons(name: str, client: str, why: str) -> None:
    """The C SDK says its reason in the result, the Java SDK where it belongs."""
    body = decode(vector(name, client)).body
    assert isinstance(body, Response)
    assert not body.ok
    assert body.why == why


@pytest.mark.parametrize(
    ("name", "client", "limit"),
    [
        ("multipart_request_to_edge", "C SDK 2.2.1", 8192),
        ("multipart_response_from_edge", "C SDK 2.2.1", 8192),
        ("multipart_response_from_edge", "Java SDK 6.2.0", 8188),
    ],
)
def test_parts(name: str, client: str, limit: int) -> None:
    """Parts make a message, in any order, and the message makes the same parts."""
    parts = [vector(f"{name}_{number}", client) for number in (1, 2, 3)]
    assembly = Assembly()
    assert assembly.receive(parts[2], 0) is None
    assert assembly.receive(parts[0], 0) is None
    message = assembly.receive(parts[1], 0)
    assert message is not None
    assert assembly.held == 0
    assert encode_parts(message, limit) == parts


def test_parts_of_a_request_of_the_c_sdk() -> None:
    """It counts the name in its first part twice; what matters is that nothing is lost."""
    assembly = Assembly()
    parts = [vector(f"multipart_request_from_edge_{number}") for number in (1, 2, 3)]
    message = [assembly.receive(each, 0) for each in parts][-1]
    assert message is not None
    assert isinstance(message.body, Request)
    assert message.body.entity == THING
    assert message.body.params is not None
    assert message.body.params.first() == {"v": "p" * 20_000}


def test_start_tunnel() -> None:
    """The request that C and Java devices accepted, field by field; and made anew, byte by byte."""
    message = decode(vector("StartTunnel_request"))
    assert isinstance(message.body, Request)
    start = tunnel_request(message.body)
    assert start == StartTunnel(
        "tid-0001",
        "127.0.0.1",
        18_081,
        idle_timeout=20_000,
        num_connects=-1,
        message="hi",
    )
    assert "tid-0001" not in repr(start)
    again = message._replace(body=start.request("SteamSensor1"))
    assert encode(again) == vector("StartTunnel_request")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CompleteTunnel_request", CompleteTunnel("tid-0001", "alice", "user closed")),
        ("TunnelCommandToEdge_CONNECT", CommandToEdge("tid-0001", "CONNECT")),
        ("TunnelCommandToEdge_DISCONNECT", CommandToEdge("tid-0001", "DISCONNECT")),
        ("TunnelCommandFromEdge_CANCEL", CommandFromEdge("tid-0001", "CANCEL")),
        ("TunnelCommandFromEdge_DISCONNECT", CommandFromEdge("tid-0002", "DISCONNECT")),
    ],
)
def test_commands(name: str, said: CompleteTunnel | CommandToEdge | CommandFromEdge) -> None:
    """Both ways."""
    message = decode(vector(name))
    assert isinstance(message.body, Request)
    assert tunnel_request(message.body) == said
    assert encode(message._replace(body=said.request("SteamSensor1"))) == vector(name)


def test_statuses() -> None:
    """Those of the vectors have names."""
    codes = {each.data[1] for each in BINARY if each.data[1] >= 0x40}
    assert codes == {Status.OK, Status.NOT_FOUND, Status.INTERNAL_ERROR}
