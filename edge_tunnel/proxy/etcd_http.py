"""One HTTP/1.1 connection to an etcd member: a request and its answer, or a stream of lines.

h11 on a trio stream; a general HTTP client was two to three times slower. Deadlines are the
caller's (`etcd.EtcdClient`): a cancelled request leaves a connection that is closed.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import h11
import trio

from edge_tunnel.errors import EdgeTunnelError
from edge_tunnel.link.oserrors import in_words

__all__ = ["Connection", "Endpoint", "EngineAway", "EngineError", "connect"]

_CHUNK: Final = 256 * 1024
"""Bytes asked of the socket at once: a page of a snapshot is about this large."""

_MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of one answer or line. A batch or page takes well below 1 MiB; a watch that comes from far
behind brings many batches in one line."""


class EngineError(EdgeTunnelError):
    """The engine refused a request; the text is the engine's own."""

    def __init__(self, text: str, code: int = 0) -> None:
        """`code`: gRPC's number of the status."""
        super().__init__(text)
        self.code = code


class EngineAway(EngineError):
    """The engine could not be reached, was silent, or has no leader. It may come back."""


class Endpoint(NamedTuple):
    """Where a member listens for clients."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@contextmanager
def _away(endpoint: Endpoint) -> Iterator[None]:
    """What the network and a broken peer raise becomes EngineAway, in words."""
    try:
        yield
    except OSError as error:
        raise EngineAway(f"etcd at {endpoint}: {in_words(error)}") from error
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        text = f"{cause}" if isinstance(cause, ssl.SSLError) else "the connection was lost"
        raise EngineAway(f"etcd at {endpoint}: {text}") from error
    except h11.RemoteProtocolError as error:
        raise EngineAway(f"etcd at {endpoint}: not HTTP: {error}") from error


async def connect(endpoint: Endpoint, tls: ssl.SSLContext | None) -> Connection:
    """Open a connection. Raises EngineAway."""
    with _away(endpoint):
        stream: trio.abc.Stream = await trio.open_tcp_stream(*endpoint)
        if tls is not None:
            # https_compatible: etcd ends without close_notify; answers carry their length.
            secured = trio.SSLStream(
                stream, tls, server_hostname=endpoint.host, https_compatible=True
            )
            try:
                await secured.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            stream = secured
        return Connection(endpoint, stream)


class Connection:
    """Serves one request at a time. After an error or a cancellation it is closed."""

    def __init__(self, endpoint: Endpoint, stream: trio.abc.Stream) -> None:
        self.endpoint = endpoint
        self._stream = stream
        self._h11 = h11.Connection(h11.CLIENT)
        self._line = bytearray()  # the beginning of a line, or more

    @property
    def reusable(self) -> bool:
        """Whether another request can go over it."""
        return self._h11.our_state is h11.IDLE

    async def close(self) -> None:
        """Close at once; says nothing to the peer."""
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)

    async def request(self, path: str, body: bytes) -> tuple[int, bytes]:
        """POST; the status and the whole body of the answer. Raises EngineAway."""
        try:
            status = await self.send(path, body)
            answer = bytearray()
            while (data := await self._data()) is not None:
                answer += data
                self._check_size(answer)
            if self._h11.our_state is h11.DONE:
                self._h11.start_next_cycle()
            return status, bytes(answer)
        except BaseException:
            await self.close()
            raise

    async def send(self, path: str, body: bytes) -> int:
        """POST; the status of the answer, whose body is still to come. Raises EngineAway."""
        head = h11.Request(
            method="POST",
            target=path,
            headers=[
                ("Host", str(self.endpoint)),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
            ],
        )
        parts = (self._h11.send(head), self._h11.send(h11.Data(body)))
        self._h11.send(h11.EndOfMessage())
        with _away(self.endpoint):
            await self._stream.send_all(b"".join(part or b"" for part in parts))
        while not isinstance(event := await self._next_event(), h11.Response):
            pass  # 100 Continue, which we did not ask for
        return event.status_code

    async def line(self) -> bytes | None:
        """The next line of a streamed answer; None at its end. Raises EngineAway.

        May be cancelled and called again: no byte of a line is lost.
        """
        searched = 0
        while (stop := self._line.find(b"\n", searched)) < 0:
            searched = len(self._line)
            self._check_size(self._line)
            data = await self._data()
            if data is None:
                return None
            self._line += data
        line = bytes(self._line[:stop])
        del self._line[: stop + 1]
        return line

    async def _data(self) -> bytes | None:
        """A piece of the answer's body; None at its end."""
        event = await self._next_event()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        with _away(self.endpoint):
            while (event := self._h11.next_event()) is h11.NEED_DATA:
                data = await self._stream.receive_some(_CHUNK)
                if not data:  # etcd's answers all say where they end: this is not an end
                    raise EngineAway(f"etcd at {self.endpoint}: the connection was closed")
                self._h11.receive_data(bytes(data))
            return event  # type: ignore[return-value] # NEED_DATA is behind us

    def _check_size(self, answer: bytearray) -> None:
        if len(answer) > _MAX_ANSWER:
            raise EngineAway(f"etcd at {self.endpoint}: an answer above {_MAX_ANSWER} bytes")
