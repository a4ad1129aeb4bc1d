"""The short way of binary messages: what it takes, and what it leaves to the library."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from edge_tunnel.link.express import Splitter
from edge_tunnel.link.express import packed as pack
from edge_tunnel.link.shared import SharedConnection
from edge_tunnel.protocol.frames import MAX_MESSAGE

SIZES = (0, 1, 125, 126, 65535, 65536, MAX_MESSAGE)


def library(*, client: bool) -> Connection:
    """wsproto after a handshake: what the frames of our peer are made with."""
    return Connection(ConnectionType.CLIENT if client else ConnectionType.SERVER)


def split(splitter: Splitter, data: bytes) -> list[bytes]:
    """The messages in `data`."""
    splitter.feed(data)
    messages = []
    while (message := splitter.next_message()) is not None:
        messages.append(message)
    return messages


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_same_frames_as_the_library(client: bool, size: int) -> None:
    """Each side of wsproto reads what we pack, and we split what it sends."""
    message = bytes(range(251)) * (size // 251 + 1)
    message = message[:size]
    far = library(client=not client)
    far.receive_data(pack(message, masked=client))
    got = b"".join(bytes(event.data) for event in far.events() if isinstance(event, BytesMessage))
    assert got == message
    frame = library(client=client).send(BytesMessage(data=message))
    splitter = Splitter(masked=client)
    assert split(splitter, frame) == [message]
    assert not splitter.given_up


@pytest.mark.parametrize("masked", [True, False])
def test_cut_at_each_byte(masked: bool) -> None:
    """Frames may arrive in any parts."""
    messages = [b"", b"one", b"x" * 200, b"three"]
    wire = b"".join(pack(each, masked=masked) for each in messages)
    for cut in range(len(wire)):
        splitter = Splitter(masked=masked)
        assert split(splitter, wire[:cut]) + split(splitter, wire[cut:]) == messages
    splitter = Splitter(masked=masked)
    assert [m for byte in wire for m in split(splitter, bytes([byte]))] == messages


def test_control_frames_go_to_the_library() -> None:
    """One by one, between messages, and the short way goes on."""
    ping = library(client=True).send(Ping(payload=b"?"))
    close = library(client=True).send(CloseConnection(code=1000))
    splitter = Splitter(masked=True)
    wire = ping + pack(b"a", masked=True) + close + pack(b"b", masked=True)
    assert split(splitter, wire) == [b"a", b"b"]
    assert splitter.for_library == ping + close
    assert not splitter.given_up


@pytest.mark.parametrize(
    "event",
    [TextMessage(data="text"), BytesMessage(data=b"part", message_finished=False)],
)
def test_unusual_frames_end_the_short_way(event: Event) -> None:
    """Text and fragments: from there on everything is the library's, and nothing is lost."""
    rest = library(client=True).send(event) + pack(b"later", masked=True)
    splitter = Splitter(masked=True)
    assert split(splitter, pack(b"first", masked=True) + rest[:3]) == [b"first"]
    assert split(splitter, rest[3:]) == []
    assert splitter.given_up
    assert splitter.for_library == rest


@pytest.mark.parametrize(
    "frame",
    [
        pack(b"not masked", masked=False),
        b"\x82\xff" + (MAX_MESSAGE + 1).to_bytes(8, "big") + b"keyx",
        b"\xc2\x81keyx.",  # a bit of an extension that nobody asked for
        b"\x89\xfe\x00\x7ekeyx",  # a control frame may not be so long
        b"\x83\x80keyx",  # no such opcode
    ],
)
def test_wrong_frames_are_the_librarys_to_refuse(frame: bytes) -> None:
    """We judge no peer."""
    splitter = Splitter(masked=True)
    assert split(splitter, frame) == []
    assert splitter.given_up
    assert splitter.for_library == frame


class Arrivals(trio.abc.Stream):
    """Gives what it is told to, one part for each read."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)
        self.sent = bytearray()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        assert max_bytes != 0
        await trio.lowlevel.checkpoint()
        return self.parts.pop(0) if self.parts else b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


async def test_frames_behind_the_handshake_are_kept() -> None:
    """The library drops what comes in one segment with the handshake; the short way has it."""
    for cut in range(1, len(HEAD)):
        shared = SharedConnection(Arrivals(HEAD[:cut], HEAD[cut:] + b"frames"))
        assert await shared.receive_some() + await shared.receive_some() == HEAD
        assert shared.taken
        assert shared.early == b"frames"


async def test_refusal_is_the_librarys() -> None:
    """A server that refuses has a body to be read, and the connection is not taken."""
    refusal = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    shared = SharedConnection(Arrivals(refusal + b"why", b"not"))
    assert await shared.receive_some() == refusal + b"why"
    assert not shared.taken
    assert await shared.receive_some() == b"not"
    assert await shared.receive_some() == b""
    assert shared.ended.is_set()


async def test_library_gets_what_is_handed_over() -> None:
    """While the connection is taken the library waits; given back, it reads again."""
    shared = SharedConnection(Arrivals(HEAD, b"ours", b"theirs"))
    await shared.receive_some()
    got: list[bytes | bytearray] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            got.append(await shared.receive_some())
            got.append(await shared.receive_some())

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert await shared.read() == b"ours"
        shared.hand_over(bytearray(b"handed"))
        await trio.testing.wait_all_tasks_blocked()
        assert got == [b"handed"]
        shared.give_back()
    assert got == [b"handed", b"theirs"]


def test_order_of_what_is_not_taken_yet() -> None:
    """Messages that wait come before those that arrive."""
    splitter = Splitter(masked=False)
    for number in range(3):
        splitter.feed(
            pack(b"%d" % (2 * number), masked=False) + pack(b"%d" % (2 * number + 1), masked=False)
        )
    got = []
    while (message := splitter.next_message()) is not None:
        got.append(message)
    assert got == [b"0", b"1", b"2", b"3", b"4", b"5"]
