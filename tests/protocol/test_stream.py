"""One stream between two real tunnels: its user's verbs and what the far user sees."""

from __future__ import annotations

import pytest

from edge_tunnel.errors import LocalProtocolError
from edge_tunnel.protocol.frames import Accept, Credit, Frame, Open, Reset, Stop
from edge_tunnel.protocol.receiving import ReceiveState
from edge_tunnel.protocol.sending import SendState
from edge_tunnel.protocol.stream import Stream
from edge_tunnel.protocol.tunnel import (
    Event,
    StreamOpened,
)
from edge_tunnel.reasons import Reason
from tests.protocol.wire import WINDOW, Pair, fetch


class Open2:
    """A pair with one stream that is open on both sides, and the events since."""

    def __init__(self) -> None:
        self.pair = Pair().connect()
        self.events: tuple[list[Event], list[Event]] = ([], [])
        self.pair.on_event = lambda side, event: self.events[side].append(event)
        self.near = self.pair.remote.open_stream()
        self.pair.drive()
        opened = self.events[1].pop()
        assert isinstance(opened, StreamOpened)
        self.far: Stream = opened.stream

    def drive(self) -> None:
        self.pair.drive()
        self.pair.tell(0)
        self.pair.tell(1)

    def heard(self, side: int) -> list[str]:
        """The names of the events since the last call."""
        names = [type(event).__name__ for event in self.events[side]]
        self.events[side].clear()
        return names

    def sent(self, side: int) -> list[Frame]:
        """Take from the outlet what would be sent now."""
        path = self.pair.at[side]
        assert path is not None
        return list(fetch(path.outlets[side]))


def test_bytes_both_ways_and_both_ends() -> None:
    """Bytes and half-closes go both ways, and then both sides have forgotten the stream."""
    both = Open2()
    both.near.write(b"question")
    both.near.end()
    both.drive()
    assert both.heard(1) == ["StreamReadable", "StreamReadable"]
    assert both.far.take(100, 0.0) == b"question"
    assert both.far.take(100, 0.0) == b""
    both.far.write(b"answer")
    both.drive()
    assert both.near.take(100, 0.0) == b"answer"
    both.far.end()
    both.drive()
    assert both.near.take(100, 0.0) == b""
    both.drive()
    assert not both.pair.remote.streams
    assert not both.pair.edge.streams if both.pair.edge else False
    assert both.near.reason is None
    assert "StreamBroken" not in both.heard(0) + both.heard(1)


def test_accept_is_told_once() -> None:
    """ACCEPT goes out once, is heard once, and not at all for a stream that is over."""
    both = Open2()
    both.far.accept()
    both.far.accept()
    assert [type(frame) for frame in both.sent(1)] == [Accept]
    both.far.accepted = False
    both.far.reset(Reason.CONNECTION_REFUSED)
    both.far.accept()
    assert [type(frame) for frame in both.sent(1)] == [Reset]


def test_stop_frees_a_writer() -> None:
    """A writer without credit hears of the stop; its bytes are dropped and its END goes out."""
    both = Open2()
    both.near.write(bytes(WINDOW))
    both.drive()
    assert both.near.outgoing.room == 0
    both.heard(0)
    both.far.stop()
    both.far.stop()
    both.drive()
    assert both.heard(0) == ["StreamWritable", "StreamWritable"]  # stopped, done
    assert both.near.outgoing.state is SendState.DONE
    assert both.near.outgoing.buffered == 0
    assert both.far.incoming.state is ReceiveState.DONE


def test_stop_is_sent_once() -> None:
    """Reading no more is said once; after END there is nothing to say but the credit."""
    both = Open2()
    both.far.stop()
    both.far.stop()
    assert [type(frame) for frame in both.sent(1)] == [Stop]
    other = Open2()
    other.near.end()
    other.drive()
    other.far.stop()
    other.far.stop()
    assert [type(frame) for frame in other.sent(1)] == [Credit]


def test_stop_with_bytes_that_were_not_read() -> None:
    """Their end is here, and still they are not wanted: the sender hears that before it is done."""
    both = Open2()
    both.near.write(b"abc")
    both.near.end()
    both.drive()
    both.far.take(2, both.pair.now)
    both.far.stop()
    assert [type(frame) for frame in both.sent(1)] == [Stop, Credit]


