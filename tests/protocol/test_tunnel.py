"""What both sides of a tunnel do: timeouts, credit in time, floods, and frames out of place."""

from __future__ import annotations

import pytest

from edge_tunnel.protocol import tunnel as module
from edge_tunnel.protocol.frames import (
    MAX_STREAMS,
    Accept,
    Attach,
    Attached,
    Close,
    Credit,
    Data,
    Detached,
    Echo,
    End,
    Open,
    Position,
    Probe,
    Reset,
    Stop,
    StreamFrame,
    TunnelFrame,
)
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.protocol.tunnel import (
    CREDIT_DELAY,
    RESUME_TIMEOUT,
    StreamBroken,
    StreamWritable,
    Tunnel,
    TunnelClosed,
    TunnelDetached,
)
from edge_tunnel.protocol.window import TUNNEL_BUDGET
from edge_tunnel.reasons import Reason
from tests.protocol.wire import WINDOW, Pair, fetch


def outlet(pair: Pair, side: int) -> Outlet:
    path = pair.at[side]
    assert path is not None
    return path.outlets[side]


def frames(tunnel: Tunnel, stream: int, epoch: int) -> list[TunnelFrame | StreamFrame]:
    """One of each kind that a tunnel may meet, about that stream."""
    head, whole = (tunnel.id, stream, epoch), (tunnel.id, 0, epoch)
    return [
        Attach(*whole, "pump-7", "ssh", False, b"", 0, (), bytes(32)),
        Attached(*whole, 9, 0, (Position(1, 5, 5, 5, accepted=True),), bytes(32)),
        Detached(*whole, 25, ""),
        Close(*whole, 0, ""),
        Probe(*whole, 1),
        Echo(*whole, 1),
        Data(*head, 0, b"x"),
        Data(*head, 2**62, b"x"),
        Credit(*head, 2**62, 2**62),
        End(*head, 2**62),
        Stop(*head),
        Reset(*head, 999, "?"),
        Open(*head, 5),
        Accept(*head),
    ]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("stream", [1, 7])
@pytest.mark.parametrize("index", range(14))
def test_any_frame_at_any_time_raises_nothing(side: int, stream: int, index: int) -> None:
    """Whatever comes for whatever stream: the tunnel takes it, drops it, or ends. No exception."""
    pair = Pair().connect()
    near = pair.remote.open_stream()
    near.write(b"abc")
    pair.drive()
    tunnel = pair.tunnel(side)
    for frame in frames(tunnel, stream, tunnel.epoch)[index:]:
        tunnel.receive(frame, pair.now)
        if tunnel.closed:
            assert tunnel.closed.reason in {
                Reason.PROTOCOL_ERROR, Reason.FLOW_CONTROL, Reason.DONE,
            }  # fmt: skip
            assert not tunnel.streams
            break


@pytest.mark.parametrize("side", [0, 1])
def test_frames_of_other_epochs_are_dropped(side: int) -> None:
    """Older and newer ones alike, of every kind."""
    pair = Pair().connect()
    near = pair.remote.open_stream()
    near.write(b"abc")
    pair.drive()
    tunnel = pair.tunnel(side)
    before = f"{tunnel!r} {tunnel.streams}"
    for epoch in (0, tunnel.epoch + 1):
        for frame in frames(tunnel, 1, epoch):
            tunnel.receive(frame, pair.now)
    assert f"{tunnel!r} {tunnel.streams}" == before
    assert list(tunnel.events()) == []
    assert outlet(pair, side).next_message() is None


def test_a_detached_tunnel_takes_nothing_but_its_end() -> None:
    """Frames of a link that was given up change nothing; CLOSE still ends the tunnel."""
    pair = Pair().connect()
    pair.remote.open_stream()
    pair.drive()
    pair.notice(1)
    _, edge = pair.both
    edge.receive(Data(edge.id, 1, edge.epoch, 0, b"late"), pair.now)
    edge.receive(Detached(edge.id, 0, edge.epoch, 25, ""), pair.now)
    assert edge.streams[1].incoming.received == 0
    assert list(edge.events()) == []
    edge.receive(Close(edge.id, 0, edge.epoch, Reason.IDLE, ""), pair.now)
    assert edge.closed == TunnelClosed(Reason.IDLE, "")


