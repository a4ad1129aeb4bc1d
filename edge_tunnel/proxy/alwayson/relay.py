"""A stream and a device's tunnel socket, joined. How it begins and how it ends is particular.

**The beginning.** C devices throw away what comes in one read with the answer to their handshake.
So nothing is sent before the device has spoken or 250 ms have passed (both SDKs; a server that
speaks first, as SSH's, costs no wait). A ping is a word, too: our own edge says it at once, when it
has reached its service. A C device opens its socket before it knows whether the
target answers, and says DISCONNECT if it does not: so only after that wait the connection counts as
made.

**The end.** This wire has no half-close, and of the ends that it has only one says that all is
sent: our own edge's. A Java device closes TCP when its target has closed, and also when its target
was reset, or when it is stopped; a C device says nothing at all, before its next write fails. So
whatever is not said to be the end is a reset, with its reason (DESIGN.md section 2, invariant 3) -
after all that came before has been delivered.

A remote that has no more to send (a half-close) cannot be passed on either. The other way goes on,
until the device ends it or has been silent for a minute.

Back-pressure is TCP's on the device's side and credit on the other: of each way some messages wait
here, and what the remote has not delivered yet, which is bounded.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import trio

from edge_tunnel.alwayson.reading import AlwaysOnError
from edge_tunnel.alwayson.text import ALL_SENT, MAX_RAW, decode_text, texts
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.stream import LOW_WATER
from edge_tunnel.proxy.alwayson.tids import Opening
from edge_tunnel.proxy.alwayson.websocket import DeviceSocket, SocketEnded
from edge_tunnel.reasons import Reason

__all__ = ["HOLD", "Relay"]

HOLD: Final = 0.25
"""Seconds; worked with C SDK 1.3.1 and 2.2.1 and Java SDK 6.2.0."""

_LINGER: Final = 60.0
"""Seconds of silence after the remote's half-close. Nobody will say any more when it is over: C
devices do not notice that a target has closed."""

_MOST_KEPT: Final = 1024 * 1024
"""Bytes that came from the device and that the remote has not delivered: 10 MB/s at 100 ms."""

_AT_ONCE: Final = 8 * MAX_RAW
"""Bytes of one write to the device: a message costs a system call and two turns of the scheduler
otherwise."""

_LAST_WORDS: Final = 5.0
"""Seconds that what a device sent before its DISCONNECT may take: it comes by another
connection."""


class Relay:
    """One stream's. `run` is the whole of it."""

    def __init__(self, stream: TunnelStream, opening: Opening, target: str) -> None:
        """`opening` has its socket; `target`: what the device dials, for people."""
        assert opening.socket is not None
        self._stream = stream
        self._socket: DeviceSocket = opening.socket
        self._opening = opening
        self._target = target
        self._spoken = trio.Event()
        self._ended: tuple[Reason, str] | None = None  # by the device, and why
        self._complete = False  # the device has said that all is sent
        self._all_came = False  # from the remote, and went to the device
        self._accepted = False
        self._wanted = True  # whether the remote still reads
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Carry bytes until either side ends it. Raises nothing that a peer can cause."""
        with self._scope:
            async with open_plain_nursery() as nursery:
                nursery.start_soon(self._from_device)
                nursery.start_soon(self._to_device)
                nursery.start_soon(self._hear)
                nursery.start_soon(self._until_reset)
        await self._close_socket()
        if self._complete:
            await self._finish()
        elif self._ended is not None:
            await self._stream.wait_flushed()
            self._stream.abort(*self._ended)
        elif self._stream.core.reason is None:
            await self._stream.aclose()

    async def _close_socket(self) -> None:
        """Before what is left is delivered: that depends on the remote, and may take long.

        To our own edge 1000 says that the remote has sent all; the service sees a reset otherwise.
        """
        code, text = (1000, "the remote has ended") if self._all_came else (1011, "cut off")
        await self._socket.close(code, text)
        self._opening.over.set()

    async def _finish(self) -> None:
        """The device's half has ended as it should; its other half went with the socket."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._stream.send_eof()  # unless the remote has gone, or wants no more
        self._stream.stop_receiving()

    def _end(self, reason: Reason, text: str) -> None:
        self._ended = self._ended or (reason, text)
        self._scope.cancel()

    # -- device to remote

    async def _from_device(self) -> None:
        try:
            while True:
                await self._pass_on(await self._socket.receive())
        except SocketEnded as ended:
            self._complete = ended.code == 1000 and ended.reason == ALL_SENT
            self._end(Reason.RESET, self._opening.problem or str(ended))
        except AlwaysOnError as error:
            self._end(Reason.PROTOCOL_ERROR, str(error))

    async def _pass_on(self, message: str | bytes) -> None:
        data = decode_text(message) if isinstance(message, str) else b""  # as devices do
        if not data:
            return
        self._accept()
        self._spoken.set()
        try:
            if self._wanted:
                await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self._remote_left()
        if self._stream.core.outgoing.buffered > _MOST_KEPT:
            await self._stream.wait_flushed(LOW_WATER)

    def _remote_left(self) -> None:
        """It was reset, or reads no more: then what comes is dropped, until it has sent all."""
        self._wanted = False
        if self._stream.core.reason is not None:
            self._scope.cancel()

    # -- remote to device

    async def _to_device(self) -> None:
        self._socket.on_ping = self._spoken.set
        with trio.move_on_after(HOLD):
            await self._spoken.wait()
        self._accept()
        try:
            while data := await self._stream.receive_some(_AT_ONCE):
                await self._socket.send(*texts(data))
        except trio.BrokenResourceError:
            self._scope.cancel()
            return
        except SocketEnded as ended:
            await trio.sleep(_LAST_WORDS)  # the reader knows better why, if anybody does
            self._end(Reason.RESET, str(ended))
            return
        self._all_came = True
        await self._linger()

    async def _until_reset(self) -> None:
        """Also while the device takes nothing, and nothing comes from it."""
        await self._stream.wait_reset()
        self._scope.cancel()

    async def _linger(self) -> None:
        """The remote has sent all. One that reads no more either needs nothing from here."""
        began = trio.current_time()
        while True:
            quiet = max(began, self._socket.last_received) + _LINGER
            with trio.move_on_at(quiet):
                await self._stream.wait_unread()
                self._scope.cancel()
                return
            if max(began, self._socket.last_received) + _LINGER <= quiet:
                text = f"nothing came from the device for {_LINGER:g} s after the remote's end"
                self._end(Reason.RESET, text)
                return

    def _accept(self) -> None:
        if not self._accepted and self._ended is None:
            self._accepted = True
            self._stream.core.accept()

    # -- what the device says by its main socket

    async def _hear(self) -> None:
        """CANCEL or DISCONNECT: what it sent before may still be on its way."""
        await self._opening.told.wait()
        if not self._accepted:
            self._end(Reason.CONNECTION_REFUSED, f"{self._target}: {self._opening.problem}")
        await trio.sleep(_LAST_WORDS)
        self._end(Reason.RESET, self._opening.problem)
