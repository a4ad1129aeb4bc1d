"""One remote user's access to one service: a set of streams, and how they outlive a link.

The problem. A link can die at any byte, and a node with it. Both ends keep their streams; each gets
a new link on its own; then they must agree on what arrived, while frames of the old link may still
be under way somewhere.

The rules, with the numbers of DESIGN.md section 2 (see WIRE.md for the frames):

* The remote attaches: it sends ATTACH with a higher *epoch* and, for each of its streams, how far
  it has received. From then on it ignores whatever carries an older epoch (invariant 6), and sends
  nothing until the answer is there.
* The edge answers ATTACHED with its own positions, and goes on sending from the remote's.
* A stream that the far end does not name was either never opened there (its id is above `highest`)
  and is opened again, or it is over there, and then it is over here as well.
* A detached tunnel keeps everything for `resume_timeout`; then it ends, on both sides (7).
* A frame that breaks a rule ends the tunnel, not the link: links are shared.

This module has no clock: `now` (seconds, monotonic) is passed in, and `deadline` says when `tick`
wants to be called. It sends through an `Outlet`, which is None while the tunnel is detached:
nothing is kept for later, because a resume says everything again from the state of the streams.

`RemoteTunnel` and `EdgeTunnel` in attach.py add the two sides of the attach.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.agreement import Disagreement
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import (
    MAX_STREAMS,
    Attached,
    Close,
    Credit,
    Data,
    Detached,
    Echo,
    End,
    Frame,
    Position,
    Probe,
    Reset,
    Stop,
    StreamFrame,
    TunnelFrame,
    clip,
)
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.protocol.pacing import Pace
from edge_tunnel.protocol.receiving import CreditExceeded
from edge_tunnel.protocol.sealing import Opener, Sealer, open_plain, pack_plain
from edge_tunnel.protocol.stream import Stream
from edge_tunnel.protocol.window import INITIAL_WINDOW, Budget
from edge_tunnel.reasons import Reason

__all__ = [
    "CREDIT_DELAY",
    "RESUME_TIMEOUT",
    "AttachLost",
    "Event",
    "StreamAccepted",
    "StreamBroken",
    "StreamOpened",
    "StreamReadable",
    "StreamWritable",
    "Tunnel",
    "TunnelAttached",
    "TunnelClosed",
    "TunnelDetached",
]

RESUME_TIMEOUT: Final = 120.0
"""Seconds: a node's restart, a walk between two wireless cells (XEP-0198 servers: 120-300)."""

CREDIT_DELAY: Final = 0.2
"""Seconds until a small delivery is told, so that the far end can drop its bytes."""

_PROBE_INTERVAL: Final = 0.25
"""Seconds between two measurements of the round trip while bytes flow: the lowest counts, and the
first may have met a process that was still asleep."""

_MAX_ANSWERS: Final = 2 * MAX_STREAMS
"""Answers (ECHO, RESET) that wait to be sent: a peer that asks for more does not read them."""


class StreamOpened(NamedTuple):
    """The far end opened a stream (edge only)."""

    stream: Stream


class StreamAccepted(NamedTuple):
    """The service answered (remote only)."""

    stream: Stream


class StreamReadable(NamedTuple):
    """`stream.take` has something that it had not."""

    stream: Stream


class StreamWritable(NamedTuple):
    """The sending half changed: there is room, or it is over."""

    stream: Stream


class StreamBroken(NamedTuple):
    """The stream was reset; `stream.reason` and `stream.text` say why."""

    stream: Stream


class TunnelAttached(NamedTuple):
    """Bytes flow (again). `seconds`: how long it was detached; None the first time."""

    seconds: float | None


class TunnelDetached(NamedTuple):
    """No bytes flow until the next attach; nothing is lost."""

    reason: Reason
    text: str


class AttachLost(NamedTuple):
    """An ATTACH was not answered and will not be: ask again (remote only)."""


class TunnelClosed(NamedTuple):
    """The tunnel is over."""

    reason: Reason
    text: str


Event: TypeAlias = (
    StreamOpened
    | StreamAccepted
    | StreamReadable
    | StreamWritable
    | StreamBroken
    | TunnelAttached
    | TunnelDetached
    | AttachLost
    | TunnelClosed
)


