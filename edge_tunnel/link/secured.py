"""TLS in a stream, without a turn of the scheduler for each record.

trio's own `SSLStream` hands over one record of 16 KiB at a time, with two checkpoints for each, and
writes one at a time: for bulk that is most of what TLS costs here. This one takes all the records
that arrived, and writes a message as one. And when a handshake fails it sends the alert, which
trio leaves in its buffer: without it the other end cannot say what was wrong with its certificate.

What is left out: renegotiation (contexts forbid it, TLS 1.3 has none), and two tasks that write at
once (a link has one that writes).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import trio

from edge_tunnel.link.eager import EagerStream

__all__ = ["Secured"]

_READ: Final = 128 * 1024
"""Bytes of one read from the network, and of one from us: as `SharedConnection` reads."""

_RECORD: Final = 16 * 1024
"""Bytes of a record's content (RFC 8446, section 5.1): OpenSSL hands out one at a time."""

_MOST_ANSWERS: Final = 64 * 1024
"""Bytes that TLS itself wants to say and that wait for our next write: answers to key updates,
which a hostile peer can ask for without end."""


class Secured(trio.abc.Stream):
    """`handshake` first. One task may read and one may write."""

    def __init__(
        self, stream: trio.abc.Stream, context: ssl.SSLContext, host: str | None = None
    ) -> None:
        """`host`: whose client we are; None: we are the server.

        Raises:
          ValueError: `host` cannot be a name in a certificate.
        """
        if isinstance(stream, trio.SocketStream):
            stream = EagerStream.fitted(stream)
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=host is None, server_hostname=host
        )
        self._writing = False
        self._failed: ssl.SSLError | None = None
        self._over = False  # nothing more can be decrypted
        self.explain: Callable[[ssl.SSLError], Exception] | None = None
        """What is to be the cause of an error when reading, instead of TLS's own: a client hears
        only when it reads what the server thinks of its certificate."""

    @property
    def transport_stream(self) -> trio.abc.Stream:
        """What carries the records, as trio's own SSLStream calls it."""
        return self._stream

    async def handshake(self) -> None:
        """Raises trio.BrokenResourceError, with an ssl.SSLError as its cause unless the network
        failed; the other end has been told then."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._say()
                await self._fill()
            except ssl.SSLError as error:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._say()
                raise trio.BrokenResourceError("the TLS handshake failed") from error
            else:
                await self._say()
                return

    # -- the stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """b"" also where the other end left without TLS's goodbye: what is carried here has an
        end of its own. Raises trio.BrokenResourceError with an ssl.SSLError as its cause."""
        buffer = memoryview(bytearray(max_bytes or _READ))
        while (count := self._decrypt_into(buffer)) is None:
            await self._fill()
        return bytes(buffer[:count])

    def read_into(self, buffer: memoryview) -> int | None:
        """Decrypt what is there, as far as `buffer` takes it: how many bytes; 0 at the end; None if
        nothing is there yet. Raises as `receive_some` does."""
        count = self._decrypt_into(buffer)
        if count is not None or not isinstance(self._stream, EagerStream):
            return count
        data = self._stream.read_now(_READ)
        if data is None:
            return None
        self._arrived(data)
        return self._decrypt_into(buffer)

    @property
    def pending(self) -> bool:
        """Whether there may be more than the last read took, of which the network tells nothing."""
        return bool(self._over or self._incoming.pending or self._tls.pending())

    async def call_while_readable(self, call: Callable[[], bool]) -> None:
        """As of `EagerStream`: it is the network that is readable; see `pending`."""
        if isinstance(self._stream, EagerStream):
            await self._stream.call_while_readable(call)
        else:
            await self._fill()
            while call():
                await self._fill()

    def _decrypt_into(self, buffer: memoryview) -> int | None:
        """All that is there; None: nothing yet; 0: the end."""
        if self._failed is not None:
            raise self._broken(self._failed)
        done = 0
        try:
            while done < len(buffer):
                most = min(_RECORD, len(buffer) - done)
                count = cast("int", self._tls.read(most, cast("bytearray", buffer[done:])))
                done += count
                if not count:
                    self._over = True
                    break
        except ssl.SSLWantReadError:
            return done or None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._over = True  # the other end's goodbye, or none
        except ssl.SSLError as error:
            self._over, self._failed = True, error
            if not done:
                raise self._broken(error)  # noqa: B904 - it has its cause
        return done

    def _broken(self, error: ssl.SSLError) -> trio.BrokenResourceError:
        why = error if self.explain is None else self.explain(error)
        broken = trio.BrokenResourceError("TLS failed" if why is error else str(why))
        broken.__cause__ = why
        return broken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with memoryview(data) as view:
            sent = self.send_now((view,))
        if not sent:
            await self.flush()

    def send_now(self, parts: Sequence[bytes | memoryview]) -> bool:
        """Encrypt and write. Returns whether all is written; if not, `flush` writes the rest.

        Raises trio.BrokenResourceError.
        """
        self._writing = True  # and stays so if it is not finished: nothing can follow half a record
        try:
            for part in parts:
                sent = 0
                while sent < len(part):
                    sent += self._tls.write(part[sent:] if sent else part)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError("TLS failed") from error
        if isinstance(self._stream, EagerStream):
            self._writing = not self._stream.send_now((self._outgoing.read(),))
        return not self._writing

    async def flush(self) -> None:
        """Write what `send_now` could not."""
        if isinstance(self._stream, EagerStream):
            await self._stream.flush()
        else:
            await self._say()
        self._writing = False

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Says goodbye, and does not wait for the answer."""
        try:
            if not self._writing:
                with suppress(ssl.SSLError):
                    self._tls.unwrap()
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._say()
        finally:
            await self._stream.aclose()

    async def _fill(self) -> None:
        self._arrived(await self._stream.receive_some(_READ))

    def _arrived(self, data: bytes | bytearray) -> None:
        if self._outgoing.pending > _MOST_ANSWERS:
            raise trio.BrokenResourceError("the peer makes TLS answer and does not read")
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _say(self) -> None:
        data = self._outgoing.read()
        if data:
            await self._stream.send_all(data)

    # -- the other end

    def peer_fields(self) -> Mapping[str, Any]:
        """What a verified certificate says, as `ssl.SSLSocket.getpeercert`; empty: none."""
        return self._tls.getpeercert() or {}

    def peer_certificate(self) -> bytes:
        """The certificate itself, in DER. Raises ValueError if the other end showed none."""
        raw = self._tls.getpeercert(binary_form=True)
        if raw is None:
            raise ValueError("the other end showed no certificate")
        return raw
