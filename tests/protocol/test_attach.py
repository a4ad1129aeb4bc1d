"""The two sides of an attach: who may, what is asked again, and what is never believed."""

from __future__ import annotations

import pytest

from edge_tunnel.errors import LocalProtocolError, RemoteProtocolError
from edge_tunnel.protocol.attach import ATTACH_TIMEOUT, EdgeTunnel, RemoteTunnel
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import (
    MAX_STREAMS,
    Attach,
    Attached,
    Close,
    Credit,
    Data,
    Detached,
    Open,
    Position,
    Reset,
)
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.protocol.proof import attach_proof
from edge_tunnel.protocol.sending import SendState
from edge_tunnel.protocol.tunnel import (
    CREDIT_DELAY,
    RESUME_TIMEOUT,
    AttachLost,
    Event,
    StreamBroken,
    StreamWritable,
    TunnelAttached,
)
from edge_tunnel.reasons import Reason
from tests.protocol.wire import TO_EDGE, TO_REMOTE, WINDOW, Pair, Path, fetch


def asked(path: Path) -> Attach:
    """The ATTACH that the remote has just pushed."""
    (frame,) = fetch(path.outlets[0])
    assert isinstance(frame, Attach)
    return frame


def signed(pair: Pair, **changes: object) -> Attached:
    """An answer with a good proof, so that only its content is in question."""
    remote = pair.remote
    frame = Attached(remote.id, 0, remote.epoch, 0, WINDOW, (), b"")._replace(
        **changes  # type: ignore[arg-type]
    )
    return frame._replace(proof=attach_proof(remote._secret, frame))


def heard(pair: Pair) -> list[list[Event]]:
    """Lists that the events of both sides go into from now on."""
    lists: list[list[Event]] = [[], []]
    pair.on_event = lambda side, event: lists[side].append(event)
    return lists


def test_the_secret_goes_out_until_the_edge_has_it() -> None:
    """Each ATTACH before the first answer is fresh and brings it; none after that does."""
    pair = Pair()
    first, second = asked(pair.attach()), asked(pair.attach())
    assert first.fresh and second.fresh
    assert first.secret == second.secret != b""
    assert (first.epoch, second.epoch) == (1, 2)
    pair.connect()
    third = asked(pair.attach())
    assert not third.fresh
    assert third.secret == b""


def test_an_opening_needs_a_secret() -> None:
    """Without one there is nothing to prove with, ever."""
    frame = asked(Pair().attach())
    with pytest.raises(RemoteProtocolError, match="secret"):
        EdgeTunnel(frame._replace(secret=b""), now=0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"proof": bytes(32)},
        {"proof": b""},
        {"epoch": 99},
        {"thing": "pump-8"},
        {"service": "vnc"},
        {"window": 1},
        {"positions": (Position(1, 0, 0, 0, accepted=False),)},
    ],
    ids=str,
)
def test_a_wrong_attach_changes_nothing(change: dict[str, object]) -> None:
    """One answer for all of them, and the tunnel stays with its owner."""
    pair = Pair().connect()
    pair.remote.open_stream()
    pair.drive()
    _, edge = pair.both
    frame = asked(pair.attach())._replace(**change)  # type: ignore[arg-type]
    before = f"{edge!r} {edge.streams} {edge.attached}"
    thief = Outlet()
    assert edge.accept(frame, thief, pair.now) is Reason.UNKNOWN_TUNNEL
    assert f"{edge!r} {edge.streams} {edge.attached}" == before
    assert thief.next_message() is None
    assert list(edge.events()) == []


def test_a_late_attach_is_dropped() -> None:
    """No answer: a CLOSE of the epoch that stands would end the tunnel for its owner."""
    pair = Pair()
    path = pair.attach()
    path.pump(TO_EDGE, 1)
    message = path.queues[TO_EDGE][0]
    pair.drive()
    other = Path()
    pair.arrive(TO_EDGE, message, other)
    assert other.outlets[1].next_message() is None
    pair.drive()
    assert pair.remote.attached
    assert pair.remote.closed is None


def test_a_closed_tunnel_is_unknown() -> None:
    """The same answer as for one that never was."""
    pair = Pair().connect()
    _, edge = pair.both
    edge.close(Reason.DONE)
    frame = asked(pair.attach())
    assert edge.accept(frame, Outlet(), pair.now) is Reason.UNKNOWN_TUNNEL