class Tunnel:
    """What both ends have in common."""

    def __init__(
        self,
        tunnel_id: bytes,
        *,
        now: float,
        window: int = INITIAL_WINDOW,
        resume_timeout: float = RESUME_TIMEOUT,
    ) -> None:
        """`window`: bytes that each of our streams takes at first. Times are in seconds."""
        self.id = tunnel_id
        self.epoch = 0
        self.window = window
        self.resume_timeout = resume_timeout
        self.streams: dict[int, Stream] = {}
        self.budget = Budget()
        self.pace = Pace()
        self.trip = 0.0  # the lowest round trip seen on this attach; 0: not measured yet
        self.closed: TunnelClosed | None = None
        self.opened = 0  # streams ever (statistics)
        self.received = 0  # bytes ever (statistics)
        self.sent = 0  # bytes ever, those sent again included (statistics)
        self.detached_since: float | None = now
        self.on_deadline: Callable[[], None] = lambda: None
        """Called when `deadline` has become earlier; the shell's timer hangs itself in here."""
        self.read_text: Callable[[str], str] = lambda text: text
        """Makes a far end's text fit to be shown; the shell's, again."""
        self._sealer: Sealer | None = None  # None: the tunnel is not sealed, or never attached
        self._opener: Opener | None = None
        self._outlet: Outlet | None = None
        self._events: deque[Event] = deque()
        self._answers: deque[Frame] = deque()  # what the peer made us say; see _MAX_ANSWERS
        self._owing: dict[Stream, None] = {}  # delivered a little, not told yet; in order
        self._owing_since = 0.0
        self._probe: tuple[int, float] = (0, float("-inf"))  # nonce and time of the last one

    def __repr__(self) -> str:
        state = "closed" if self.closed else "attached" if self.attached else "detached"
        kind = type(self).__name__
        return f"<{kind} {self.id.hex()[:8]} {state} epoch={self.epoch} {len(self.streams)}>"

    # -- receive

    def receive(self, frame: TunnelFrame | StreamFrame, now: float) -> None:
        """A frame of this tunnel arrived; afterwards ask `events`. Late frames are dropped."""
        if self.closed or frame.epoch != self.epoch:
            return
        if self._outlet is None and not isinstance(frame, (Attached, Detached, Close)):
            return  # ATTACHED comes before all else; what came by a lost link will come again
        try:
            frame = open_plain(frame) if self._opener is None else self._opener.open(frame)
            stream = self.streams.get(frame.stream)  # none has the id 0
            if stream is not None:
                self._on_stream(stream, frame, now)
            else:
                self._dispatch(frame, now)
        except Disagreement as error:
            self.close(error.reason, str(error))
        except CreditExceeded as error:
            self.close(Reason.FLOW_CONTROL, str(error))
        except RemoteProtocolError as error:
            self.close(Reason.PROTOCOL_ERROR, str(error))

    def detach(self, now: float, reason: Reason, text: str = "") -> None:
        """The link is gone, or the far end's is. Frames are no longer sent; state is kept."""
        if self.closed or self._outlet is None:
            return
        self._leave_outlet()
        self.detached_since = now
        self._events.append(TunnelDetached(reason, text))
        self.on_deadline()

    # -- ask

    @property
    def attached(self) -> bool:
        """Whether frames go out."""
        return self._outlet is not None

    def uses(self, outlet: Outlet) -> bool:
        """Whether frames of this tunnel go out there, or may come back from there."""
        return self._outlet is outlet

    def close(self, reason: Reason, text: str = "", *, tell: str | None = None) -> None:
        """End the tunnel: every stream is reset, and the far end is told if it can be.

        `tell`: the text for the far end, if it is not the same.
        """
        if self.closed:
            return
        self._push_close(reason, text if tell is None else tell)
        self._end(reason, text)

    def deadline(self) -> float | None:
        """When `tick` is to be called; None: not before something else happens."""
        if self.closed:
            return None
        if self.detached_since is not None:
            return self.detached_since + self.resume_timeout
        return self._owing_since + CREDIT_DELAY if self._owing else None

    def tick(self, now: float) -> None:
        """Time has passed."""
        if self.closed:
            return
        if self.detached_since is None:
            if now >= self._owing_since + CREDIT_DELAY:
                self._send_owing(self._owing)
        elif now >= self.detached_since + self.resume_timeout:
            self.close(Reason.RESUME_TIMEOUT, f"detached for {self.resume_timeout:g} s")

    # -- events

    def events(self) -> Iterable[Event]:
        """What happened since the last call, in order."""
        while self._events:
            yield self._events.popleft()

    # -- what the streams need (stream.Carrier)

    def push(self, frame: Frame) -> None:
        if self._outlet is not None:
            self._outlet.push(self.pack(frame))

    def pack(self, frame: Frame) -> bytes:
        return pack_plain(frame) if self._sealer is None else self._sealer.seal(frame)

    def answer(self, frame: Frame) -> None:
        if self._outlet is None:
            return
        if len(self._answers) >= _MAX_ANSWERS:
            raise CreditExceeded(f"more than {_MAX_ANSWERS} answers wait for the peer to read them")
        self._answers.append(frame)
        self._outlet.ready(self)

    @property
    def pending(self) -> bool:
        """Whether an answer waits for the outlet."""
        return bool(self._answers)

    def next_message(self) -> bytes | None:
        """For the outlet: the next answer."""
        # packed only now: sealing counts the control frames in the order in which they leave
        return self.pack(self._answers.popleft()) if self._answers else None

    def ready(self, stream: Stream) -> None:
        if self._outlet is not None:
            self._outlet.ready(stream)

    def delay_credit(self, stream: Stream, now: float) -> None:
        if not self._owing:
            self._owing_since = now
            self.on_deadline()
        self._owing[stream] = None
        self._measure(now)

    def forget(self, stream: Stream) -> None:
        if self.streams.pop(stream.id, None) is not None:
            stream.incoming.window.release()
            self._owing.pop(stream, None)
            if self._sealer is not None:
                self._sealer.leave(stream.id)

    # -- inside

    def _seal_with(self, ours: bytes, theirs: bytes) -> None:
        """A new epoch has these keys: what we send, and what we receive."""
        self._sealer, self._opener = Sealer(ours), Opener(theirs)
        for stream in self.streams:
            self._sealer.enter(stream)

    def _keep(self, stream: Stream) -> None:
        """A new stream."""
        self.opened += 1
        self.streams[stream.id] = stream
        if self._sealer is not None:
            self._sealer.enter(stream.id)

    def _dispatch(self, frame: TunnelFrame | StreamFrame, now: float) -> None:
        if frame.stream:
            self._on_unknown(frame)
        elif isinstance(frame, Probe):
            self.answer(Echo(self.id, 0, self.epoch, frame.nonce))
        elif isinstance(frame, Echo):
            self._on_echo(frame, now)
        elif isinstance(frame, Detached):
            self.detach(now, Reason.of(frame.reason), frame.text)
        elif isinstance(frame, Close):
            self._end(Reason.of(frame.reason), frame.text)
        else:
            raise RemoteProtocolError(f"{type(frame).__name__} goes the other way")

    def _on_stream(self, stream: Stream, frame: TunnelFrame | StreamFrame, now: float) -> None:
        if isinstance(frame, Data):
            self.received += len(frame.data)
            if stream.on_data(frame):
                self._events.append(StreamReadable(stream))
        elif isinstance(frame, Credit):
            if stream.on_credit(frame, now):
                self._events.append(StreamWritable(stream))
        elif isinstance(frame, End):
            if stream.on_end(frame):
                self._events.append(StreamReadable(stream))
        elif isinstance(frame, Stop):
            if stream.on_stop():
                self._events.append(StreamWritable(stream))
        elif isinstance(frame, Reset):
            stream.on_reset(frame._replace(text=self.read_text(frame.text)))
            self._over(stream)
            self._on_unknown(frame)
        else:
            self._on_role_frame(stream, frame)

    def _on_role_frame(self, _stream: Stream, frame: TunnelFrame | StreamFrame) -> None:
        """OPEN or ACCEPT for a stream that exists; each side knows its own."""
        raise RemoteProtocolError(f"{type(frame).__name__} goes the other way")

    def _on_unknown(self, frame: TunnelFrame | StreamFrame) -> None:
        """A frame for a stream that is over here, or OPEN for a new one."""
        if isinstance(frame, Reset) and frame.reason != Reason.DONE:
            self.answer(Reset(self.id, frame.stream, self.epoch, Reason.DONE, ""))

    def _on_echo(self, frame: Echo, now: float) -> None:
        nonce, sent = self._probe
        if frame.nonce == nonce:
            trip = now - sent
            self.trip = min(self.trip, trip) if self.trip else trip

    def _measure(self, now: float) -> None:
        nonce, sent = self._probe
        if self._outlet is not None and now - sent >= _PROBE_INTERVAL:
            self._probe = (nonce + 1, now)
            self.push(Probe(self.id, 0, self.epoch, nonce + 1))

    def _attach_to(self, outlet: Outlet, now: float, *, first: bool) -> None:
        since = self.detached_since
        self._outlet = outlet
        self.detached_since = None
        self.trip = 0.0
        self.budget.proven = 0  # it may be another path
        self.pace.begin()
        seconds = None if first else now - since if since is not None else 0.0
        self._events.append(TunnelAttached(seconds))

    def _leave_outlet(self) -> None:
        if self._outlet is not None:
            self._outlet.discard(self)
            for stream in self.streams.values():
                self._outlet.discard(stream)
        self._answers.clear()
        self._outlet = None

    def _positions(self) -> tuple[Position, ...]:
        self._owing.clear()  # a position says it all
        return tuple(stream.position() for stream in self.streams.values())

    def _go_on(self, positions: Iterable[Position], highest: int) -> None:
        """Resume every stream from the far end's positions (see the third rule above)."""
        far = {position.stream: position for position in positions}
        for stream in list(self.streams.values()):
            position = far.get(stream.id)
            if position is not None:
                stream.resume(position)
                self._events.append(StreamWritable(stream))
            elif stream.id > highest:
                stream.open_again()
            else:
                stream.vanish()
                self._over(stream)

    def _over(self, stream: Stream) -> None:
        """Tell the user of a stream that is over: reset, unless it was complete."""
        broken = stream.reason is not None
        self._events.append(StreamBroken(stream) if broken else StreamWritable(stream))

    def _send_owing(self, streams: Iterable[Stream]) -> None:
        for stream in list(streams):
            stream.send_credit()
        self._owing.clear()

    def _push_close(self, reason: Reason, text: str) -> None:
        if self._outlet is not None:
            self._outlet.push(encode(Close(self.id, 0, self.epoch, reason, clip(text))))

    def _end(self, reason: Reason, text: str) -> None:
        self._leave_outlet()
        self.closed = TunnelClosed(reason, text)
        for stream in list(self.streams.values()):
            stream.break_off(reason, text)
            self._over(stream)
            self.forget(stream)
        self._events.append(self.closed)
