"""Sealed frames: nothing that is changed, left out, moved or said twice is taken for the truth."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given

from edge_tunnel.errors import LocalProtocolError, RemoteProtocolError
from edge_tunnel.protocol.codec import encode, encode_head
from edge_tunnel.protocol.frames import (
    MAX_DATA,
    TAG,
    Accept,
    Close,
    Credit,
    Data,
    Detached,
    Echo,
    End,
    Open,
    Probe,
    Reset,
    Stop,
)
from edge_tunnel.protocol.sealing import Opener, Sealer, Tagged, open_plain
from tests.protocol.wire import Pair, tunnel_frame

T = bytes(range(16))
TAGGED: list[Tagged] = [
    Probe(T, 0, 1, 7),
    Echo(T, 0, 1, 7),
    Open(T, 1, 1, 1000),
    Accept(T, 1, 1),
    Credit(T, 1, 1, 5, 1005),
    Stop(T, 1, 1),
    Reset(T, 1, 1, 41, "no route"),
    End(T, 1, 1, 12),
]


_keys = iter(range(10**6))


def new_pair() -> tuple[Sealer, Opener]:
    """Both ends of one direction of one epoch, with stream 1."""
    key = next(_keys).to_bytes(32, "big")
    sealer = Sealer(key)
    sealer.enter(1)
    return sealer, Opener(key)


# -- the sealer refuses what would use a nonce twice


def test_an_offset_is_sealed_once() -> None:
    """Not again, not a part of it, not before it; what follows is fine, also behind a hole."""
    sealer, _ = new_pair()
    sealer.seal(Data(T, 1, 1, 0, b"0123456789"))
    for offset in (0, 5, 9):
        with pytest.raises(LocalProtocolError, match="twice"):
            sealer.seal(Data(T, 1, 1, offset, b"x"))
    sealer.seal(Data(T, 1, 1, 10, b"x"))
    sealer.seal(Data(T, 1, 1, 20, b"x"))
    with pytest.raises(LocalProtocolError):
        sealer.seal(Data(T, 1, 1, 15, b"x"))


def test_end_is_sealed_once() -> None:
    """And nothing of the stream after it."""
    sealer, _ = new_pair()
    sealer.seal(Data(T, 1, 1, 0, b"x"))
    sealer.seal(End(T, 1, 1, 1))
    for frame in (End(T, 1, 1, 1), End(T, 1, 1, 2), Data(T, 1, 1, 1, b"y")):
        with pytest.raises(LocalProtocolError):
            sealer.seal(frame)


def test_a_stream_comes_once() -> None:
    """One that was never entered, one that left and one that comes back are all refused."""
    sealer, _ = new_pair()
    with pytest.raises(LocalProtocolError):
        sealer.seal(Data(T, 2, 1, 0, b"x"))
    sealer.leave(1)
    with pytest.raises(LocalProtocolError):
        sealer.seal(Data(T, 1, 1, 0, b"x"))
    with pytest.raises(LocalProtocolError):
        sealer.enter(1)
    sealer.enter(5)
    with pytest.raises(LocalProtocolError):
        sealer.enter(3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("data", "end", "control", "enter", "leave")),
            st.integers(1, 3),
            st.integers(0, 40),
            st.integers(1, 20),
        ),
        max_size=40,
    )
)
def test_whatever_is_asked_of_a_sealer(wishes: list[tuple[str, int, int, int]]) -> None:
    """Any requests in any order: it refuses, or the nonce is a new one (conftest looks)."""
    sealer, _ = new_pair()
    for what, stream, offset, size in wishes:
        try:
            if what == "data":
                sealer.seal(Data(T, stream, 1, offset, bytes(size)))
            elif what == "end":
                sealer.seal(End(T, stream, 1, offset))
            elif what == "control":
                sealer.seal(Stop(T, stream, 1))
            elif what == "enter":
                sealer.enter(stream)
            else:
                sealer.leave(stream)
        except LocalProtocolError:
            pass


# -- what opens


@given(st.binary(min_size=1, max_size=300), st.integers(0, 2**62), st.integers(1, 2**32 - 1))
def test_data_opens_as_it_was(data: bytes, offset: int, stream: int) -> None:
    """Any bytes at any place; memoryviews as well, as the replay buffer gives them."""
    key = next(_keys).to_bytes(32, "big")
    sealer = Sealer(key)
    sealer.enter(stream)
    message = sealer.seal(Data(T, stream, 1, offset, memoryview(data)))
    assert data not in message or len(data) < 4
    frame = tunnel_frame(message)
    assert Opener(key).open(frame) == Data(T, stream, 1, offset, data)
    assert len(message) <= len(encode(Data(T, stream, 1, offset, data))) + TAG + 2


def test_the_largest_data_fits() -> None:
    """64 KiB of a stream are a message that all take."""
    sealer, opener = new_pair()
    frame = Data(T, 1, 1, 0, bytes(MAX_DATA))
    assert opener.open(tunnel_frame(sealer.seal(frame))) == frame


def test_tagged_frames_open_as_they_were() -> None:
    """Each kind, in their order."""
    sealer, opener = new_pair()
    for frame in TAGGED:
        assert opener.open(tunnel_frame(sealer.seal(frame))) == frame
    assert opener.used


def test_what_nodes_say_is_not_sealed() -> None:
    """It passes, and proves nothing."""
    _, opener = new_pair()
    for frame in (Detached(T, 0, 1, 25, ""), Close(T, 0, 1, 0, "")):
        assert opener.open(frame) is frame
    assert not opener.used


def test_nothing_sealed_where_nothing_is() -> None:
    """A tunnel that is not sealed takes neither tags nor the longer DATA."""
    for frame in TAGGED:
        assert open_plain(frame) is frame
        with pytest.raises(RemoteProtocolError, match="not sealed"):
            open_plain(frame._replace(tag=bytes(TAG)))
    open_plain(Data(T, 1, 1, 0, bytes(MAX_DATA)))
    with pytest.raises(RemoteProtocolError, match="65537"):
        open_plain(Data(T, 1, 1, 0, bytes(MAX_DATA + 1)))


def test_data_without_bytes() -> None:
    """A tag alone is a DATA of nothing, which the wire does not know."""
    key = next(_keys).to_bytes(32, "big")
    frame = Data(T, 1, 1, 0, b"")
    tag = AESGCM(key).encrypt((1 << 64).to_bytes(12, "big"), b"", encode_head(frame))
    with pytest.raises(RemoteProtocolError, match="without bytes"):
        Opener(key).open(frame._replace(data=tag))


# -- what does not open


@pytest.mark.parametrize(
    "frame", [*TAGGED, Data(T, 1, 1, 12, b"bytes")], ids=lambda f: type(f).__name__
)
def test_each_byte_counts(frame: Tagged | Data) -> None:
    """A message with any byte changed is no frame, or does not open, or is another tunnel's."""
    key = next(_keys).to_bytes(32, "big")
    sealer = Sealer(key)
    sealer.enter(1)
    message = sealer.seal(frame)
    for place in range(len(message)):
        for flip in (0x01, 0x02, 0x10, 0x80, 0xFF):
            changed = bytearray(message)
            changed[place] ^= flip
            try:
                other = tunnel_frame(bytes(changed))
            except (RemoteProtocolError, AssertionError):
                continue
            if other.epoch != 1 or isinstance(other, (Close, Detached)):
                continue  # dropped as late; or what any node may say
            with pytest.raises(RemoteProtocolError, match="changed"):
                Opener(key).open(other)


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 11},
        {"offset": 13},
        {"stream": 2},
        {"epoch": 2},
        {"tunnel": bytes(16)},
        {"data": b"x" * 21},
        {"data": b""},
        {"data": b"x" * 15},
    ],
    ids=str,
)
def test_data_is_bound_to_its_head(change: dict[str, object]) -> None:
    """Bytes of one place cannot be shown at another."""
    sealer, opener = new_pair()
    frame = tunnel_frame(sealer.seal(Data(T, 1, 1, 12, b"bytes")))
    with pytest.raises(RemoteProtocolError, match="changed"):
        opener.open(frame._replace(**change))  # type: ignore[arg-type]