def test_an_answer_without_proof_ends_the_tunnel() -> None:
    """Whoever serves the thing now is not the end that has our streams; it is told so."""
    pair = Pair().connect()
    path = pair.attach()
    fetch(path.outlets[0])
    answer = signed(pair)._replace(window=5)
    pair.remote.receive(answer, pair.now)
    assert pair.remote.closed
    assert pair.remote.closed.reason is Reason.PROTOCOL_ERROR
    assert [type(frame) for frame in fetch(path.outlets[0])] == [Close]


def test_an_answer_that_nobody_waits_for() -> None:
    """ATTACHED played again, or after its link was given up, changes nothing."""
    pair = Pair().connect()
    answer = signed(pair, highest=5)
    stream = pair.remote.open_stream()
    pair.remote.receive(answer, pair.now)
    assert pair.remote.streams == {1: stream}
    path = pair.attach()
    pair.notice(0)
    pair.remote.receive(signed(pair), pair.now)
    assert not pair.remote.attached
    assert not path.queues[TO_REMOTE]


def test_nothing_is_taken_before_the_answer() -> None:
    """Frames of the new epoch wait behind ATTACHED; ahead of it they are nobody's."""
    pair = Pair().connect()
    stream = pair.remote.open_stream()
    pair.drive()
    pair.attach()
    remote = pair.remote
    remote.receive(Data(remote.id, 1, remote.epoch, 0, b"early"), pair.now)
    remote.receive(Reset(remote.id, 1, remote.epoch, 1, ""), pair.now)
    assert stream.incoming.received == 0
    assert stream.reason is None


def test_no_answer_is_asked_again() -> None:
    """An ATTACH that got lost is repeated with a higher epoch, until the tunnel's time is over."""
    pair = Pair().connect()
    pair.notice(0)
    path = pair.attach()
    assert asked(path).epoch == 2
    assert pair.remote.deadline() == pair.now + ATTACH_TIMEOUT
    pair.tick(ATTACH_TIMEOUT / 2)
    assert path.outlets[0].next_message() is None
    pair.tick(ATTACH_TIMEOUT / 2)
    assert asked(path).epoch == 3
    pair.tick(RESUME_TIMEOUT)
    assert pair.remote.closed
    assert [type(frame) for frame in fetch(path.outlets[0])] == [Close]
    assert pair.remote.deadline() is None


def test_the_node_may_take_a_pending_attach_back() -> None:
    """DETACHED of the asked epoch: the edge's link was lost before it answered."""
    pair = Pair().connect()
    pair.attach()
    remote = pair.remote
    remote.receive(Detached(remote.id, 0, remote.epoch, Reason.PEER_LEFT, "gone"), pair.now)
    assert list(remote.events()) == [AttachLost()]


@pytest.mark.parametrize("lives", [False, True], ids=["never attached", "attached"])
def test_sent_away_again_and_again(lives: bool) -> None:
    """Who hears DETACHED to each ATTACH asks some times at once, and then each second; for good
    nothing is lost by it."""
    pair = Pair()
    remote, outlet = pair.remote, Outlet()
    now, epochs = 100.0, [0]
    while now < 160:
        remote.attach(outlet, now)
        for frame in fetch(outlet):
            assert isinstance(frame, Attach)
            assert frame.epoch > epochs[-1], "never the same epoch twice"
            epochs.append(frame.epoch)
            if lives:
                remote.receive(signed(pair), now)
                fetch(outlet)
        remote.receive(Detached(remote.id, 0, remote.epoch, Reason.PEER_LEFT, ""), now)
        assert AttachLost() in list(remote.events()) or lives
        now += 0.01
    assert 60 <= len(epochs) < 80
    remote.attach(outlet, now)
    assert fetch(outlet) == []
    assert remote.uses(outlet)
    due = remote.deadline()
    assert due is not None
    assert now < due < now + 1.5
    remote.tick(due)
    (ask,) = fetch(outlet)
    assert isinstance(ask, Attach)
    remote.receive(signed(pair), due)
    assert remote.attached


def test_leaving_a_live_link_starts_the_clock() -> None:
    """Make-before-break whose new link dies: the tunnel does not wait for ever."""
    pair = Pair().connect()
    calls: list[float] = []
    pair.remote.on_deadline = lambda: calls.append(pair.now)
    pair.attach()
    assert calls
    pair.notice(0)
    assert list(pair.remote.events()) == []  # notice() told it
    assert pair.remote.deadline() == pair.now + RESUME_TIMEOUT
    pair.tick(RESUME_TIMEOUT)
    assert pair.remote.closed