@pytest.mark.parametrize("side", [0, 1])
def test_past_the_credit_costs_the_tunnel(side: int) -> None:
    """A peer that sends more than it may loses the tunnel, and hears why."""
    pair = Pair().connect()
    stream = pair.remote.open_stream()
    pair.drive()
    tunnel = pair.tunnel(side)
    tunnel.receive(Data(tunnel.id, stream.id, tunnel.epoch, 0, bytes(WINDOW + 1)), pair.now)
    assert tunnel.closed
    assert tunnel.closed.reason is Reason.FLOW_CONTROL
    pair.drive()
    far = pair.tunnel(1 - side)
    assert far.closed
    assert far.closed.reason is Reason.FLOW_CONTROL
    assert stream.reason is Reason.FLOW_CONTROL


def test_detached_for_too_long() -> None:
    """Both sides end by themselves, with the reason; streams are broken, not ended."""
    pair = Pair().connect()
    stream = pair.remote.open_stream()
    pair.drive()
    for side in (0, 1):
        pair.notice(side)
        assert pair.tunnel(side).deadline() == pair.now + RESUME_TIMEOUT
    pair.tick(RESUME_TIMEOUT - 1)
    assert pair.remote.closed is None
    pair.tick(1)
    for tunnel in pair.both:
        assert tunnel.closed == TunnelClosed(Reason.RESUME_TIMEOUT, "detached for 120 s")
        assert tunnel.deadline() is None
        assert not tunnel.streams
        assert tunnel.budget.left == TUNNEL_BUDGET
    assert stream.reason is Reason.RESUME_TIMEOUT


def test_a_small_delivery_is_told_after_a_while() -> None:
    """An idle stream's far end does not keep its last bytes for ever."""
    pair = Pair().connect()
    calls: list[float | None] = []
    stream = pair.remote.open_stream()
    stream.write(b"abc")
    pair.drive()
    _, edge = pair.both
    edge.on_deadline = lambda: calls.append(pair.now)
    assert edge.deadline() is None
    edge.streams[1].take(100, pair.now)
    assert calls == [pair.now]
    assert edge.deadline() == pair.now + CREDIT_DELAY
    pair.tick(CREDIT_DELAY / 2)
    pair.drive()
    assert stream.outgoing.buffered == 3
    pair.tick(CREDIT_DELAY)
    pair.drive()
    assert stream.outgoing.buffered == 0
    assert edge.deadline() is None


def test_growth_is_given_back() -> None:
    """A window that grew returns its bytes to the tunnel when the stream is over."""
    pair = Pair(window=100_000).connect()
    stream = pair.remote.open_stream()
    pair.drive()
    _, edge = pair.both
    far = edge.streams[1]
    for _ in range(20):
        stream.write(bytes(stream.outgoing.room))
        pair.tick(0.01)
        pair.drive()
        while far.incoming.readable:
            far.take(65536, pair.now)
        pair.drive()
    assert edge.budget.left < TUNNEL_BUDGET
    stream.reset(Reason.RESET)
    pair.drive()
    assert edge.budget.left == TUNNEL_BUDGET


def test_the_round_trip_is_measured() -> None:
    """PROBE goes out at each attach; the lowest answer counts."""
    pair = Pair()
    pair.attach()
    path = pair.paths[0]
    path.pump(0, 1)
    pair.deliver(path, 0, 1)
    path.pump(1, 9)
    pair.deliver(path, 1, 9)
    pair.tick(0.25)
    pair.drive()
    assert pair.remote.trip == pytest.approx(0.25)
    _, edge = pair.both
    edge.receive(Echo(edge.id, 0, edge.epoch, 77), pair.now)  # never asked
    assert edge.trip == pytest.approx(0.25)


