"""Frames and messages: golden vectors, and any bytes at all."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import given

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol import frames
from edge_tunnel.protocol.codec import _by_spec, decode, encode, encode_data, encode_head
from edge_tunnel.protocol.frames import (
    FIRST_TUNNEL_KIND,
    MAX_DATA,
    MAX_MESSAGE,
    MAX_STREAMS,
    MAX_TEXT,
    TAG,
    Attach,
    Bye,
    Close,
    Data,
    Hello,
    Kind,
    Position,
    clip,
)
from edge_tunnel.protocol.frequent import FREQUENT, by_hand
from edge_tunnel.protocol.head import Head, check_data, peek
from edge_tunnel.protocol.listing import Missing, NodeRow, ThingRow, TunnelRow
from edge_tunnel.protocol.spec import LACKING, SPEC

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "frames.json").read_text(encoding="utf-8")
)
GOLDEN: list[dict[str, Any]] = VECTORS["frames"]
MALFORMED: list[dict[str, Any]] = VECTORS["malformed"]
MESSAGES = [bytes.fromhex(vector["message"]) for vector in GOLDEN]
TUNNEL = bytes(range(16))


def plain(value: object) -> object:
    """A field as the vectors' JSON has it."""
    if isinstance(value, (bytes, memoryview)):
        return {"hex": value.hex()}
    if isinstance(value, (Position, ThingRow, TunnelRow, NodeRow, Missing)):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value


def frame_or_error(message: bytes) -> object:
    """What `decode` makes of it; any other exception than the documented one fails the test."""
    try:
        return decode(message)
    except RemoteProtocolError:
        return None


def examine(message: bytes) -> None:
    """What must hold for any bytes: documented results, and readers that agree."""
    frame = frame_or_error(message)
    try:
        head = peek(message)
    except RemoteProtocolError:
        assert frame is None, "an endpoint takes what a node does not understand"
        return
    if frame is not None:
        assert isinstance(frame, tuple)
        if head.tunnel is not None:
            assert (head.tunnel, head.stream) == (frame[0], frame[1])
        assert (head.kind < FIRST_TUNNEL_KIND) == (head.tunnel is None)
        assert decode(message, head) == frame
        if head.kind in FREQUENT:
            assert _by_spec(message, head.kind) == frame, "the general way says something else"
    if head.kind == Kind.DATA:
        examine_data(message, head, frame)


def examine_data(message: bytes, head: Head, frame: object) -> None:
    try:
        check_data(head)
    except RemoteProtocolError:
        assert frame is None, "a node refuses what an endpoint takes"
    else:
        assert frame is not None, "a node passes on what an endpoint refuses"


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["kind"])
def test_golden(vector: dict[str, Any]) -> None:
    """Each vector decodes to its fields and encodes to the same bytes."""
    message = bytes.fromhex(vector["message"])
    frame = decode(message)
    fields = {name: plain(value) for name, value in zip(frame._fields, frame, strict=True)}
    lacking = LACKING.get(type(frame), 0)
    if lacking and not any(frame[-lacking:]):
        for name in frame._fields[-lacking:]:
            del fields[name]  # not in the message of a tunnel that is not sealed, for instance
    assert type(frame).__name__.upper() == vector["kind"]
    assert fields == vector["fields"]
    assert encode(frame) == message
    examine(message)


@pytest.mark.parametrize(("ping", "idle"), [(0, 0), (0, 20_000), (5_000, 0), (5_000, 20_000)])
def test_last_fields_of_a_greeting(ping: int, idle: int) -> None:
    """They are left out together, and only if neither says anything."""
    hello = Hello(1, 1, "edge", "s", "k", TUNNEL, 0, (), ping, idle)
    message = encode(hello)
    assert decode(message) == hello
    assert message[0] & 0x0F == (11 if ping or idle else 9)


@pytest.mark.parametrize("vector", MALFORMED, ids=lambda vector: vector["meaning"])
def test_malformed(vector: dict[str, Any]) -> None:
    """Each is refused with the text that its sender will read."""
    message = bytes.fromhex(vector["message"])
    with pytest.raises(RemoteProtocolError) as caught:
        decode(message)
    assert str(caught.value) == vector["error"]
    examine(message)


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["kind"])
def test_only_a_greeting_may_grow(vector: dict[str, Any]) -> None:
    """Fields behind the known ones are skipped in HELLO, WELCOME and JOIN; else they are wrong."""
    message = bytes.fromhex(vector["message"])
    fields = msgpack.unpackb(message, use_list=False)
    if vector["kind"] == "HELLO" and "ping_ms" not in vector["fields"]:
        fields = (*fields, 0, 0)  # the known ones come first
    more = msgpack.packb((*fields, "new", (1, (2.5, None))))
    assert frame_or_error(more[:-1]) is None  # not whole
    if vector["kind"] in ("HELLO", "WELCOME", "JOIN"):
        assert decode(more) == decode(message)
        assert frame_or_error(msgpack.packb((*fields, {}, {"a": 1}))) is None
        assert frame_or_error(msgpack.packb((*fields, *range(10)))) is None  # 16 elements
    else:
        assert frame_or_error(more) is None


def test_every_kind_has_vectors() -> None:
    """No frame without a golden message; no kind without a class and a checked field list."""
    names = {vector["kind"] for vector in GOLDEN}
    assert names == {kind.name for kind in Kind}
    assert set(SPEC) == set(Kind)
    for kind, (cls, checks) in SPEC.items():
        assert cls.__name__.upper() == Kind(kind).name
        assert len(cls._fields) == len(checks)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: Kind(message[1]).name)