def test_make_before_break_loses_nothing() -> None:
    """The old path works while the new one is asked for; seconds count from the ask."""
    pair = Pair().connect()
    stream = pair.remote.open_stream()
    stream.write(b"0123456789")
    events = heard(pair)
    old = pair.paths[0]
    old.pump(TO_EDGE, 99)
    new = pair.attach()
    pair.tick(0.5)
    pair.deliver(old, TO_EDGE, 99)  # still the epoch that stands over there
    pair.drive()
    _, edge = pair.both
    assert edge.streams[1].take(100, pair.now) == b"0123456789"
    assert TunnelAttached(0.5) in events[0]
    assert TunnelAttached(0.0) in events[1]
    assert old.outlets[0].next_message() is None
    assert pair.at == [new, new]


def test_what_is_read_during_the_attach_is_told() -> None:
    """A full window that is read between ATTACH and ATTACHED does not stall for ever."""
    pair = Pair().connect()
    near = pair.remote.open_stream()
    pair.drive()
    far = pair.both[1].streams[1]
    far.write(bytes(WINDOW))
    pair.drive()
    pair.attach()
    assert len(near.take(WINDOW, pair.now)) == WINDOW
    pair.drive()
    assert far.outgoing.room == WINDOW


def test_what_ends_during_the_attach_is_told() -> None:
    """A stream that becomes complete between ATTACH and ATTACHED is over at the far end too."""
    pair = Pair().connect()
    near = pair.remote.open_stream()
    pair.drive()
    far = pair.both[1].streams[1]
    near.end()
    far.end()
    pair.drive()
    assert far.take(1, pair.now) == b""
    pair.drive()
    pair.attach()
    assert near.take(1, pair.now) == b""
    pair.drive()
    for tunnel in pair.both:
        assert not tunnel.streams
        assert tunnel.closed is None
    assert far.outgoing.state is SendState.DONE


def test_a_lost_last_credit_is_a_clean_end() -> None:
    """The far end forgot the stream because it was complete: so it is here, and not broken."""
    pair = Pair().connect()
    near = pair.remote.open_stream()
    pair.drive()
    far = pair.both[1].streams[1]
    near.end()
    far.end()
    pair.drive()
    assert near.take(1, pair.now) == b""
    pair.drive()
    assert far.take(1, pair.now) == b""  # forgotten there; its CREDIT is under way and gets lost
    assert not pair.both[1].streams
    pair.paths[0].die(TO_REMOTE, 0)
    events = heard(pair)
    pair.attach()
    pair.drive()
    assert StreamWritable(near) in events[0]
    assert not any(isinstance(event, StreamBroken) for event in events[0])
    assert near.outgoing.state is SendState.DONE
    assert not pair.remote.streams


def test_a_refusal_that_got_lost() -> None:
    """A stream that the far end refused and forgot is reset here, not ended."""
    pair = Pair(max_streams=0).connect()
    near = pair.remote.open_stream()
    near.write(b"x")
    path = pair.paths[0]
    path.pump(TO_EDGE, 9)
    pair.deliver(path, TO_EDGE, 9)
    path.die(TO_REMOTE, 0)
    events = heard(pair)
    pair.attach()
    pair.drive()
    assert near.reason is Reason.RESET
    assert StreamBroken(near) in events[0]


def test_too_many_streams() -> None:
    """The edge refuses with a reason; the tunnel goes on."""
    pair = Pair(max_streams=1).connect()
    first, second = pair.remote.open_stream(), pair.remote.open_stream()
    pair.drive()
    assert first.reason is None
    assert second.reason is Reason.TOO_MANY_STREAMS


def test_a_lost_open_is_said_again() -> None:
    """A stream above `highest` was never heard of: OPEN and its bytes go out again."""
    pair = Pair().connect()
    pair.paths[0].die(TO_EDGE, 0)
    near = pair.remote.open_stream()
    near.write(b"early")
    pair.drive()
    pair.attach()
    pair.drive()
    assert pair.both[1].streams[near.id].take(100, pair.now) == b"early"


def test_a_stream_of_a_detached_tunnel() -> None:
    """It may be opened, written and reset before there is a link again."""
    pair = Pair().connect()
    pair.notice(0)
    kept, dropped = pair.remote.open_stream(), pair.remote.open_stream()
    kept.write(b"hello")
    dropped.reset(Reason.RESET)
    pair.attach()
    pair.drive()
    assert list(pair.both[1].streams) == [kept.id]
    assert list(pair.remote.streams) == [kept.id]


