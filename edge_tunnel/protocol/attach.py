"""The two sides of an attach: the remote asks, the edge answers. See tunnel.py for the rules."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from edge_tunnel.errors import LocalProtocolError, RemoteProtocolError
from edge_tunnel.protocol.agreement import EdgeAgreement, RemoteAgreement, epoch_keys
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import (
    MAX_STREAMS,
    Accept,
    Attach,
    Attached,
    Close,
    Open,
    Position,
    Reset,
    StreamFrame,
    TunnelFrame,
    clip,
)
from edge_tunnel.protocol.identity import Identity
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.protocol.proof import attach_proof, new_secret, proves
from edge_tunnel.protocol.stream import Stream
from edge_tunnel.protocol.tunnel import (
    RESUME_TIMEOUT,
    AttachLost,
    StreamAccepted,
    StreamOpened,
    Tunnel,
)
from edge_tunnel.protocol.window import INITIAL_WINDOW
from edge_tunnel.reasons import Reason

__all__ = ["ATTACH_TIMEOUT", "EdgeTunnel", "RemoteTunnel"]

ATTACH_TIMEOUT: Final = 10.0
"""Seconds until an ATTACH without an answer is sent again: many round trips, and one twelfth of
the time that a tunnel stays detached."""

_AT_ONCE: Final = 10
_PACE: Final = 1.0
"""ATTACHes of a tunnel that go out as soon as they are wanted, and seconds for each beyond them:
links die in a row, but who is sent away by every DETACHED would ask at the speed of the path."""

_ROUNDING: Final = 1e-6
"""Seconds."""


class RemoteTunnel(Tunnel):
    """The side that opens the tunnel, its streams, and each attach."""

    def __init__(
        self,
        thing: str,
        service: str,
        *,
        now: float,
        window: int = INITIAL_WINDOW,
        resume_timeout: float = RESUME_TIMEOUT,
        sealed: bool = False,
    ) -> None:
        """`sealed`: end-to-end encryption, or no tunnel at all."""
        super().__init__(
            secrets.token_bytes(16), now=now, window=window, resume_timeout=resume_timeout
        )
        self.thing = thing
        self.service = service
        self._agreement = RemoteAgreement() if sealed else None
        self._secret = b"" if sealed else new_secret()
        self._asking: Attach | None = None  # the last ATTACH, as it was sent
        self._fresh = True  # never attached: the edge may not know it
        self._candidate: Outlet | None = None  # where ATTACH went, until the answer comes
        self._asked = now  # when it went
        self._paid = now  # when all ATTACHes so far will have had their time
        self._far_window = 0
        self._last_stream = 0
        self.max_streams = MAX_STREAMS  # at once; the policy may allow fewer

    def attach(self, outlet: Outlet, now: float) -> None:
        """Ask for an attach through this link. Bytes flow when TunnelAttached comes.

        A tunnel that is attached elsewhere leaves its link at once. Without an answer, `tick`
        asks again; and it asks if this is asked for too often.
        """
        if self.closed:
            return
        self._leave_outlet()
        if self.detached_since is None:
            self.detached_since = now
        self.epoch += 1  # also of one that waits: nothing of the older attach counts any more
        self._candidate, self._asked = outlet, now
        wait = self._paid - now - (_AT_ONCE - 1) * _PACE
        if wait > _ROUNDING:
            self._asked += wait - ATTACH_TIMEOUT
        else:
            self._paid = max(self._paid, now) + _PACE
            outlet.push(encode(self._ask()))
        self.on_deadline()

    @property
    def sealed(self) -> bool:
        """Whether it is end-to-end encrypted."""
        return self._agreement is not None

    @property
    def identity(self) -> bytes:
        """The device's public key; empty: not sealed, or never attached."""
        return b"" if self._agreement is None else self._agreement.identity

    def _ask(self) -> Attach:
        # the secret goes out only until the edge is known to have it; that of a sealed tunnel
        # never does, and there is nothing to prove with before the first answer
        secret = self._secret if self._fresh and self._agreement is None else b""
        frame = Attach(
            self.id,
            0,
            self.epoch,
            self.thing,
            self.service,
            self._fresh,
            secret,
            self.window,
            self._positions(),
            b"",
            b"" if self._agreement is None else self._agreement.offer(),
        )
        if self._secret:
            frame = frame._replace(proof=attach_proof(self._secret, frame))
        self._asking = frame
        return frame

    def deadline(self) -> float | None:
        due = super().deadline()
        if due is None or self._candidate is None:
            return due
        return min(due, self._asked + ATTACH_TIMEOUT)

    def tick(self, now: float) -> None:
        super().tick(now)
        if self._candidate is not None and now >= self._asked + ATTACH_TIMEOUT:
            self.attach(self._candidate, now)

    def detach(self, now: float, reason: Reason, text: str = "") -> None:
        asking, self._candidate = self._candidate is not None, None
        super().detach(now, reason, text)
        if asking:
            self._events.append(AttachLost())

    def uses(self, outlet: Outlet) -> bool:
        return self._candidate is outlet or super().uses(outlet)

    def open_stream(self) -> Stream:
        """A new stream; what is written to it goes out at once, before the service answered.

        Raises:
          LocalProtocolError: the tunnel was never attached, is closed, or has `max_streams`.
        """
        if len(self.streams) >= self.max_streams:
            raise LocalProtocolError(f"{self.max_streams} streams at once are allowed")
        if self._fresh or self.closed:
            raise LocalProtocolError(f"no stream can be opened: {self!r}")
        self._last_stream += 1
        stream = Stream(self, self._last_stream, window=self.window, limit=self._far_window)
        self._keep(stream)
        self.push(Open(self.id, stream.id, self.epoch, stream.incoming.limit))
        return stream

    def _dispatch(self, frame: TunnelFrame | StreamFrame, now: float) -> None:
        if isinstance(frame, Attached):
            self._on_attached(frame, now)
        else:
            super()._dispatch(frame, now)

    def _on_attached(self, frame: Attached, now: float) -> None:
        outlet = self._candidate
        if outlet is None:
            return  # played again, or the link was lost meanwhile
        self._conclude(frame)
        if not proves(frame.proof, attach_proof(self._secret, frame)):
            raise RemoteProtocolError("the other end could not prove that it is the same")
        if self._agreement is not None:
            assert self._asking is not None
            keys = epoch_keys(self._secret, self._asking, frame)
            self._seal_with(keys.to_edge, keys.to_remote)
        self._candidate = None
        self._attach_to(outlet, now, first=self._fresh)
        self._fresh = False
        self._far_window = frame.window
        self._go_on(frame.positions, frame.highest)
        # what was delivered after ATTACH told our positions
        self._send_owing(self.streams.values())
        self._measure(now)

    def _conclude(self, frame: Attached) -> None:
        """What the device adds to ATTACHED in a sealed tunnel, and in no other."""
        if self._agreement is not None:
            assert self._asking is not None
            self._agreement.conclude(self._asking, frame)
            self._secret = self._agreement.secret
        elif frame.answer:
            raise RemoteProtocolError("an answer to an offer that was not made")

    def _on_role_frame(self, _stream: Stream, frame: TunnelFrame | StreamFrame) -> None:
        if not isinstance(frame, Accept):
            super()._on_role_frame(_stream, frame)
        elif _stream.on_accept():
            self._events.append(StreamAccepted(_stream))

    def _go_on(self, positions: Iterable[Position], highest: int) -> None:
        waiting = [stream for stream in self.streams.values() if not stream.accepted]
        super()._go_on(positions, highest)
        self._events.extend(StreamAccepted(each) for each in waiting if each.accepted)

    def _push_close(self, reason: Reason, text: str) -> None:
        outlet = self._outlet or self._candidate  # a pending attach is taken back as well
        if outlet is not None:
            outlet.push(encode(Close(self.id, 0, self.epoch, reason, clip(text))))

    def _leave_outlet(self) -> None:
        self._candidate = None
        super()._leave_outlet()