@pytest.mark.parametrize("kind", ["probe", "reset"])
def test_a_peer_that_does_not_read_its_answers(kind: str) -> None:
    """Endless PROBE or RESET fills no memory: it costs the tunnel."""
    pair = Pair().connect()
    _, edge = pair.both
    head = (edge.id, 0 if kind == "probe" else 99, edge.epoch)
    for _ in range(2 * MAX_STREAMS):
        edge.receive(Probe(*head, 1) if kind == "probe" else Reset(*head, 1, ""), pair.now)
    assert edge.closed is None
    edge.receive(Probe(edge.id, 0, edge.epoch, 1), pair.now)
    assert edge.closed
    assert edge.closed.reason is Reason.FLOW_CONTROL
    assert len(fetch(outlet(pair, 1))) == 1  # CLOSE, and nothing of the flood
    assert not edge._answers


def test_answers_take_turns_with_data() -> None:
    """A flood of PROBE does not hold up the streams."""
    pair = Pair().connect()
    pair.remote.open_stream()
    pair.drive()
    _, edge = pair.both
    for _ in range(10):
        edge.receive(Probe(edge.id, 0, edge.epoch, 1), pair.now)
    edge.streams[1].write(b"data")
    kinds = [type(frame).__name__ for frame in fetch(outlet(pair, 1))]
    assert kinds.index("Data") <= 1
    assert kinds.count("Echo") == 10


def test_a_reset_of_a_stream_that_is_over_is_answered() -> None:
    """The far end waits for the answer; the answer itself gets none."""
    pair = Pair().connect()
    _, edge = pair.both
    edge.receive(Reset(edge.id, 5, edge.epoch, Reason.RESET, ""), pair.now)
    assert fetch(outlet(pair, 1)) == [Reset(edge.id, 5, edge.epoch, Reason.DONE, "")]
    edge.receive(Reset(edge.id, 5, edge.epoch, Reason.DONE, ""), pair.now)
    assert fetch(outlet(pair, 1)) == []


def test_detached_is_told_once() -> None:
    """A second loss of the same link is no news."""
    pair = Pair().connect()
    for _ in range(2):
        pair.remote.detach(pair.now, Reason.SILENT, "gone")
    assert list(pair.remote.events()) == [TunnelDetached(Reason.SILENT, "gone")]


def test_close_ends_both_sides() -> None:
    """The far end hears the reason; a second close is nothing; streams say why they broke."""
    pair = Pair().connect()
    pair.remote.open_stream()
    pair.drive()
    _, edge = pair.both
    edge.close(Reason.SHUTTING_DOWN, "y" * 2000)
    edge.close(Reason.DONE)
    edge.detach(pair.now, Reason.SILENT)
    broken, closed = edge.events()
    assert isinstance(broken, StreamBroken)
    assert broken.stream.reason is Reason.SHUTTING_DOWN
    assert isinstance(closed, TunnelClosed)
    seen: list[object] = []
    pair.on_event = lambda _side, event: seen.append(event)
    pair.drive()
    assert seen[-1] == TunnelClosed(Reason.SHUTTING_DOWN, "y" * 1024)
    assert repr(pair.remote) == f"<RemoteTunnel {pair.remote.id.hex()[:8]} closed epoch=1 0>"


def test_what_is_complete_is_not_broken_by_a_close() -> None:
    """A stream whose last CREDIT waits for a link ended cleanly, whatever comes after."""
    pair = Pair().connect()
    near = pair.remote.open_stream()
    pair.drive()
    far = pair.both[1].streams[1]
    near.end()
    far.end()
    pair.drive()
    assert near.take(1, pair.now) == b""
    pair.drive()
    pair.notice(1)
    assert far.take(1, pair.now) == b""
    assert pair.both[1].streams  # not told yet
    pair.both[1].close(Reason.DONE)
    events = list(pair.both[1].events())
    assert events == [StreamWritable(far), TunnelClosed(Reason.DONE, "")]
    assert far.reason is None


def test_statistics() -> None:
    """Streams and bytes are counted."""
    pair = Pair().connect()
    stream = pair.remote.open_stream()
    stream.write(b"abc")
    pair.drive()
    remote, edge = pair.both
    assert (remote.opened, edge.opened) == (1, 1)
    assert (remote.sent, edge.received) == (3, 3)
    assert all(hasattr(module, name) for name in module.__all__)
