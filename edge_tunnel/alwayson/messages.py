"""What a device and a server say to each other on the main socket."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, TypeAlias

from edge_tunnel.alwayson.values import NOTHING, BaseType, InfoTable, Value

__all__ = [
    "APP_KEY",
    "NO_SESSION",
    "SUCCESS",
    "THING",
    "Auth",
    "Bind",
    "Body",
    "Characteristic",
    "Chunk",
    "Entity",
    "Gateway",
    "KeepAlive",
    "Message",
    "Method",
    "Request",
    "Response",
    "Status",
    "Unbind",
    "Unknown",
    "auth",
    "table_of",
]

NO_SESSION: Final = 0xFFFF_FFFF
"""The session id in an AUTH, and of Java devices also in what follows."""

APP_KEY: Final = "appKey"
"""The claim of AUTH, and the header of a tunnel's socket."""

THING: Final = 10
"""The type of entity that is bound."""


class Method(enum.IntEnum):
    """Codes below 0x40."""

    GET = 0x01
    PUT = 0x02
    POST = 0x03
    DELETE = 0x04
    BIND = 0x0A
    UNBIND = 0x0B
    AUTH = 0x14
    CLEAR_AUTH = 0x15
    KEEP_ALIVE = 0x1F


class Status(enum.IntEnum):
    """Codes from 0x40 on: class (2 to 5 as HTTP's, 7 private) in the three upper bits."""

    OK = 0x40
    CREATED = 0x41
    ACCEPTED = 0x42
    NO_CONTENT = 0x44
    PARTIAL = 0x46
    BAD_REQUEST = 0x80
    UNAUTHORIZED = 0x81
    BAD_OPTION = 0x82
    FORBIDDEN = 0x83
    NOT_FOUND = 0x84
    METHOD_NOT_ALLOWED = 0x85
    NOT_ACCEPTABLE = 0x86
    REQUEST_TIMEOUT = 0x88
    CONFLICT = 0x89
    PRECONDITION_FAILED = 0x8C
    TOO_LARGE = 0x8D
    UNSUPPORTED_CONTENT = 0x8F
    INTERNAL_ERROR = 0xA0
    BAD_GATEWAY = 0xA2
    UNAVAILABLE = 0xA3
    GATEWAY_TIMEOUT = 0xA4


class Characteristic(enum.IntEnum):
    """What of a thing a request is about."""

    PROPERTY = 1
    SERVICE = 2
    EVENT = 3


class Entity(NamedTuple):
    """Whom a request is for."""

    type: int
    name: str


class Auth(NamedTuple):
    """AUTH: who the device is. Comes first, and nothing before it is answered."""

    claims: tuple[tuple[str, str], ...]

    @property
    def app_key(self) -> str | None:
        """The application key; None: it claims something else."""
        return dict(self.claims).get(APP_KEY)

    def __repr__(self) -> str:  # a key never gets into a log or a traceback
        return f"Auth(claims={[name for name, _ in self.claims]})"


def auth(app_key: str) -> Auth:
    """AUTH with an application key."""
    return Auth(((APP_KEY, app_key),))


class Gateway(NamedTuple):
    """The device that binds others' names."""

    name: str
    type: str


class Bind(NamedTuple):
    """BIND: from now on these things are reached here. More of them may follow at any time."""

    names: tuple[str, ...]
    """Things, or identifiers of things (said to begin with an asterisk)."""

    gateway: Gateway | None = None


class Unbind(NamedTuple):
    """UNBIND."""

    names: tuple[str, ...]
    gateway: Gateway | None = None


class KeepAlive(NamedTuple):
    """KEEP_ALIVE: not answered."""


class Request(NamedTuple):
    """GET, PUT, POST or DELETE: a property, a service, or an event of an entity."""

    method: int
    entity: Entity
    characteristic: int
    name: str
    params: InfoTable | None = None
    """None: it has no arguments. A table that is empty is something else."""

    headers: tuple[tuple[str, str], ...] = ()


class Response(NamedTuple):
    """The answer to the request with the same id, in the other direction."""

    status: int = Status.OK
    reason: str | None = None
    content: Value = NOTHING

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return 0x40 <= self.status < 0x60

    @property
    def table(self) -> InfoTable:
        """The rows of the result; no row where there is no table."""
        plain = self.content.plain
        return plain if isinstance(plain, InfoTable) else InfoTable()

    @property
    def why(self) -> str:
        """The reason, for people: the C SDK says it in the result, in place of the reason."""
        found = self.reason or self.table.first().get("reason")
        return found if isinstance(found, str) else ""


class Unknown(NamedTuple):
    """A method that nothing is known of. Its sender can be answered."""

    method: int
    data: bytes


class Chunk(NamedTuple):
    """A part of a message; see `multipart`."""

    code: int
    number: int
    """1 to total."""

    total: int
    size: int
    """Bytes that its sender puts into a WebSocket message, at the most; not those of the data."""

    entity: Entity | None
    """In requests, in every chunk."""

    data: bytes


Body: TypeAlias = Auth | Bind | Unbind | KeepAlive | Request | Response | Unknown | Chunk


class Message(NamedTuple):
    """A body with what is in the header beside its code."""

    body: Body
    request_id: int = 0
    """A response has that of its request. Each direction counts for itself."""

    session_id: int = 0
    """The server gives it in the header of its answer to AUTH; never 0."""

    endpoint_id: int = 0
    """Said back as it came; 0, or of Java devices that are not bound yet, `NO_SESSION`."""

    def answer(self, response: Response) -> Message:
        """The message that answers this one."""
        return self._replace(body=response)


SUCCESS: Final = Response()


def table_of(table: InfoTable) -> Value:
    """A table as the content of a response."""
    return Value(BaseType.INFOTABLE, table)
