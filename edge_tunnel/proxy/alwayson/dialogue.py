"""What is said on a device's main socket: the server's side of it, without I/O.

A device says AUTH first, and then BIND; from then on both sides ask and answer, and each counts its
requests for itself. Many things that a device asks are the platform's business and not ours. It is
answered all the same, because a device waits 10 s for each answer: success, with nothing in it,
but for two services whose callers want a table. (Three real clients run on happily like that.)

Nothing here waits. `receive` says what is to be decided, in `events`; whoever decides says so by
`admitted` and `bound`; what is to be sent is in `outgoing`, in parts that a device can take.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from edge_tunnel.alwayson.codec import decode_header
from edge_tunnel.alwayson.messages import (
    SUCCESS,
    Auth,
    Bind,
    Characteristic,
    KeepAlive,
    Message,
    Method,
    Request,
    Response,
    Status,
    Unbind,
    Unknown,
    table_of,
)
from edge_tunnel.alwayson.multipart import Assembly, encode_parts
from edge_tunnel.alwayson.reading import AlwaysOnError
from edge_tunnel.alwayson.tunnels import CommandFromEdge, service, tunnel_request
from edge_tunnel.alwayson.values import BaseType, Field, InfoTable
from edge_tunnel.config.source import printable

__all__ = [
    "MAX_OUTGOING",
    "Answered",
    "AuthAsked",
    "BindAsked",
    "Commanded",
    "Dialogue",
    "Event",
    "UnbindAsked",
]

_FIRST_REQUEST: Final = 1000
_LAST_REQUEST: Final = 2**31 - 1

MAX_OUTGOING: Final = 1024 * 1024
"""Bytes that wait for a device to read: its answers to 1,200 binds many times over."""

_SUBSCRIPTIONS: Final = InfoTable(
    (
        Field("edgeName", BaseType.STRING),
        Field("pushType", BaseType.STRING),
        Field("pushThreshold", BaseType.NUMBER),
    )
)
_TABLES: Final = {
    "GetPropertySubscriptions": table_of(_SUBSCRIPTIONS),
    "GetEventSubscriptions": table_of(InfoTable()),
}
"""Services whose answer is to be a table: nothing is subscribed to."""

_NAMES_IN_REASON: Final = 5
_LONGEST_NAME: Final = 256
"""Characters of each: those that a thing's name may have. What is none may have a million."""

_REQUESTS: Final = (Method.GET, Method.PUT, Method.POST, Method.DELETE)


class AuthAsked(NamedTuple):
    """Decide, and call `admitted`."""

    key: str


class BindAsked(NamedTuple):
    """Decide about each of these, and call `bound`."""

    names: tuple[str, ...]


class UnbindAsked(NamedTuple):
    """Answered already."""

    names: tuple[str, ...]


class Commanded(NamedTuple):
    """The device says that a tunnel is over. Answered already."""

    tid: str
    command: str


class Answered(NamedTuple):
    """The answer to a request of ours."""

    request: int
    response: Response


Event: TypeAlias = AuthAsked | BindAsked | UnbindAsked | Commanded | Answered


class _Binding:
    """A BIND whose names are not all decided."""

    def __init__(self, asked: Message, names: Iterable[str]) -> None:
        self.asked = asked
        self.pending = set(names)
        self.refused: dict[str, str] = {}
        self.taken = 0