def test_stop_crosses_end() -> None:
    """END is under way one way and STOP the other: both sides are through, nothing is wrong."""
    both = Open2()
    both.near.write(b"abc")
    both.near.end()
    both.far.stop()
    both.drive()
    assert both.near.outgoing.state is SendState.DONE
    assert both.far.incoming.state is ReceiveState.DONE
    assert both.pair.remote.closed is None


def test_reset_reaches_the_far_user_with_its_reason() -> None:
    """What was not read is dropped, and nothing looks like an end."""
    both = Open2()
    both.far.write(b"half a file")
    both.drive()
    both.far.reset(Reason.UNREACHABLE, "no route to the PLC")
    both.drive()
    assert both.near.reason is Reason.UNREACHABLE
    assert both.near.text == "no route to the PLC"
    assert not both.near.incoming.readable
    with pytest.raises(LocalProtocolError):
        both.near.take(100, 0.0)
    assert both.heard(0)[-1] == "StreamBroken"
    assert not both.pair.remote.streams


def test_reset_crosses_reset() -> None:
    """Both users give up at once: each keeps its own reason, and both sides forget."""
    both = Open2()
    both.near.reset(Reason.RESET, "near")
    both.far.reset(Reason.RESET, "far")
    both.drive()
    assert (both.near.text, both.far.text) == ("near", "far")
    for tunnel in both.pair.both:
        assert not tunnel.streams
        assert tunnel.closed is None


def test_reset_crosses_end() -> None:
    """An END under way does not make a reset stream clean."""
    both = Open2()
    both.far.write(b"all of it")
    both.far.end()
    both.near.reset(Reason.RESET)
    both.drive()
    assert both.near.incoming.state is ReceiveState.BROKEN
    assert both.far.reason is Reason.RESET
    assert not both.pair.remote.streams


def test_a_long_text_is_cut() -> None:
    """A text that no frame carries would cost the link."""
    both = Open2()
    both.near.reset(Reason.RESET, "x" * 5000)
    both.drive()
    assert len(both.far.text) == 1024


def test_reset_after_the_end_is_nothing() -> None:
    """A stream that is complete stays clean."""
    both = Open2()
    for stream in (both.near, both.far):
        stream.end()
    both.drive()
    for stream in (both.near, both.far):
        assert stream.take(1, 0.0) == b""
    both.drive()
    both.near.reset(Reason.RESET)
    assert both.near.reason is None
    assert both.sent(0) == []


def test_a_reset_without_a_reason_is_still_one() -> None:
    """RESET(DONE) answers; as a first word it is a reset like any other."""
    both = Open2()
    remote = both.pair.remote
    remote.receive(Reset(remote.id, both.near.id, remote.epoch, Reason.DONE, ""), 0.0)
    assert both.near.reason is Reason.RESET
    assert both.sent(0) == []


def test_credit_follows_the_reader() -> None:
    """A reader that does not read stops the writer after one window, and only the writer."""
    both = Open2()
    both.near.write(bytes(WINDOW))
    both.drive()
    assert both.near.outgoing.room == 0
    both.far.take(WINDOW // 2, 0.0)
    both.drive()
    assert both.near.outgoing.room == WINDOW // 2
    assert both.heard(0)[-1] == "StreamWritable"


def test_an_idle_duplicate_tells_nobody() -> None:
    """A second STOP, a second ACCEPT, a CREDIT that changes nothing: no event."""
    both = Open2()
    remote, number = both.pair.remote, both.near.id
    for _ in range(2):
        remote.receive(Accept(remote.id, number, remote.epoch), 0.0)
        remote.receive(Credit(remote.id, number, remote.epoch, 0, 5), 0.0)
        remote.receive(Stop(remote.id, number, remote.epoch), 0.0)
    both.pair.tell(0)
    assert both.heard(0) == ["StreamAccepted", "StreamWritable"]


def test_a_stream_opens_with_its_window() -> None:
    """OPEN says how far the edge may send; bytes may follow it at once."""
    pair = Pair().connect()
    path = pair.at[0]
    assert path is not None
    stream = pair.remote.open_stream()
    stream.write(b"early")
    first, second = fetch(path.outlets[0])
    assert isinstance(first, Open)
    assert first.limit == WINDOW
    assert second[3:] == (0, b"early")
    assert repr(stream).startswith("<Stream 1 <ReceiveHalf open")
