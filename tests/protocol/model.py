"""Two users, two real tunnels, a hostile wire, and what must hold at every moment.

What a user writes is a function of direction, stream and offset, so that whatever is read anywhere
can be checked on the spot: output is a prefix of input, with no gap and nothing twice.
"""

from __future__ import annotations

from edge_tunnel.protocol.attach import ATTACH_TIMEOUT
from edge_tunnel.protocol.frames import Attach, Credit, Data, Reset
from edge_tunnel.protocol.receiving import ReceiveState
from edge_tunnel.protocol.sending import SendState
from edge_tunnel.protocol.stream import Stream
from edge_tunnel.protocol.tunnel import (
    CREDIT_DELAY,
    RESUME_TIMEOUT,
    Event,
    StreamBroken,
    StreamOpened,
    StreamWritable,
    Tunnel,
)
from edge_tunnel.protocol.window import TUNNEL_BUDGET
from edge_tunnel.reasons import Reason
from tests.protocol.wire import TO_EDGE, Pair, Path

__all__ = ["Model", "pattern"]

_PATTERN = bytes(range(251))  # a prime, so that a shift by any power of two shows


def pattern(side: int, stream: int, offset: int, size: int) -> bytes:
    """What the user of that side writes on that stream, from `offset` on."""
    start = (offset + 7 * stream + 100 * side) % 251
    return (_PATTERN * (2 + size // 251))[start : start + size]


class Talk:
    """What one user did on one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.wrote = 0
        self.read = 0
        self.ended = False
        self.stopped = False
        self.eof = False
        self.broken = False  # the user reset it, or was told that it is broken
        self.asleep = False  # there was no room worth filling; it waits to be told


class Model:
    """The pair and its users. Each verb picks its object by an index, so any number will do."""

    def __init__(self, *, window: int = 1000, sealed: bool = False) -> None:
        self.pair = Pair(window=window, sealed=sealed)
        self.pair.on_event = self._on_event
        self.talks: tuple[dict[int, Talk], dict[int, Talk]] = ({}, {})
        self.slept = False  # long enough for the tunnel to end
        self.closed = False  # by a user
        self.was_reset: set[int] = set()  # streams, by a user
        self.pair.connect()

    # -- users

    def open(self) -> None:
        if self.pair.remote.closed is None and len(self.talks[0]) < 6:
            stream = self.pair.remote.open_stream()
            self.talks[0][stream.id] = Talk(stream)

    def accept(self, pick: int) -> None:
        talk = self._pick(1, pick)
        if talk is not None:
            talk.stream.accept()

    def write(self, side: int, pick: int, size: int) -> None:
        talk = self._pick(side, pick)
        if talk is not None:
            outgoing = talk.stream.outgoing
            size = min(size, outgoing.room if size < 10 else outgoing.usable)  # see `send_now`
            talk.asleep = not size
            if size:
                talk.stream.write(pattern(side, talk.stream.id, talk.wrote, size))
                talk.wrote += size

    def read(self, side: int, pick: int, most: int) -> None:
        talk = self._pick(side, pick)
        if talk is not None and talk.stream.incoming.readable and not talk.stopped:
            self._take(side, talk, most)

    def _take(self, side: int, talk: Talk, most: int) -> None:
        data = talk.stream.take(most, self.pair.now)
        far = self.talks[1 - side][talk.stream.id]
        assert data == pattern(1 - side, talk.stream.id, talk.read, len(data)), "not what was sent"
        talk.read += len(data)
        assert talk.read <= far.wrote, "more than was sent"
        if not data:
            talk.eof = True
            assert far.ended, "an end that nobody meant"
            assert talk.read == far.wrote, "the end before the last byte"

    def end(self, side: int, pick: int) -> None:
        talk = self._pick(side, pick)
        if talk is not None:
            if talk.stream.outgoing.state is SendState.OPEN:
                talk.ended = True
            talk.stream.end()

    def stop(self, side: int, pick: int) -> None:
        talk = self._pick(side, pick)
        if talk is not None:
            talk.stopped = True
            talk.stream.stop()

    def reset(self, side: int, pick: int) -> None:
        talk = self._pick(side, pick)
        if talk is not None:
            talk.stream.reset(Reason.CONNECTION_REFUSED, "x")
            talk.broken = talk.stream.reason is not None
            self.was_reset.add(talk.stream.id)

    def close(self, side: int) -> None:
        self.pair.tunnel(side).close(Reason.DONE)
        self.closed = True
        self.pair.tell(side)

    def _pick(self, side: int, pick: int) -> Talk | None:
        talks = [talk for talk in self.talks[side].values() if not talk.broken]
        return talks[pick % len(talks)] if talks else None

    def _on_event(self, side: int, event: Event) -> None:
        if isinstance(event, (StreamWritable, StreamBroken)):
            woken = self.talks[side].get(event.stream.id)
            if woken is not None:
                woken.asleep = False
        if isinstance(event, StreamOpened):
            assert event.stream.id not in self.talks[side], "a stream was opened twice"
            self.talks[side][event.stream.id] = Talk(event.stream)
        elif isinstance(event, StreamBroken):
            assert event.stream.reason is not None, "broken without a reason"
            if not (self.slept or self.closed):
                assert event.stream.id in self.was_reset, "broken, and nobody reset it"
            if event.stream.id in self.talks[side]:
                self.talks[side][event.stream.id].broken = True

    # -- wire

    def _path(self, pick: int) -> Path:
        return self.pair.paths[-1 - pick % len(self.pair.paths)]

    def move(self, pick: int, way: int, count: int) -> None:
        """Some messages leave, some arrive; on any path, also one that is long replaced."""
        path = self._path(pick)
        path.pump(way, count)
        self.pair.deliver(path, way, count)

    def pump(self, pick: int, way: int, count: int) -> None:
        self._path(pick).pump(way, count)

    def attach(self, pick: int | None) -> None:
        """By a new path (None), also while the old one works; or by one that is there."""
        if self.pair.remote.closed is None:
            self.pair.attach(None if pick is None else self._path(pick))

    def cut(self, way: int, keep: int) -> None:
        """The newest path dies in one direction; nobody has noticed yet."""
        self._path(0).die(way, keep)

    def notice(self, side: int) -> None:
        path = self.pair.at[side]
        self.pair.notice(side)
        if path is not None:  # an end that gave up a link sends nothing by it any more
            path.dead[side] = True

    def play_again(self, message_index: int) -> None:
        """Deliver the waiting ATTACH twice: once ahead of its time, by another path."""
        for path in self.pair.paths:
            for message in path.queues[TO_EDGE]:
                if message[1] == 16 and message_index >= 0:
                    self.pair.arrive(TO_EDGE, message, path)
                    return

    def sleep(self, seconds: float) -> None:
        self.slept |= seconds >= RESUME_TIMEOUT
        self.pair.tick(seconds)

    # -- an attacker who knows the tunnel's id

    def attack(self, kind: int) -> None:
        """Old epochs, a wrong proof, a stolen id: nothing changes."""
        remote, edge = self.pair.both
        before = self._state()
        head = (remote.id, 1 + kind % 3)
        for tunnel in (remote, edge):
            for epoch in (tunnel.epoch - 1, tunnel.epoch + 1):
                tunnel.receive(Reset(*head, epoch, 1, ""), self.pair.now)
                tunnel.receive(Data(*head, epoch, 5 * kind, b"evil"), self.pair.now)
                tunnel.receive(Credit(*head, epoch, 2**40, 2**50), self.pair.now)
        stolen = Path()
        frame = Attach(
            edge.id, 0, edge.epoch + 1 + kind, "pump-7", "ssh", kind % 2 == 0,
            bytes(32) if kind % 2 == 0 else b"", 10, (), bytes(32),
        )  # fmt: skip
        assert edge.accept(frame, stolen.outlets[1], self.pair.now) is Reason.UNKNOWN_TUNNEL
        assert stolen.outlets[1].next_message() is None
        assert self._state() == before

    def _state(self) -> str:
        return "".join(
            f"{tunnel!r} {tunnel.attached} {list(tunnel.streams.values())}"
            for tunnel in self.pair.both
        )

    # -- what must hold

    def check(self) -> None:
        remote, edge = self.pair.both
        if not (self.slept or self.closed):
            assert remote.closed is None, remote.closed
            assert edge.closed is None, edge.closed
        for side in (0, 1):
            for number, talk in self.talks[side].items():
                far = self.talks[1 - side].get(number)
                self._check_stream(talk, far)

    def _check_stream(self, talk: Talk, far: Talk | None) -> None:
        incoming, outgoing = talk.stream.incoming, talk.stream.outgoing
        kept = sum(map(len, incoming._chunks)) - incoming._skip
        assert kept <= incoming.window.size, "more than a window is kept"
        assert outgoing.buffered <= outgoing.limit
        assert not (talk.asleep and outgoing.usable), "room, and its writer sleeps"
        if far is not None:
            assert outgoing.limit <= max(far.stream.incoming.limit, self.pair.window)
            size = far.stream.incoming.window.size
            assert talk.broken or far.broken or outgoing.buffered <= size or self._over(far)
        if outgoing.state is SendState.DONE:
            assert far is not None
            assert far.stopped or far.eof, "delivered, but the far user never saw the end"

    @staticmethod
    def _over(talk: Talk) -> bool:
        return talk.stream.incoming.state in (ReceiveState.DONE, ReceiveState.BROKEN)

    @staticmethod
    def _through(talk: Talk) -> bool:
        return talk.stream.outgoing.state is SendState.DONE and (talk.eof or talk.stopped)

    # -- the end of the story

    def finish(self, *, new_path: bool, read_early: bool) -> None:
        """Heal the wire; then every byte arrives, every stream ends, and nothing is left.

        `new_path`: by a new attach, even if one stands or is under way. `read_early`: the users
        read while the answer is under way.
        """
        if new_path or not self._stands():
            self.attach(None)
        if read_early:
            self._read_all()
        self._settle()
        if not self.pair.remote.attached:  # the attach that was under way came to nothing
            self.pair.tick(ATTACH_TIMEOUT)
            self._settle()
        if any(tunnel.closed for tunnel in self.pair.both):
            self._both_end()
        else:
            self._check_room()
            self._end_all()
        self.check()
        for side, tunnel in enumerate(self.pair.both):
            self._check_nothing_left(side, tunnel)

    def _stands(self) -> bool:
        """Whether the pair can go on without the users' doing."""
        (remote, edge), (near, far) = self.pair.both, self.pair.at
        if near is None or not near.alive or not (remote.attached or remote._candidate):
            return False
        return not remote.attached or (edge.attached and near is far)

    def _settle(self) -> None:
        for _ in range(100):
            self.pair.drive()
            if not self._read_all():
                self.pair.tick(CREDIT_DELAY)
                self.pair.drive()
                if not self._read_all():
                    return
        raise AssertionError("never at rest")

    def _read_all(self) -> bool:
        moved = False
        for side in (0, 1):
            for talk in self.talks[side].values():
                while (
                    not (talk.broken or talk.stopped or talk.eof) and talk.stream.incoming.readable
                ):
                    self._take(side, talk, 10_000)
                    moved = True
        return moved

    def _check_room(self) -> None:
        """Everything was read, so every writer that may write has room."""
        for side in (0, 1):
            for talk in self.talks[side].values():
                if not talk.broken and talk.stream.outgoing.state is SendState.OPEN:
                    assert talk.stream.outgoing.usable > 0, f"stuck: {talk.stream!r}"
                    assert not talk.asleep, f"nobody woke the writer: {talk.stream!r}"
                    assert talk.stream.outgoing.buffered == 0, "delivered, but never told"

    def _end_all(self) -> None:
        for side in (0, 1):
            for talk in self.talks[side].values():
                if not talk.broken:
                    if talk.stream.outgoing.state is SendState.OPEN:
                        talk.ended = True
                    talk.stream.end()
        self._settle()
        for number, talk in self.talks[0].items():
            far = self.talks[1].get(number)
            if far is None or talk.broken or far.broken:
                # a reset may come when the other end is through with the stream already
                assert talk.broken or self._through(talk)
                assert far is None or far.broken or self._through(far)
                continue
            assert talk.stopped or (talk.read == far.wrote and talk.eof)
            assert far.stopped or (far.read == talk.wrote and far.eof)

    def _both_end(self) -> None:
        for side in (0, 1):
            self.notice(side)
        self.slept = True
        self.pair.tick(RESUME_TIMEOUT)
        for tunnel in self.pair.both:
            assert tunnel.closed is not None
        for side in (0, 1):
            for talk in self.talks[side].values():
                assert talk.broken or self._through(talk)

    def _check_nothing_left(self, side: int, tunnel: Tunnel) -> None:
        assert not tunnel.streams, tunnel.streams
        assert not tunnel._owing
        assert not tunnel._answers
        assert tunnel.budget.left == TUNNEL_BUDGET
        for path in self.pair.paths:
            path.outlets[side]._urgent = None  # control frames of a path that is gone
            assert path.outlets[side].next_message() is None
        for talk in self.talks[side].values():
            assert talk.stream.outgoing.buffered == 0
            assert not talk.stream.incoming._chunks
