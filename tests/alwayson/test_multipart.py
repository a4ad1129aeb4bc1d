"""Messages in parts: what they become, and what they may cost."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from edge_tunnel.alwayson.codec import decode, encode
from edge_tunnel.alwayson.messages import Bind, Chunk, Entity, Gateway, Message, Method, Response
from edge_tunnel.alwayson.multipart import MAX_FRAME, Assembly, encode_parts
from edge_tunnel.alwayson.reading import MAX_MESSAGE, AlwaysOnError
from edge_tunnel.alwayson.tunnels import service
from edge_tunnel.alwayson.values import one_row, string
from edge_tunnel.errors import LocalProtocolError

LONG = Message(service("thing-1", "Echo", one_row({"v": string("x" * 30_000)})), 7, 9)


def part(number: int, total: int, data: bytes = b"x", request_id: int = 1) -> bytes:
    """One part of a response."""
    return encode(Message(Chunk(0x40, number, total, 8192, None, data), request_id))


def test_a_bind_of_1200_names() -> None:
    """A gateway with many things: no entity in its parts."""
    names = tuple(f"SteamSensor1-{number:04}" for number in range(1200))
    message = Message(Bind(names, Gateway("MyGateway", "mytype")), 5, 0x1234)
    parts = encode_parts(message)
    assert len(parts) > 1
    assert max(map(len, parts)) == MAX_FRAME
    assembly = Assembly()
    assert [assembly.receive(each, 0) for each in parts[:-1]] == [None] * (len(parts) - 1)
    assert assembly.receive(parts[-1], 0) == message


@settings(max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(100, 9000))
def test_any_order_and_size(random: object, limit: int) -> None:
    """The parts of two messages, mixed."""
    other = LONG._replace(request_id=8)
    parts = encode_parts(LONG, limit) + encode_parts(other, limit)
    assert max(map(len, parts)) <= limit
    random.shuffle(parts)  # type: ignore[attr-defined]
    assembly = Assembly()
    whole = [message for each in parts if (message := assembly.receive(each, 0))]
    assert {message.request_id: message for message in whole} == {7: LONG, 8: other}
    assert assembly.held == 0


def test_what_fits_is_one_message() -> None:
    """To the byte."""
    text = "x" * (MAX_FRAME - len(encode(Message(Response(reason="x" * 200)))) + 200)
    assert len(encode_parts(Message(Response(reason=text)))) == 1
    assert len(encode_parts(Message(Response(reason=text + "x")))) == 2


def test_no_parts_can_be_that_small() -> None:
    """The name of the thing is in each of them."""
    with pytest.raises(LocalProtocolError, match="no parts"):
        encode_parts(LONG, 30)


def test_memory_is_bounded() -> None:
    """Whatever a peer sends without ever ending a message."""
    assembly = Assembly()
    with pytest.raises(AlwaysOnError, match="exceed"):
        for number in range(1, 200):
            assembly.receive(part(number, 1000, bytes(8000)), 0)
    assert assembly.held <= MAX_MESSAGE


def test_memory_of_many_messages_is_bounded() -> None:
    """Neither by a message each time, nor by a few large ones."""
    assembly = Assembly()
    with pytest.raises(AlwaysOnError, match="at once"):
        for number in range(100):
            assembly.receive(part(1, 2, request_id=number), 0)
    assembly = Assembly()
    with pytest.raises(AlwaysOnError, match="exceed"):
        for number in range(5):
            for piece in range(1, 130):
                assembly.receive(part(piece, 200, bytes(8000), request_id=number), 0)
    assert assembly.held <= 2 * MAX_MESSAGE


def test_parts_of_a_byte() -> None:
    """65,535 of them would cost a hundred times their size."""
    with pytest.raises(AlwaysOnError, match="65535 parts"):
        Assembly().receive(part(1, 65_535), 0)


def test_what_is_never_whole_is_forgotten() -> None:
    """After the time that a C device gives it; then the same id may come again."""
    assembly = Assembly()
    assert assembly.receive(part(1, 2, b"\x00"), 0) is None
    assert assembly.receive(part(1, 2, b"\x00"), 51) is None
    assert assembly.held == 1
    whole = assembly.receive(part(2, 2, b"\xff"), 52)
    assert whole == Message(Response(), 1)


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (part(1, 3), "twice"),
        (part(2, 4), "do not agree"),
    ],
)
def test_parts_that_do_not_agree(second: bytes, why: str) -> None:
    """They are no message."""
    assembly = Assembly()
    assembly.receive(part(1, 3), 0)
    with pytest.raises(AlwaysOnError, match=why):
        assembly.receive(second, 0)


def test_parts_for_two_things() -> None:
    """They are no message either."""
    one = Message(Chunk(Method.POST, 1, 2, 8192, Entity(10, "a"), b"x"), 1)
    two = Message(Chunk(Method.POST, 2, 2, 8192, Entity(10, "b"), b"x"), 1)
    assembly = Assembly()
    assembly.receive(encode(one), 0)
    with pytest.raises(AlwaysOnError, match="do not agree"):
        assembly.receive(encode(two), 0)


def test_parts_of_nonsense() -> None:
    """What they make together is read as strictly as what comes in one part."""
    assembly = Assembly()
    assembly.receive(part(1, 2, b"\x07"), 0)
    with pytest.raises(AlwaysOnError, match="mark"):
        assembly.receive(part(2, 2, b"\x07"), 0)
    assert assembly.held == 0


def test_parts_of_a_part() -> None:
    """A message that is whole is never a part again."""
    inner = part(1, 1, b"\x00\xff")
    outer = encode_parts(decode(inner), 8192)
    assert Assembly().receive(outer[0], 0) == Message(Response(), 1)
