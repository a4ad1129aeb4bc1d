"""``/api/v1``: keys, policy and tickets over HTTP, as functions of requests.

===========================  ======================================================================
GET whoami                   whose key this is
POST tickets                 ``thing``, ``service``; ``user``, ``lifetime`` (s): a ticket
GET keys                     all records, without the keys
POST keys                    ``role``, ``name``; ``things``, ``lifetime``, ``comment``, ``key`` (to
                             import one); or ``replaces`` with ``overlap`` (s): a new key
DELETE keys/ID               revoke it
GET policy                   the one in force: ``version``, ``text``, who, when
PUT policy                   ``text``, ``expected`` (the version that it replaces), ``comment``
GET policy/history           the versions that are kept
GET policy/versions/NUMBER   one of them
POST policy/rollback         ``version``, ``expected``
===========================  ======================================================================

Everything goes through `Api.answer`: first the key, then the exact path, then the role, then the
body, and what is done is what was read there, once. Whoever shows no good key is told nothing but
that. Errors are ``{"error": TEXT}``; a policy's come with ``findings``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias

from edge_tunnel.access.administration import Administration, NewKey, NotAllowed, NotThere
from edge_tunnel.access.keys import BadKey, KeyRecord
from edge_tunnel.access.state import PushedPolicy
from edge_tunnel.access.store import Conflict, StoreAway
from edge_tunnel.config.findings import ConfigFileError
from edge_tunnel.errors import EdgeTunnelError

__all__ = ["PREFIX", "Api", "ApiAnswer", "ApiRequest"]

PREFIX: Final = "/api/v1/"

_LONGEST: Final = 100 * 366 * 86_400.0
"""Seconds of a lifetime: beyond it somebody has mistaken the unit."""

Json: TypeAlias = dict[str, Any]


class ApiRequest(NamedTuple):
    """What was asked."""

    method: str
    path: str
    """As it was sent: nothing in it is decoded or tidied up before it is compared."""

    key: str
    """Of ``Authorization: Bearer``; empty if there was none, or more than one."""

    body: bytes = b""

    def __repr__(self) -> str:
        return f"ApiRequest({self.method} {self.path}, {len(self.body)} bytes)"


class ApiAnswer(NamedTuple):
    """What is answered. May hold a new key or ticket."""

    status: int
    body: Json
    retry_after: int = 0
    """Seconds; 0: nothing is said of it."""

    def __repr__(self) -> str:
        return f"ApiAnswer({self.status})"


class BadRequest(EdgeTunnelError):
    """The body is not what is needed."""


class _Call(NamedTuple):
    """A request that may be acted upon."""

    actor: KeyRecord
    part: str
    """What stands in the path for ``*``."""

    fields: Fields


class Fields:
    """A body's JSON, read strictly: a misspelt field is an error, not a default."""

    def __init__(self, body: bytes) -> None:
        """Raises BadRequest."""
        try:
            self._said: Json = json.loads(body) if body.strip() else {}
        except (ValueError, RecursionError):
            raise BadRequest("the body is not JSON") from None
        if not isinstance(self._said, dict):
            raise BadRequest("the body is not a JSON object")
        self._left = set(self._said)

    def text(self, name: str, default: str | None = None) -> str:
        """A string; it must be there if there is no default."""
        value = self._take(name, default)
        if not isinstance(value, str):
            raise BadRequest(f"{name} must be a string")
        return value

    def whole(self, name: str) -> int:
        value = self._take(name, None)
        if type(value) is not int or value < 0:
            raise BadRequest(f"{name} must be a whole number")
        return value

    def seconds(self, name: str, default: float | None) -> float | None:
        if self._said.get(name) is None:
            self._left.discard(name)
            return default
        value = self._take(name, None)
        if type(value) not in (int, float) or not 0 < value <= _LONGEST:
            raise BadRequest(f"{name} must be a number of seconds above 0")
        return float(value)

    def names(self, name: str) -> tuple[str, ...]:
        value = self._take(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise BadRequest(f"{name} must be a list of strings")
        return tuple(value)

    def finish(self) -> None:
        """Nothing else may be there. Raises BadRequest."""
        if self._left:
            raise BadRequest(f"unknown: {', '.join(sorted(map(repr, self._left)))[:100]}")

    def _take(self, name: str, default: object) -> Any:
        self._left.discard(name)
        value = self._said.get(name, default)
        if value is None:
            raise BadRequest(f"{name} is missing")
        return value


Act: TypeAlias = Callable[["Api", _Call], Awaitable[ApiAnswer]]


class Api:
    """Answers for one node."""

    def __init__(self, administration: Administration) -> None:
        self._admin = administration

    async def answer(self, request: ApiRequest) -> ApiAnswer:
        """The one way in. Never raises what a request can cause."""
        unread = self._admin.why_not_ready()
        if unread is not None:
            return _error(503, unread)
        actor = self._admin.holder(request.key) if request.key else None
        if actor is None:
            return _error(401, "show a key: Authorization: Bearer KEY")
        routes, part = _routes_of(request.path)
        if not routes:
            return _error(404, f"there is no such path; the API is {PREFIX}")
        if request.method not in routes:
            return _error(405, f"only {', '.join(routes)}")
        roles, act = routes[request.method]
        if actor.role not in roles:
            return _error(403, f"a key of the role {actor.role} may not do this")
        try:
            return await act(self, _Call(actor, part, Fields(request.body)))
        except ConfigFileError as error:
            return ApiAnswer(422, {"error": "the policy is refused", "findings": _told(error)})
        except EdgeTunnelError as error:
            return _error(_STATUS.get(type(error), 500), str(error))

    async def whoami(self, call: _Call) -> ApiAnswer:
        call.fields.finish()
        return ApiAnswer(200, call.actor.shown())

    async def make_ticket(self, call: _Call) -> ApiAnswer:
        fields = call.fields
        user, lifetime = fields.text("user", ""), fields.seconds("lifetime", None)
        thing, service = fields.text("thing"), fields.text("service")
        fields.finish()
        ticket, expires = await self._admin.new_ticket(user, thing, service, lifetime, call.actor)
        return ApiAnswer(
            201, {"ticket": ticket, "thing": thing, "service": service, "expires": expires}
        )

    # -- keys

    async def keys(self, call: _Call) -> ApiAnswer:
        call.fields.finish()
        return ApiAnswer(200, {"keys": [record.shown() for record in self._admin.records()]})

    async def make_key(self, call: _Call) -> ApiAnswer:
        fields = call.fields
        wish = NewKey(
            role=fields.text("role", ""),
            name=fields.text("name", ""),
            things=fields.names("things"),
            lifetime=fields.seconds("lifetime", None),
            comment=fields.text("comment", ""),
            replaces=fields.text("replaces", ""),
            overlap=fields.seconds("overlap", NewKey.overlap) or 0.0,
        )
        imported = fields.text("key", "") or None
        fields.finish()
        key, record = await self._admin.new_key(wish, imported, call.actor)
        told = {"record": record.shown()}
        return ApiAnswer(201, told if imported is not None else {"key": key, **told})

    async def revoke_key(self, call: _Call) -> ApiAnswer:
        call.fields.finish()
        record = await self._admin.revoke_key(call.part, call.actor)
        return ApiAnswer(200, {"record": record.shown()})

    # -- policy

    async def policy(self, call: _Call) -> ApiAnswer:
        call.fields.finish()
        pushed = self._admin.policy()
        return ApiAnswer(200, {"version": 0, "text": ""} if pushed is None else _whole(pushed))

    async def policy_version(self, call: _Call) -> ApiAnswer:
        call.fields.finish()
        part = call.part
        number = int(part) if part.isascii() and part.isdecimal() and len(part) < 10 else 0
        pushed = self._admin.policy(number)
        assert pushed is not None  # a version was asked for
        return ApiAnswer(200, _whole(pushed))

    async def history(self, call: _Call) -> ApiAnswer:
        call.fields.finish()
        return ApiAnswer(200, {"versions": [one.shown() for one in self._admin.history()]})

    async def push(self, call: _Call) -> ApiAnswer:
        fields = call.fields
        text, expected = fields.text("text"), fields.whole("expected")
        comment = fields.text("comment", "")
        fields.finish()
        pushed = await self._admin.push(text, expected, comment, call.actor)
        return ApiAnswer(200, {"version": pushed.version, "changes": list(pushed.differences)})

    async def rollback(self, call: _Call) -> ApiAnswer:
        fields = call.fields
        version, expected = fields.whole("version"), fields.whole("expected")
        fields.finish()
        pushed = await self._admin.rollback(version, expected, call.actor)
        return ApiAnswer(200, {"version": pushed.version, "changes": list(pushed.differences)})


_ANYBODY: Final = ("admin", "remote", "edge")
_USERS: Final = ("admin", "remote")
_ADMIN: Final = ("admin",)

_PATHS: Final[dict[str, dict[str, tuple[tuple[str, ...], Act]]]] = {
    "whoami": {"GET": (_ANYBODY, Api.whoami)},
    "tickets": {"POST": (_USERS, Api.make_ticket)},
    "keys": {"GET": (_ADMIN, Api.keys), "POST": (_ADMIN, Api.make_key)},
    "keys/*": {"DELETE": (_ADMIN, Api.revoke_key)},
    "policy": {"GET": (_ADMIN, Api.policy), "PUT": (_ADMIN, Api.push)},
    "policy/history": {"GET": (_ADMIN, Api.history)},
    "policy/rollback": {"POST": (_ADMIN, Api.rollback)},
    "policy/versions/*": {"GET": (_ADMIN, Api.policy_version)},
}
"""Path, method, who may, what is done."""

_STATUS: Final[dict[type[EdgeTunnelError], int]] = {
    BadRequest: 400,
    BadKey: 400,
    NotAllowed: 403,
    NotThere: 404,
    Conflict: 409,
    StoreAway: 503,
}


def _routes_of(path: str) -> tuple[dict[str, tuple[tuple[str, ...], Act]], str]:
    """What a path can do, and its last part where that is free."""
    if not path.startswith(PREFIX):
        return {}, ""
    name = path.removeprefix(PREFIX)
    if name in _PATHS and "*" not in name:
        return _PATHS[name], ""
    head, _, part = name.rpartition("/")
    return _PATHS.get(f"{head}/*", {}) if part else {}, part


def _error(status: int, text: str) -> ApiAnswer:
    return ApiAnswer(status, {"error": text or HTTPStatus(status).phrase})


def _whole(pushed: PushedPolicy) -> Json:
    return {**pushed.shown(), "text": pushed.text}


def _told(error: ConfigFileError) -> list[Json]:
    return [
        {
            "severity": one.severity.value,
            "line": one.line,
            "column": one.column,
            "key": one.key,
            "message": one.message,
            "hint": one.hint,
        }
        for one in error.findings
    ]
