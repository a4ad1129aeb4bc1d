"""Any message there and back, and any bytes at all."""

from __future__ import annotations

import tracemalloc
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from edge_tunnel.alwayson.codec import decode, decode_header, encode
from edge_tunnel.alwayson.messages import (
    Auth,
    Bind,
    Chunk,
    Entity,
    Gateway,
    KeepAlive,
    Message,
    Method,
    Request,
    Response,
    Unbind,
    Unknown,
)
from edge_tunnel.alwayson.reading import MAX_DEPTH, MAX_MESSAGE, MAX_VALUES, AlwaysOnError
from edge_tunnel.alwayson.value_codec import pack_text
from edge_tunnel.alwayson.values import (
    NOTHING,
    TEXTS,
    BaseType,
    Field,
    InfoTable,
    Location,
    Value,
    one_row,
    string,
)
from edge_tunnel.errors import LocalProtocolError
from tests.alwayson.vectors import BINARY

BYTES = st.integers(0, 0xFF)
NUMBERS = st.integers(0, 0xFFFF_FFFF)
NAMES = st.text(max_size=40).filter(lambda text: text.isprintable()) | st.just("a" * 200)
FLOATS = st.floats(allow_nan=False)
SIGNED = st.integers(-(2**63), 2**63 - 1)
PAIRS = st.lists(st.tuples(NAMES, NAMES), max_size=3).map(tuple)


def _values(kind: int, plain: st.SearchStrategy[Any]) -> st.SearchStrategy[Value]:
    return plain.map(lambda value: Value(kind, value))


SCALARS: st.SearchStrategy[Value] = st.one_of(
    st.just(NOTHING),
    st.builds(Value, st.sampled_from(sorted(TEXTS)), NAMES),
    _values(BaseType.NUMBER, FLOATS),
    _values(BaseType.BOOLEAN, st.booleans()),
    _values(BaseType.DATETIME, SIGNED),
    _values(BaseType.LONG, SIGNED),
    _values(BaseType.LOCATION, st.builds(Location, FLOATS, FLOATS, FLOATS)),
    _values(BaseType.BLOB, st.binary(max_size=300)),
    _values(BaseType.IMAGE, st.binary(max_size=300)),
    _values(BaseType.INTEGER, st.integers(-(2**31), 2**31 - 1)),
)


@st.composite
def _tables(draw: st.DrawFn, inner: st.SearchStrategy[Value]) -> InfoTable:
    aspects = st.lists(st.tuples(NAMES, inner), max_size=2).map(tuple)
    fields = draw(st.lists(st.builds(Field, NAMES, BYTES, NAMES, aspects), max_size=4))
    rows = st.lists(inner, max_size=len(fields)).map(tuple)
    return InfoTable(tuple(fields), tuple(draw(st.lists(rows, max_size=3))))


VALUES = st.recursive(
    SCALARS,
    lambda inner: _values(BaseType.VARIANT, inner) | _values(BaseType.INFOTABLE, _tables(inner)),
    max_leaves=6,
)
ENTITIES = st.builds(Entity, BYTES, NAMES)
METHODS = st.sampled_from([Method.GET, Method.PUT, Method.POST, Method.DELETE])
NAME_LISTS = st.lists(NAMES, max_size=5).map(tuple)
GATEWAYS = st.none() | st.builds(Gateway, NAMES, NAMES)
STATUSES = st.integers(0x40, 0xFF)


@st.composite
def _chunks(draw: st.DrawFn) -> Chunk:
    total = draw(st.integers(1, 0xFFFF))
    number = draw(st.integers(1, total))
    size, data = draw(st.integers(0, 0xFFFF)), draw(st.binary(max_size=50))
    code: int = draw(METHODS)
    if draw(st.booleans()):
        return Chunk(code, number, total, size, draw(ENTITIES), data)
    other = draw(st.sampled_from([Method.BIND, Method.UNBIND]) | STATUSES)
    return Chunk(other, number, total, size, None, data)


BODIES = st.one_of(
    st.builds(Auth, PAIRS),
    st.builds(Bind, NAME_LISTS, GATEWAYS),
    st.builds(Unbind, NAME_LISTS, GATEWAYS),
    st.just(KeepAlive()),
    st.builds(Request, METHODS, ENTITIES, BYTES, NAMES, st.none() | _tables(VALUES), PAIRS),
    st.builds(Response, STATUSES, st.none() | NAMES, VALUES),
    st.builds(Unknown, st.sampled_from([0, 5, 0x15, 0x3F]), st.binary(max_size=50)),
    _chunks(),
)
MESSAGES = st.builds(Message, BODIES, NUMBERS, NUMBERS, NUMBERS)


def message_or_error(data: bytes) -> Message | None:
    """What `decode` makes of it; any other exception than the documented one fails the test."""
    try:
        return decode(data)
    except AlwaysOnError:
        return None


@settings(max_examples=50)
@given(MESSAGES)
def test_there_and_back(message: Message) -> None:
    """Nothing is lost, and nothing is added."""
    assert decode(encode(message)) == message