class Dialogue:
    """One main socket's."""

    def __init__(self, session: int) -> None:
        """`session`: the id that the device puts into all that it says; neither 0 nor -1."""
        self.events: deque[Event] = deque()
        self.outgoing: deque[bytes] = deque()
        self.waiting = 0
        """Bytes of `outgoing`."""

        self._session = session
        self._assembly = Assembly()
        self._auth: Message | None = None  # asked, and not decided
        self._key = ""
        self._admitted = False
        self._bindings: list[_Binding] = []
        self._last_request = _FIRST_REQUEST

    # -- what the device says

    def receive(self, data: bytes, now: float) -> None:
        """A binary message came. Raises AlwaysOnError: the socket is to be closed."""
        message = self._read(data, now)
        if message is None or isinstance(message.body, KeepAlive):
            return
        if not self._admitted:
            self._on_first(message)
        else:
            self._on_message(message)
        if self.waiting > MAX_OUTGOING:
            raise AlwaysOnError("the device does not read the answers")

    def _read(self, data: bytes, now: float) -> Message | None:
        """A device may push values of types that the codec does not know. They are not for us, so
        they are no reason to lose the device: what its header says is enough for an answer."""
        try:
            return self._assembly.receive(data, now)
        except AlwaysOnError:
            header = decode_header(data)
            if not self._admitted:
                raise
            about = Message(SUCCESS, header.request_id, header.session_id, header.endpoint_id)
            if header.code in _REQUESTS:
                self._say(about)
                return None
            if header.code >= Status.OK:
                return about._replace(body=Response(header.code))
            raise

    def _on_first(self, message: Message) -> None:
        if not isinstance(message.body, Auth) or self._auth is not None:
            raise AlwaysOnError("a device says AUTH first, and waits for the answer")
        self._auth, self._key = message, message.body.app_key or ""
        self.events.append(AuthAsked(message.body.app_key or ""))

    def _on_message(self, message: Message) -> None:
        body = message.body
        if isinstance(body, Response):
            self.events.append(Answered(message.request_id, body))
        elif isinstance(body, Bind):
            self._on_bind(message, body)
        elif isinstance(body, Unbind):
            self._say(message.answer(SUCCESS))
            self.events.append(UnbindAsked(body.names))
        elif isinstance(body, Request):
            self._on_request(message, body)
        elif isinstance(body, Unknown):
            self._say(message.answer(Response(Status.METHOD_NOT_ALLOWED)))
        elif isinstance(body, Auth) and _same(body.app_key or "", self._key):
            self._say(message.answer(SUCCESS))  # C devices ask again where the answer took long
        else:
            raise AlwaysOnError("AUTH again")

    def _on_bind(self, message: Message, body: Bind) -> None:
        self._bindings.append(_Binding(message, body.names))
        self.events.append(BindAsked(tuple(dict.fromkeys(body.names))))
        if not body.names:
            self._answer_binds()

    def _on_request(self, message: Message, request: Request) -> None:
        try:
            command = tunnel_request(request)
        except AlwaysOnError as error:
            self._say(message.answer(Response(Status.BAD_REQUEST, str(error))))
            return
        if isinstance(command, CommandFromEdge):
            self.events.append(Commanded(command.tid, command.command))
        is_service = request.characteristic == Characteristic.SERVICE
        table = _TABLES.get(request.name) if is_service else None
        self._say(message.answer(SUCCESS if table is None else Response(content=table)))

    # -- what was decided

    def admitted(self, refusal: Response | None = None) -> None:
        """The answer to AUTH; after a refusal close the socket."""
        asked, self._auth = self._auth, None
        assert asked is not None
        self._admitted = refusal is None
        answer = asked.answer(refusal or SUCCESS)
        self._say(answer if refusal else answer._replace(session_id=self._session))

    def bound(self, thing: str, refusal: str | None = None) -> None:
        """A name is bound, or why not.

        BIND is refused if all of its names are: else one thing that a gateway may not serve would
        keep the others from being served.
        """
        for binding in self._bindings:
            if thing in binding.pending:
                binding.pending.discard(thing)
                if refusal is None:
                    binding.taken += 1
                else:
                    binding.refused[thing] = refusal
        self._answer_binds()

    def _answer_binds(self) -> None:
        for binding in [each for each in self._bindings if not each.pending]:
            self._bindings.remove(binding)
            if binding.refused and not binding.taken:
                names = list(binding.refused)[:_NAMES_IN_REASON]
                reason = "; ".join(f"{_shown(name)}: {binding.refused[name]}" for name in names)
                self._say(binding.asked.answer(Response(Status.FORBIDDEN, reason)))
            else:
                self._say(binding.asked.answer(SUCCESS))

    # -- what we ask

    def ask(self, request: Request) -> int:
        """Ask the device something; returns the number that comes back in `Answered`."""
        self._last_request += 1
        if self._last_request > _LAST_REQUEST:
            self._last_request = _FIRST_REQUEST
        self._say(Message(request, self._last_request, self._session))
        return self._last_request

    def notify(self, thing: str) -> None:
        """As the platform does after a bind. A C application starts its own work only then."""
        self.ask(service(thing, "NotifyPropertyUpdate"))

    def _say(self, message: Message) -> None:
        if message.session_id == 0xFFFF_FFFF and self._admitted:
            message = message._replace(session_id=self._session)
        for part in encode_parts(message):
            self.outgoing.append(part)
            self.waiting += len(part)

    def next_message(self) -> bytes | None:
        """What is to be sent next."""
        if not self.outgoing:
            return None
        part = self.outgoing.popleft()
        self.waiting -= len(part)
        return part


def _shown(name: str) -> str:
    return printable(name[:_LONGEST_NAME])


def _same(one: str, other: str) -> bool:
    """Of keys: how much of a guess is right takes no time to find out."""
    return hmac.compare_digest(one.encode(), other.encode())