def test_cut_and_mutated(message: bytes) -> None:
    """Cut at each byte, or with any byte changed: a frame or the documented error."""
    for size in range(len(message)):
        examine(message[:size])
        assert frame_or_error(message[:size]) is None
    for index in range(min(len(message), 120)):
        for value in (0x00, 0x01, 0x7F, 0x80, 0x90, 0xA0, 0xC0, 0xC1, 0xC4, 0xCF, 0xD4, 0xDD, 0xFF):
            examine(message[:index] + bytes([value]) + message[index + 1 :])


@given(st.binary(max_size=200))
def test_any_bytes(message: bytes) -> None:
    """Noise is refused as documented."""
    examine(message)


@given(
    st.sampled_from(sorted(SPEC)),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary()
        | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=2),
    ),
    st.data(),
)  # fmt: skip
def test_any_field(kind: int, value: object, data: st.DataObject) -> None:
    """A good frame with one field replaced by anything that msgpack can say."""
    same = [vector for vector in MESSAGES if vector[1] == kind]
    fields = list(msgpack.unpackb(same[0], use_list=False))
    index = data.draw(st.integers(1, len(fields) - 1))
    fields[index] = value
    examine(msgpack.packb(fields))


def test_limits_meet() -> None:
    """The largest DATA and the largest ATTACH fit a message; one step more is refused."""
    full = Data(TUNNEL, 2**32 - 1, 2**62, 2**62, bytes(MAX_DATA + TAG))
    assert decode(encode(full)) == full
    assert frame_or_error(encode(full._replace(data=bytes(MAX_DATA + TAG + 1)))) is None
    big = 2**63 - 1
    positions = tuple(Position(2**31 + n, big, big, big, accepted=True) for n in range(MAX_STREAMS))
    name = "ß" * 256
    attach = Attach(TUNNEL, 0, big, name, name, True, bytes(32), big, positions, bytes(32))
    attach = attach._replace(offer=bytes(64))
    assert len(encode(attach)) <= MAX_MESSAGE
    assert decode(encode(attach)) == attach
    more = (*positions, Position(2**32 - 1, 0, 0, 0, accepted=False))
    assert frame_or_error(encode(attach._replace(positions=more))) is None


@pytest.mark.parametrize("size", [1, 255, 256, 65_535, 65_536, MAX_DATA + TAG])
def test_data_by_its_head(size: int) -> None:
    """The short way to a DATA message gives the same bytes as the long one."""
    frame = Data(TUNNEL, 2**31, 7, 2**40, bytes(size))
    assert encode_data(encode_head(frame), frame.data) == encode(frame)


@given(
    st.sampled_from(sorted(FREQUENT)),
    st.integers(1, 2**32 - 1),
    st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 300), min_size=3, max_size=3),
    st.binary(min_size=TAG, max_size=TAG) | st.just(b""),
)
def testby_hand(kind: int, stream: int, numbers: list[int], tag: bytes) -> None:
    """What every connection sends is not left to the general way, however large its numbers."""
    cls, count = FREQUENT[kind]
    frame = cls(TUNNEL, stream, *numbers[:count], tag or (b"A" if cls is Data else b""))
    message = encode(frame)
    assert by_hand(message, None) == frame
    examine(message)


def test_oversize_is_not_parsed() -> None:
    """A message beyond the limit is refused by its size, by nodes as well."""
    message = encode(Data(TUNNEL, 1, 1, 0, b"A")) + bytes(MAX_MESSAGE)
    for read in (decode, peek):
        with pytest.raises(RemoteProtocolError, match="limit"):
            read(message)


def test_announced_lengths_cost_nothing() -> None:
    """Nested arrays that announce thousands of elements reserve no memory to speak of."""
    message = b"\x92\x04" + b"\xdd\x00\x00\x27\x10" * 1000
    tracemalloc.start()
    try:
        assert frame_or_error(message) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_deep_nesting_is_refused() -> None:
    """Depth is msgpack's business, and its error ours to translate."""
    assert frame_or_error(b"\x92\x04" + b"\x91" * 100_000) is None


def test_texts_are_made_to_fit() -> None:
    """A text for people is cut, and what is not UTF-8 does not stop a frame from going out."""
    assert len(clip("x" * 5000)) == MAX_TEXT
    frame = decode(encode(Close(TUNNEL, 0, 1, 2, "no such file: \udcff")))
    assert isinstance(frame, Close)
    assert frame.text == "no such file: ?"


def test_secrets_are_not_printed() -> None:
    """Neither the key nor a tunnel's secret shows in a log line or a traceback."""
    hello = Hello(1, 1, "edge", "x/1", "the-key", TUNNEL, 0, ())
    attach = Attach(TUNNEL, 0, 1, "pump-7", "ssh", True, b"s" * 32, 0, (), bytes(32))
    assert "the-key" not in repr(hello)
    assert "sss" not in repr(attach)
    assert "pump-7/ssh" in repr(attach)


def test_a_memoryview_is_sent_as_it_is() -> None:
    """DATA may carry a view of a block that is kept for replay."""
    view = memoryview(b"0123456789")[2:5]
    assert decode(encode(Data(TUNNEL, 1, 1, 2, view))) == Data(TUNNEL, 1, 1, 2, b"234")


def test_exports() -> None:
    """Everything that frames.py names exists."""
    assert all(hasattr(frames, name) for name in frames.__all__)
    assert encode(Bye(0, "", 0)) == b"\x94\x03\x00\xa0\x00"