@given(MESSAGES, st.integers(1, 40))
def test_padding_is_overlooked(message: Message, size: int) -> None:
    """The C SDK sends zero bytes behind a body. (In a part they cannot be told from data.)"""
    if not isinstance(message.body, (Chunk, Unknown)):
        assert decode(encode(message) + bytes(size)) == message


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """A message, or the documented error."""
    message_or_error(data)


@given(st.sampled_from(BINARY), st.integers(0, 400), BYTES, st.integers(0, 3))
def test_a_real_message_with_another_byte(vector: Any, at: int, byte: int, cut: int) -> None:
    """A message, which goes there and back, or the documented error."""
    data = bytearray(vector.data)
    data[at % len(data)] = byte
    message = message_or_error(bytes(data[: len(data) - cut]))
    if message is not None:
        again = encode(message)
        assert encode(decode(again)) == again


@given(MESSAGES, st.data())
def test_a_message_that_is_cut(message: Message, draw: st.DataObject) -> None:
    """It is refused, or (a part, or what is unknown) it is that much shorter; never made up."""
    whole = encode(message)
    cut = message_or_error(whole[: draw.draw(st.integers(0, len(whole) - 1))])
    assert cut is None or isinstance(cut.body, (Chunk, Unknown))


# -- lengths ---------------------------------------------------------------------------------------

HEAD = bytes.fromhex("014000000001000000000000123400")
POST = bytes.fromhex("010300000001000000000000123400")


def refused(data: bytes) -> str:
    """Why; and it cost next to nothing to find out."""
    tracemalloc.start()
    try:
        with pytest.raises(AlwaysOnError) as caught:
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < len(data) + 100_000
    finally:
        tracemalloc.stop()
    return str(caught.value)