def test_swapped_streams() -> None:
    """Two streams, the same offset: the bytes of one are not those of the other."""
    sealer, opener = new_pair()
    sealer.enter(2)
    one = tunnel_frame(sealer.seal(Data(T, 1, 1, 0, b"one")))
    two = tunnel_frame(sealer.seal(Data(T, 2, 1, 0, b"two")))
    assert isinstance(one, Data)
    assert isinstance(two, Data)
    with pytest.raises(RemoteProtocolError):
        opener.open(one._replace(data=two.data))
    with pytest.raises(RemoteProtocolError):
        opener.open(one._replace(stream=2))


def test_directions_are_apart() -> None:
    """What an end sent does not open when it is sent back to it."""
    pair = Pair(sealed=True).connect()
    remote, edge = pair.both
    assert remote._sealer
    assert remote._opener
    with pytest.raises(RemoteProtocolError):
        remote._opener.open(tunnel_frame(remote._sealer.seal(Probe(remote.id, 0, 1, 9))))
    assert edge._opener


def test_a_shorter_end_is_refused() -> None:
    """The worst lie: a clean end before the last byte."""
    sealer, opener = new_pair()
    sealer.seal(Data(T, 1, 1, 0, b"0123456789"))
    end = tunnel_frame(sealer.seal(End(T, 1, 1, 10)))
    assert isinstance(end, End)
    for frame in (end._replace(offset=5), End(T, 1, 1, 5), end._replace(stream=2)):
        with pytest.raises(RemoteProtocolError, match="changed"):
            opener.open(frame)
    assert opener.open(end) == End(T, 1, 1, 10)


ORDERS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "said twice": lambda messages: [messages[0], messages[0]],
    "left out": lambda messages: [messages[0], messages[2]],
    "moved": lambda messages: [messages[0], messages[2], messages[1]],
    "the first left out": lambda messages: [messages[1]],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_control_frames_keep_their_order(order: Callable[[list[bytes]], list[bytes]]) -> None:
    """STOP, CREDIT, OPEN, RESET: one that a node leaves out makes the next not open."""
    sealer, opener = new_pair()
    frames = (Credit(T, 1, 1, 1, 10), Credit(T, 1, 1, 2, 11), Credit(T, 1, 1, 3, 12))
    messages = order([sealer.seal(frame) for frame in frames])
    for message in messages[:-1] if len(messages) != 3 else messages[:1]:
        opener.open(tunnel_frame(message))
    with pytest.raises(RemoteProtocolError, match="changed"):
        for message in messages[-1:] if len(messages) != 3 else messages[1:]:
            opener.open(tunnel_frame(message))


def test_a_frame_that_does_not_open_moves_nothing() -> None:
    """The count stays, so that an attack cannot shift it."""
    sealer, opener = new_pair()
    stop = tunnel_frame(sealer.seal(Stop(T, 1, 1)))
    assert isinstance(stop, Stop)
    with pytest.raises(RemoteProtocolError):
        opener.open(stop._replace(tag=bytes(TAG)))
    assert not opener.used
    assert opener.open(stop) == Stop(T, 1, 1)
