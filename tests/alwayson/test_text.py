"""The messages of a tunnel's own socket."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from edge_tunnel.alwayson.reading import AlwaysOnError
from edge_tunnel.alwayson.text import (
    MAX_RAW,
    MAX_TEXT,
    decode_text,
    encode_text,
    raw_limit,
    texts,
)


@given(st.binary(max_size=20_000), st.integers(1, 10_000))
def test_there_and_back(data: bytes, limit: int) -> None:
    """Each message stands on its own."""
    said = list(texts(data, limit))
    assert b"".join(map(decode_text, said)) == data
    assert all(0 < len(decode_text(each)) <= limit for each in said)


@given(st.text(max_size=200) | st.text("ABCwxyz019+/=", max_size=40))
def test_any_text(text: str) -> None:
    """Bytes that say the same text, or the documented error."""
    try:
        data = decode_text(text)
    except AlwaysOnError:
        return
    assert encode_text(data) == text


@pytest.mark.parametrize(
    "text", ["QQ", "QQ=", "QQ==QQ==", "QQ==\n", "Q Q=", "QR==", "é===", "=" * 4]
)
def test_no_base64(text: str) -> None:
    """Nothing is guessed: a byte that is wrong is not passed on."""
    with pytest.raises(AlwaysOnError, match="base64"):
        decode_text(text)


def test_messages_are_bounded() -> None:
    """Before they are looked at."""
    assert len(decode_text("A" * MAX_TEXT)) == MAX_TEXT // 4 * 3
    with pytest.raises(AlwaysOnError, match="limit"):
        decode_text("A" * (MAX_TEXT + 4))


@given(st.integers(-10, 100_000))
def test_what_a_device_takes(chunksize: int) -> None:
    """A Java device: the text fits into the chunksize. Nobody is sent more than 6,144 bytes."""
    limit = raw_limit(chunksize)
    assert 3 <= limit <= MAX_RAW
    assert chunksize < 4 or len(encode_text(bytes(limit))) <= chunksize
    assert raw_limit(8192) == 6144