LENGTHS = {
    "a text of 2 GiB": HEAD + b"\x01\xff\xff\xff\xff",
    "a text longer by one than what is there": HEAD + b"\x01\x03ab",
    "a blob of 2 GiB": HEAD + b"\x00\x15\x7f\xff\xff\xff" + b"x" * 100,
    "a blob of 4 GiB": HEAD + b"\x00\x15\xff\xff\xff\xff" + b"x" * 100,
    "an image longer by one than what is there": HEAD + b"\x00\x0a\x00\x00\x00\x04abc",
    "65,535 names in one byte": bytes.fromhex("010a0000000100000000000012340000ffff00"),
    "65,535 aspects in one byte": HEAD + bytes.fromhex("0005 01 0161 00 00 ffff 00"),
    "65,535 values of a row in one byte": HEAD + bytes.fromhex("0005 01 0161 00000000 00 01ffff00"),
    "255 headers in no byte": POST + b"\x0a\x01a\x02\x01b\xff",
    "255 claims in no byte": bytes.fromhex("011400000001000000000000123400ff"),
    "half a number": HEAD + b"\x00\x01\x00\x00\x00\x00",
    "a part without its size": bytes.fromhex("0140000000010000000000001234010001000100"),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_cve_2023_0755_a_length_is_checked_before_it_is_used(name: str) -> None:
    """The original took a number of the wire for a size (an integer overflow, then a heap's end).

    Here whatever is announced is compared with what is there, before any room is made for it.
    """
    assert "announced" in refused(LENGTHS[name])


INDICES = {
    "part 0 of 3": "0140000000010000000000001234010000000320",
    "part 4 of 3": "0140000000010000000000001234010004000320",
    "part 65,535 of 1": "014000000001000000000000123401ffff000120",
    "part 0 of 0": "0140000000010000000000001234010000000020",
    "a row longer than its table": HEAD.hex() + "0005 01 0161 00 00 0000 00 01 0002 ff ff 00",
}


@pytest.mark.parametrize("name", INDICES)
def test_cve_2023_0754_an_index_is_checked_before_it_is_used(name: str) -> None:
    """The original took a number of the wire for an index (an out-of-bounds write).

    Here a part has a number of 1 to all of them, and a value of a row has a field.
    """
    assert refused(bytes.fromhex(INDICES[name]) + b"\x00" * 8)


def test_a_message_is_bounded() -> None:
    """Before anything of it is read."""
    assert "limit" in refused(HEAD + bytes(MAX_MESSAGE))
    with pytest.raises(LocalProtocolError, match="limit"):
        encode(Message(Response(content=string("x" * MAX_MESSAGE))))


def nested(levels: int, *, variant: bool) -> bytes:
    """A value in a value in a value."""
    if variant:
        return HEAD + b"\x00" + b"\x12" * (levels - 1) + b"\x02\x01"
    table = bytes.fromhex("05 01 0161 00 05 0000 00 01 0001")
    return HEAD + b"\x00" + table * (levels - 1) + b"\x02\x01" + bytes(levels - 1)


@pytest.mark.parametrize("variant", [True, False])
def test_nesting_is_bounded(variant: bool) -> None:
    """As deep as allowed is read; one level more is not, nor are ten thousand."""
    deepest = nested(MAX_DEPTH, variant=variant)
    assert encode(decode(deepest)) == deepest
    assert "nested" in refused(nested(MAX_DEPTH + 1, variant=variant))
    assert "nested" in refused(nested(10_000, variant=variant))


def test_values_are_bounded() -> None:
    """Many values of one byte: they would need a hundred times their size in memory."""
    row = b"\x01\x00\x01\xff"
    with pytest.raises(AlwaysOnError, match="values in one message"):
        decode(HEAD + bytes.fromhex("0005 01 0161 00 ff 0000 00") + row * (MAX_VALUES // 2))
    fields = bytes.fromhex("01 0000 00 0000") * (MAX_VALUES + 1)
    with pytest.raises(AlwaysOnError, match="values in one message"):
        decode(HEAD + b"\x00\x05" + fields)


@pytest.mark.slow
def test_the_memory_of_the_worst_message() -> None:
    """What the densest message that is taken costs: some ten times its size, not hundreds."""
    row = b"\x01\x00\x01\x02\x01"  # a boolean: five bytes on the wire
    worst = (
        HEAD + bytes.fromhex("0005 01 0161 00 02 0000 00") + row * (MAX_VALUES // 2 - 10) + b"\0"
    )
    tracemalloc.start()
    try:
        decode(worst)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


MALFORMED = {
    "nothing": ("", "header"),
    "half a header": ("0140000000", "header"),
    "another version": ("024000000001000000000000123400 00ff", "version 2"),
    "another flag": ("014000000001000000000000123402 00ff", "multipart flag"),
    "a reason's mark": (HEAD.hex() + "02 00", "mark in front of the reason"),
    "a gateway's mark": ("010a00000001000000000000123400 07", "mark in front of a gateway"),
    "a field's mark": (HEAD.hex() + "00 05 02", "mark in front of a field"),
    "a row's mark": (HEAD.hex() + "00 05 00 02", "mark in front of a row"),
    "an unknown type": (HEAD.hex() + "00 11 00", "unknown type 17"),
    "no UTF-8": (HEAD.hex() + "01 02 c328 ff", "not UTF-8"),
    "arguments that are no table": (POST.hex() + "0a 0161 02 0162 00 00 0163", "no InfoTable"),
    "parts of AUTH": ("011400000001000000000000123401 0001 0001 2000 00", "one part"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    """Each is refused with a text that says what is wrong."""
    data, text = MALFORMED[name]
    assert text in refused(bytes.fromhex(data))


def test_a_bad_body_can_be_answered() -> None:
    """Its header is read on its own."""
    header = decode_header(POST + b"garbage")
    assert (header.code, header.request_id, header.session_id) == (Method.POST, 1, 0x1234)


def test_lengths_of_texts() -> None:
    """One byte below 128, four from there on; the longer form of a short one is taken, too."""
    assert pack_text("a" * 127)[:1] == b"\x7f"
    assert pack_text("a" * 128)[:4] == b"\x80\x00\x00\x80"
    short = decode(HEAD + b"\x01\x80\x00\x00\x02hi\xff").body
    assert short == Response(reason="hi")


def test_lengths_of_blobs() -> None:
    """Written plain; taken with the top bit, too."""
    body = Response(content=Value(BaseType.BLOB, b"abc"))
    assert encode(Message(body))[15:] == bytes.fromhex("00 15 00000003 616263")
    assert decode(HEAD + bytes.fromhex("00 15 80000003 616263")).body == body


WRONG = {
    "a text as a number": Value(BaseType.NUMBER, "1"),
    "a number as a text": Value(BaseType.STRING, 1),
    "an integer of 33 bits": Value(BaseType.INTEGER, 2**32),
    "a text as a table": Value(BaseType.INFOTABLE, "x"),
    "a type that nobody knows": Value(17, None),
    "a row longer than its table": Value(BaseType.INFOTABLE, InfoTable((), ((NOTHING,),))),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_of_its_type_is_not_sent(name: str) -> None:
    """A bug on our side is found here, not at a device."""
    with pytest.raises(LocalProtocolError):
        encode(Message(Response(content=WRONG[name])))


@pytest.mark.parametrize(
    "body",
    [
        Response(status=300),
        Auth((("a", "b"),) * 256),
        Bind(("a",) * 65_536),
        Request(Method.POST, Entity(10, "a"), 300, "b"),
        Request(Method.POST, Entity(256, "a"), 2, "b"),
        Response(content=Value(BaseType.INFOTABLE, InfoTable((Field("a", 256),)))),
        Chunk(Method.POST, 1, 65_536, 8192, Entity(10, "a"), b""),
    ],
    ids=str,
)
def test_numbers_that_do_not_fit(body: Any) -> None:
    """Neither are those."""
    with pytest.raises(LocalProtocolError):
        encode(Message(body))


def test_one_row_by_name() -> None:
    """In the order of the arguments; a shorter row has fewer."""
    table = one_row({"a": string("1"), "b": NOTHING})
    assert table.first() == {"a": "1", "b": None}
    assert table._replace(rows=((string("1"),),)).first() == {"a": "1"}
    assert InfoTable().first() == {}
