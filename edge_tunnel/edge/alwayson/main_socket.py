"""The conversation of a device with a server: AUTH, BIND, and what the server asks after that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NoReturn

import trio

from edge_tunnel.alwayson.codec import decode_header
from edge_tunnel.alwayson.messages import (
    NO_SESSION,
    SUCCESS,
    Bind,
    Body,
    Characteristic,
    KeepAlive,
    Message,
    Method,
    Request,
    Response,
    Status,
    Unbind,
    auth,
)
from edge_tunnel.alwayson.multipart import Assembly, encode_parts
from edge_tunnel.alwayson.reading import AlwaysOnError
from edge_tunnel.alwayson.tunnels import (
    CommandFromEdge,
    CommandToEdge,
    CompleteTunnel,
    StartTunnel,
    tunnel_request,
)
from edge_tunnel.config.model import EdgeConfig
from edge_tunnel.edge.alwayson.relay import fit
from edge_tunnel.edge.alwayson.tunnels import Tunnels
from edge_tunnel.errors import LinkLost, LinkRefused
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.transport import PlainTransport
from edge_tunnel.reasons import Reason

__all__ = ["MainSocket", "why"]

_QUEUE: Final = 1024
"""Messages that may wait for the socket: answers to as many requests of one that does not read."""

_BATCH: Final = 1000
"""Names in one BIND: the longest that there are fit into a message of 1 MiB with it."""

_IGNORED: Final = ("NotifyPropertyUpdate",)
"""Services of every device: the platform calls them, and a device without properties has nothing to
do."""


class MainSocket:
    """One main socket. `run` it, and `bind` and `unbind` while it runs."""

    def __init__(self, transport: PlainTransport, config: EdgeConfig, tunnels: Tunnels) -> None:
        self.transport = transport
        self.app_key = config.app_key.reveal()
        self._link = config.link
        self._things = frozenset(config.things)
        self._tunnels = tunnels
        self._session = NO_SESSION
        self._last_id = 0
        self._waiting: dict[int, trio.MemorySendChannel[Response]] = {}
        self._assembly = Assembly()
        self._queue, self._outgoing = trio.open_memory_channel[Message](_QUEUE)
        self._heard = trio.current_time()
        self._scope = trio.CancelScope()
        self._problem = ""

    async def run(self, serve: Callable[[trio.Nursery], None]) -> NoReturn:
        """Authenticate, bind, and answer until the socket is lost.

        `serve` is called when the server knows the device: what it starts ends with the socket.

        Raises:
          LinkRefused: the server does not know the key.
          LinkLost: anything else.
        """
        try:
            with self._scope:
                async with open_plain_nursery() as nursery:
                    nursery.start_soon(self._until_lost, self._write)
                    nursery.start_soon(self._until_lost, self._read)
                    await self._authenticate()
                    serve(nursery)
                    nursery.start_soon(self._until_lost, self._keep_alive)
            raise LinkLost(self._problem)
        finally:
            self._queue.close()
            for waiting in self._waiting.values():
                waiting.close()

    def end(self, problem: str) -> None:
        """Let `run` raise LinkLost with this; the first problem counts."""
        self._problem = self._problem or problem
        self._scope.cancel()

    async def _until_lost(self, task: Callable[[], Awaitable[None]]) -> None:
        """A server may refuse and close at once, and a cut is met by who reads and who writes: that
        is one end, and no group of errors."""
        try:
            await task()
        except LinkLost as error:
            self.end(str(error))

    # -- what the device says

    async def _authenticate(self) -> None:
        response = await self._call(auth(self.app_key), "AUTH")
        if not response.ok:
            text = f"the server does not take this application key: {why(response)}"
            raise LinkRefused(Reason.NOT_AUTHORISED, text)

    async def bind(self, things: Sequence[str]) -> Response:
        """The server's answer; its first refusal, if it refuses."""
        self._things |= frozenset(things)
        return await self._name(Bind, things)

    async def unbind(self, things: Sequence[str]) -> Response:
        """The server's answer; its first refusal, if it refuses."""
        self._things -= frozenset(things)
        return await self._name(Unbind, things)

    async def _name(self, kind: type[Bind | Unbind], things: Sequence[str]) -> Response:
        response = SUCCESS
        for start in range(0, len(things), _BATCH):
            body = kind(tuple(things[start : start + _BATCH]))
            response = await self._call(body, kind.__name__.upper())
            if not response.ok:
                break
        return response

    def tell(self, thing: str, command: CommandFromEdge) -> None:
        """Say something of a tunnel. Nobody waits for the answer."""
        self._last_id += 1
        self._send(command.request(thing), self._last_id)

    async def _call(self, body: Body, what: str) -> Response:
        """Say something, and wait for the answer. Raises LinkLost."""
        self._last_id += 1
        number = self._last_id
        give, take = trio.open_memory_channel[Response](1)
        self._waiting[number] = give
        self._send(body, number)
        try:
            with trio.fail_after(self._link.connect_timeout):
                return await take.receive()
        except trio.TooSlowError:
            text = f"no answer to {what} within {self._link.connect_timeout:g} s"
            raise LinkLost(f"{text}: is this an AlwaysOn server?") from None
        except trio.EndOfChannel:
            raise LinkLost("the connection was closed") from None
        finally:
            del self._waiting[number]

    def _send(self, body: Body, number: int, endpoint: int = 0) -> None:
        try:
            self._queue.send_nowait(Message(body, number, self._session, endpoint))
        except trio.WouldBlock:
            self.end("the server asks and does not read the answers")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is over; whoever waits for an answer is told

    # -- the tasks

    async def _write(self) -> None:
        with self._outgoing:
            async for message in self._outgoing:
                for part in encode_parts(message):
                    await self.transport.send(part)

    async def _read(self) -> None:
        while True:
            data = await self.transport.receive_any()
            self._heard = trio.current_time()
            if isinstance(data, bytes):  # nobody says text here
                self._take(data)

    async def _keep_alive(self) -> None:
        """Ping a server that is silent: it may not say a word for days."""
        link = self._link
        while True:
            await trio.sleep_until(self._heard + link.ping_interval)
            if trio.current_time() - self._heard < link.ping_interval:
                continue
            try:
                with trio.fail_after(link.ping_timeout):
                    await self.transport.ping()
            except trio.TooSlowError:
                silence = link.ping_interval + link.ping_timeout
                raise LinkLost(f"silent for {silence:g} s") from None
            self._heard = trio.current_time()

    # -- what the server says

    def _take(self, data: bytes) -> None:
        try:
            message = self._assembly.receive(data, trio.current_time())
        except AlwaysOnError as error:
            self._refuse(data, error)
            return
        if message is None or isinstance(message.body, KeepAlive):
            return
        if isinstance(message.body, Response):
            self._on_response(message, message.body)
        elif isinstance(message.body, Request):
            self._on_request(message, message.body)
        else:
            self._answer(message, Response(Status.METHOD_NOT_ALLOWED))

    def _refuse(self, data: bytes, error: AlwaysOnError) -> None:
        """A message that is no good costs an answer, if it is clear whose."""
        try:
            header = decode_header(data)
        except AlwaysOnError as worse:
            raise LinkLost(f"the server sent what is no AlwaysOn message: {worse}") from None
        if header.code <= Method.DELETE:
            message = Message(KeepAlive(), header.request_id, endpoint_id=header.endpoint_id)
            self._answer(message, Response(Status.BAD_REQUEST, str(error)))

    def _on_response(self, message: Message, response: Response) -> None:
        if self._session == NO_SESSION and response.ok:
            self._session = message.session_id
        waiting = self._waiting.get(message.request_id)
        if waiting is not None:
            with suppress(trio.WouldBlock):  # it was answered
                waiting.send_nowait(response)

    def _on_request(self, message: Message, request: Request) -> None:
        thing, answer = request.entity.name, partial(self._answer, message)
        if thing not in self._things:
            answer(_missing(f"Thing [{thing}] Does Not Exist"))
            return
        try:
            said = tunnel_request(request)
        except AlwaysOnError as error:
            answer(Response(Status.INTERNAL_ERROR, f"{request.name}: {error}"))
            return
        if isinstance(said, StartTunnel):
            self._tunnels.start(self, thing, said, answer)
        elif isinstance(said, CompleteTunnel):
            answer(self._tunnels.complete(said.tid, said.reason))
        elif isinstance(said, CommandToEdge):
            answer(self._command(said))
        elif request.characteristic == Characteristic.SERVICE and request.name in _IGNORED:
            answer(SUCCESS)
        else:
            answer(_unknown(request))

    def _command(self, said: CommandToEdge) -> Response:
        """CONNECT asks for what is done already: each tunnel is one connection, made at once."""
        if said.command == "DISCONNECT":
            return self._tunnels.complete(said.tid, "")
        if not self._tunnels.holds(said.tid):
            return Response(Status.BAD_REQUEST, "there is no such tunnel")
        return SUCCESS

    def _answer(self, message: Message, response: Response) -> None:
        if response.reason is not None:  # it may quote what the server said
            response = response._replace(reason=fit(response.reason))
        self._send(response, message.request_id, message.endpoint_id)


def _missing(text: str) -> Response:
    return Response(Status.NOT_FOUND, text)


_KINDS: Final[dict[int, str]] = {Characteristic.PROPERTY: "Property", Characteristic.EVENT: "Event"}


def _unknown(request: Request) -> Response:
    """In the words of Java devices."""
    kind = _KINDS.get(request.characteristic, "Service")
    return _missing(f"{kind} [{request.name}] Does Not Exist On Thing [{request.entity.name}]")


def why(response: Response) -> str:
    """Why it is no success, for people."""
    return fit(response.why) or f"status 0x{response.status:02x}"