class EdgeTunnel(Tunnel):
    """The side that answers."""

    def __init__(
        self,
        opening: Attach,
        *,
        now: float,
        window: int = INITIAL_WINDOW,
        resume_timeout: float = RESUME_TIMEOUT,
        max_streams: int = MAX_STREAMS,
        identity: Identity | None = None,
    ) -> None:
        """`opening` is the ATTACH that opens the tunnel; give it to `accept` as well.

        `identity` is the device's, for a tunnel that is to be sealed.

        Raises:
          RemoteProtocolError: it brings neither a secret nor an offer that can be answered.
        """
        super().__init__(opening.tunnel, now=now, window=window, resume_timeout=resume_timeout)
        self._agreement: EdgeAgreement | None = None
        if opening.offer and identity is not None and not opening.secret:
            self._agreement = EdgeAgreement(identity, opening)
            self._secret = self._agreement.secret
        elif opening.secret and not opening.offer:
            self._secret = opening.secret
        else:
            raise RemoteProtocolError("an ATTACH that opens a tunnel brings a secret, or an offer")
        self._proved = False  # sealed: whether the remote has shown that it has the secret
        self.thing = opening.thing
        self.service = opening.service
        self.max_streams = max_streams
        self._highest = 0

    @property
    def sealed(self) -> bool:
        """Whether it is end-to-end encrypted."""
        return self._agreement is not None

    def accept(self, frame: Attach, outlet: Outlet, now: float) -> Reason | None:
        """Attach to the link that `frame` came by; the reason if it is refused.

        A refused attach changes nothing: the tunnel stays where it was. One that is late (its
        epoch is over) is dropped without an answer, as every late frame: a CLOSE of the epoch
        that stands would end the tunnel for its owner.
        """
        if self.closed:
            return Reason.UNKNOWN_TUNNEL
        if frame.epoch <= self.epoch:
            return None
        if not self._is_ours(frame):
            return Reason.UNKNOWN_TUNNEL  # one answer for unknown, expired and wrong
        first = self.epoch == 0
        self._proved = not frame.fresh
        self._leave_outlet()
        self.epoch = frame.epoch
        self._attach_to(outlet, now, first=first)
        try:
            self._answer(frame)
        except RemoteProtocolError as error:
            self.close(Reason.PROTOCOL_ERROR, str(error))
        self._measure(now)
        return None

    def _is_ours(self, frame: Attach) -> bool:
        same = (frame.thing, frame.service) == (self.thing, self.service)
        if self._agreement is None:
            same = same and not frame.offer
        else:
            same = same and frame.offer[:32] == self._agreement.far_share
            if frame.fresh:
                return same and self._may_begin(frame)
        return same and proves(frame.proof, attach_proof(self._secret, frame))

    def _may_begin(self, frame: Attach) -> bool:
        """A remote that did not hear our answer has nothing to prove with, and no streams.

        Once it has shown the secret, it has heard: whoever asks like that now is somebody else.
        """
        proved = self._proved or (self._opener is not None and self._opener.used)
        return not (proved or frame.secret or frame.proof or frame.positions)

    def _answer(self, frame: Attach) -> None:
        answer = Attached(
            self.id, 0, self.epoch, self._highest, self.window, self._positions(), b""
        )
        if self._agreement is not None:
            answer = self._agreement.answered(frame, answer)
        answer = answer._replace(proof=attach_proof(self._secret, answer))
        assert self._outlet is not None
        self._outlet.push(encode(answer))
        if self._agreement is not None:
            keys = epoch_keys(self._secret, frame, answer)
            self._seal_with(keys.to_remote, keys.to_edge)
        # a stream that the remote does not name is over there: it opened them all
        self._go_on(frame.positions, highest=self._highest)

    def _on_unknown(self, frame: TunnelFrame | StreamFrame) -> None:
        if not isinstance(frame, Open) or frame.stream <= self._highest:
            super()._on_unknown(frame)
            return
        self._highest = frame.stream
        if len(self.streams) >= self.max_streams:
            self.answer(Reset(self.id, frame.stream, self.epoch, Reason.TOO_MANY_STREAMS, ""))
            return
        stream = Stream(self, frame.stream, window=self.window, limit=frame.limit)
        self._keep(stream)
        self._events.append(StreamOpened(stream))