def test_a_stream_id_is_used_once() -> None:
    """OPEN for an id that is over is ignored; for one that is alive it is an error."""
    pair = Pair().connect()
    stream = pair.remote.open_stream()
    pair.drive()
    stream.reset(Reason.RESET)
    pair.drive()
    _, edge = pair.both
    edge.receive(Open(edge.id, 1, edge.epoch, 10), pair.now)
    assert not edge.streams
    edge.receive(Open(edge.id, 2, edge.epoch, 10), pair.now)
    edge.receive(Open(edge.id, 2, edge.epoch, 10), pair.now)
    assert edge.closed
    assert edge.closed.text == "Open goes the other way"


def test_when_streams_can_be_opened() -> None:
    """Not before the first attach, not after the end, and not without bound."""
    pair = Pair()
    with pytest.raises(LocalProtocolError):
        pair.remote.open_stream()
    pair.connect()
    for _ in range(MAX_STREAMS):
        pair.remote.open_stream()
    with pytest.raises(LocalProtocolError):
        pair.remote.open_stream()
    pair.notice(0)
    frame = asked(pair.attach())
    assert len(frame.positions) == MAX_STREAMS
    pair.remote.close(Reason.DONE)
    with pytest.raises(LocalProtocolError):
        pair.remote.open_stream()
    pair.remote.attach(Outlet(), pair.now)
    assert pair.remote.epoch == frame.epoch


@pytest.mark.parametrize(
    "lie",
    [
        Position(1, 99, 0, 10, accepted=False),
        Position(1, 1, 2, 10, accepted=False),
        Position(1, 0, 0, 10, accepted=False),
    ],
    ids=["never sent", "more delivered than received", "freed already"],
)
def test_a_position_that_lies_ends_the_tunnel(lie: Position) -> None:
    """Another history than ours cannot be gone on from: both sides hear it, loudly."""
    pair = Pair().connect()
    stream = pair.remote.open_stream()
    stream.write(b"abc")
    pair.drive()
    pair.both[1].streams[1].take(2, pair.now)
    pair.tick(CREDIT_DELAY)
    pair.drive()
    path = pair.attach()
    fetch(path.outlets[0])
    pair.remote.receive(signed(pair, highest=1, positions=(lie,)), pair.now)
    assert pair.remote.closed
    assert pair.remote.closed.reason is Reason.PROTOCOL_ERROR
    assert stream.reason is Reason.PROTOCOL_ERROR


def test_a_position_that_lies_to_the_edge() -> None:
    """The same from the other side: the new link hears ATTACHED and CLOSE."""
    pair = Pair().connect()
    pair.remote.open_stream()
    pair.drive()
    _, edge = pair.both
    frame = asked(pair.attach())
    frame = frame._replace(positions=(Position(1, 5, 5, 10, accepted=False),), proof=b"")
    frame = frame._replace(proof=attach_proof(pair.remote._secret, frame))
    outlet = Outlet()
    assert edge.accept(frame, outlet, pair.now) is None
    assert edge.closed
    assert [type(each) for each in fetch(outlet)] == [Close, Attached][::-1]


def test_a_low_highest_is_another_history() -> None:
    """The far end cannot have forgotten that a stream was opened whose bytes it delivered."""
    pair = Pair().connect()
    stream = pair.remote.open_stream()
    stream.write(b"abc")
    pair.drive()
    remote = pair.remote
    remote.receive(Credit(remote.id, 1, remote.epoch, 3, 100), pair.now)
    pair.attach()
    remote.receive(signed(pair, highest=0), pair.now)
    assert remote.closed


def test_positions_of_streams_that_are_over() -> None:
    """Named by the far end, long forgotten here: ignored."""
    pair = Pair().connect()
    pair.attach()
    positions = tuple(Position(number, 9, 9, 9, accepted=True) for number in (1, 2, 3))
    pair.remote.receive(signed(pair, highest=3, positions=positions), pair.now)
    assert pair.remote.attached


def test_accepted_is_part_of_the_position() -> None:
    """An ACCEPT that got lost is learnt at the next attach."""
    pair = Pair().connect()
    near = pair.remote.open_stream()
    pair.drive()
    pair.paths[0].die(TO_REMOTE, 0)
    pair.both[1].streams[1].accept()
    pair.drive()
    events = heard(pair)
    pair.attach()
    pair.drive()
    assert near.accepted
    assert [type(event).__name__ for event in events[0]].count("StreamAccepted") == 1


def test_close_takes_a_pending_attach_back() -> None:
    """A user who leaves while the attach is under way leaves no ghost at the edge."""
    pair = Pair()
    pair.attach()
    pair.remote.close(Reason.PEER_LEFT)
    pair.drive()
    assert pair.edge
    assert pair.edge.closed
    assert isinstance(pair.remote, RemoteTunnel)
    assert encode(Close(pair.remote.id, 0, 1, 25, ""))[1] == 19
