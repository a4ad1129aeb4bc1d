"""A client of etcd 3.4 or later, through its JSON gateway: what the registry needs, and no more.

Several endpoints make one engine: a call that fails at one goes to the next, once round. So every
call may be made twice, and the registry makes only calls that may be. Each attempt has a deadline;
the watch's deadline is its user's, because only the user knows when something has to come.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import trio

from edge_tunnel.errors import ConfigError
from edge_tunnel.proxy.etcd_http import Connection, Endpoint, EngineAway, EngineError, connect
from edge_tunnel.proxy.etcd_tls import EngineTls

__all__ = [
    "Change",
    "Changes",
    "Compacted",
    "Endpoint",
    "EngineAway",
    "EngineError",
    "EtcdClient",
    "LeaseGone",
    "Outcome",
    "Page",
    "Row",
    "Watch",
    "endpoints_of",
    "text64",
]

Json: TypeAlias = dict[str, Any]

_ATTEMPT: Final = 2.0
"""Seconds for one attempt. A new leader is there 1.2-1.6 s after the old one died (measured, three
members, defaults); a member that needs longer is worth leaving."""

_MAX_IDLE: Final = 4
"""Connections kept open: lease, announcements, and one spare each while they fail over."""

_NOT_FOUND: Final = 5
_AWAY: Final = (1, 4, 14)  # cancelled, deadline exceeded, unavailable (no leader, leader changed)
_COMPACTED: Final = 11
"""Status codes of gRPC, https://grpc.github.io/grpc/core/md_doc_statuscodes.html"""


class LeaseGone(EngineError):
    """The lease does not exist (any more); neither do the rows under it."""


class Compacted(EngineError):
    """The history that a watch wants is gone: a snapshot is needed."""


class Row(NamedTuple):
    """A key and its value."""

    key: str
    value: str


class Page(NamedTuple):
    """A part of a range, as it was at one revision."""

    rows: list[Row]
    more: bool
    revision: int


class Outcome(NamedTuple):
    """What a transaction did."""

    succeeded: bool
    """Its comparison held."""

    revision: int
    rows: list[Row]
    """What it read."""


class Change(NamedTuple):
    """A row was written, or deleted (`value` is None then, and `before` what it was)."""

    key: str
    value: str | None
    before: str | None


class Changes(NamedTuple):
    """What happened up to and with a revision, in order."""

    revision: int
    changes: list[Change]


def text64(text: str) -> str:
    """As the gateway wants keys and values: base64 of UTF-8."""
    return base64.b64encode(text.encode()).decode()


def _text(value: str) -> str:
    """Back from base64. Rows that are not UTF-8 are not ours, and may look like anything."""
    return base64.b64decode(value).decode(errors="replace")


def _after(prefix: str) -> str:
    """The first key behind all that begin with the (ASCII) prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def endpoints_of(url: str) -> list[Endpoint]:
    """``etcd://host:port[,host:port...]``; the port may be left out. Raises ConfigError."""
    scheme, _, rest = url.partition("://")
    endpoints = []
    for each in rest.rstrip("/").split(","):
        host, _, port = each.strip().rpartition(":") if ":" in each else (each.strip(), "", "2379")
        if scheme != "etcd" or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(f"{url!r} is not etcd://host:port[,host:port...]")
        endpoints.append(Endpoint(host.strip("[]"), int(port)))
    return endpoints


class EtcdClient:
    """One engine of one or more members. All methods raise EngineAway or EngineError."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        tls: EngineTls | None = None,
        attempt: float = _ATTEMPT,
    ) -> None:
        """`tls`: asked for each new connection, and those that are open stay as they are;
        `attempt`: seconds for each try of a call."""
        self.endpoints = tuple(endpoints)
        self._tls = tls
        self._attempt = attempt
        self._at = 0  # the endpoint in use
        self._idle: list[Connection] = []

    async def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            await self._idle.pop().close()

    # -- rows

    async def put(self, key: str, value: str, lease: int = 0) -> None:
        """Write a row, whatever was there. Raises LeaseGone."""
        row = {"key": text64(key), "value": text64(value), "lease": str(lease)}
        await self.call("/v3/kv/put", row)

    async def range(
        self, prefix: str, *, after: str = "", most: int = 0, revision: int = 0
    ) -> Page:
        """Rows that begin with `prefix`, behind the key `after`, as of a revision (0: now)."""
        body = {
            "key": text64(after + "\0" if after else prefix),
            "range_end": text64(_after(prefix)),
            "limit": str(most),
            "revision": str(revision),
        }
        return await self._range(body)

    async def _range(self, body: Json) -> Page:
        answer = await self.call("/v3/kv/range", body)
        rows = [
            Row(_text(row["key"]), _text(row.get("value", ""))) for row in answer.get("kvs", ())
        ]
        return Page(rows, bool(answer.get("more")), int(answer["header"]["revision"]))

    async def get(self, key: str) -> Page:
        """The row with this key, if there is one, as a majority of the members has it now."""
        return await self._range({"key": text64(key)})

    async def transact(self, operations: Sequence[Json]) -> list[bool]:
        """Do all of these (the gateway's own form) in one transaction. Raises LeaseGone.

        Returns for each, if it is a nested transaction, whether its comparisons held.
        """
        answer = await self.call("/v3/kv/txn", {"success": operations})
        parts = (part.get("response_txn") or {} for part in answer.get("responses", ()))
        return [bool(part.get("succeeded")) for part in parts]

    async def transact_if(
        self,
        compare: Sequence[Json],
        operations: Sequence[Json],
        failure: Sequence[Json],
    ) -> Outcome:
        """Do all of these in one transaction, or `failure` where `compare` does not hold.

        Raises LeaseGone.
        """
        body = {"compare": compare, "success": operations, "failure": failure}
        answer = await self.call("/v3/kv/txn", body)
        rows = [
            Row(_text(row["key"]), _text(row.get("value", "")))
            for each in answer.get("responses", ())
            for row in each.get("response_range", {}).get("kvs", ())
        ]
        revision = int(answer["header"]["revision"])
        return Outcome(bool(answer.get("succeeded")), revision, rows)

    # -- leases

    async def grant(self, ttl: float) -> tuple[int, float]:
        """A new lease: its id, and the seconds that it got (etcd gives at least 2)."""
        answer = await self.call("/v3/lease/grant", {"TTL": str(max(1, round(ttl)))})
        return int(answer["ID"]), float(answer["TTL"])

    async def keep_alive(self, lease: int) -> float:
        """Renew; the seconds that it has from some moment after this was called. Or LeaseGone."""
        answer = await self.call("/v3/lease/keepalive", {"ID": str(lease)})
        ttl = float(answer["result"].get("TTL", 0))
        if ttl <= 0:
            raise LeaseGone("the lease is over", _NOT_FOUND)
        return ttl

    async def revoke(self, lease: int) -> None:
        """End a lease: its rows are deleted."""
        await self.call("/v3/lease/revoke", {"ID": str(lease)})

    # -- the wire

    async def call(self, path: str, body: Json) -> Json:
        """One call; at each endpoint in turn, and the first one again (it may have restarted)."""
        data = json.dumps(body).encode()
        error = EngineAway("no endpoint of etcd is known")
        for _ in range(len(self.endpoints) + 1):
            at = self._at
            try:
                with trio.fail_after(self._attempt):
                    return await self._try(path, data)
            except trio.TooSlowError:
                text = f"etcd at {self.endpoints[at]}: no answer within {self._attempt:g} s"
                error = EngineAway(text)
            except EngineAway as away:
                error = away
            await self._leave(at)
        raise error

    async def _try(self, path: str, data: bytes) -> Json:
        connection = self._idle.pop() if self._idle else await self._connect()
        status, answer = await connection.request(path, data)
        await self._keep(connection)
        return _checked(status, answer, connection.endpoint)

    async def _connect(self) -> Connection:
        tls = None if self._tls is None else self._tls()
        return await connect(self.endpoints[self._at], tls)

    async def _keep(self, connection: Connection) -> None:
        here = connection.endpoint == self.endpoints[self._at]
        if here and connection.reusable and len(self._idle) < _MAX_IDLE:
            self._idle.append(connection)
        else:
            await connection.close()

    async def _leave(self, at: int) -> None:
        """Go to the next endpoint, unless another task has already."""
        if at == self._at:
            self._at = (at + 1) % len(self.endpoints)
            await self.close()

    # -- the watch

    @asynccontextmanager
    async def open_watch(self, prefix: str, revision: int) -> AsyncIterator[Watch]:
        """What happens to rows that begin with `prefix`, from `revision` on."""
        create = {
            "key": text64(prefix),
            "range_end": text64(_after(prefix)),
            "start_revision": str(revision),
            "prev_kv": True,
        }
        watch = Watch(await self._begin(json.dumps({"create_request": create}).encode()))
        try:
            yield watch
        finally:
            await watch.close()

    async def _begin(self, data: bytes) -> Connection:
        """A connection whose watch was accepted."""
        at = self._at
        try:
            with trio.fail_after(self._attempt):
                return await _ask_for_watch(await self._connect(), data)
        except trio.TooSlowError:
            error = EngineAway(
                f"etcd at {self.endpoints[at]}: no answer within {self._attempt:g} s"
            )
        except EngineAway as away:
            error = away
        await self._leave(at)
        raise error


async def _ask_for_watch(connection: Connection, data: bytes) -> Connection:
    try:
        status = await connection.send("/v3/watch", data)
        line = await connection.line()
        _checked(status, line or b"", connection.endpoint)
    except BaseException:
        await connection.close()
        raise
    return connection


class Watch:
    """A watch that the engine has accepted. Use `EtcdClient.open_watch`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def receive(self) -> Changes:
        """The next changes; may be cancelled and called again.

        Raises Compacted if what was to come is no longer known, EngineAway at the end of the watch.
        """
        line = await self._connection.line()
        if line is None:
            raise EngineAway(f"etcd at {self._connection.endpoint}: the watch ended")
        result = _checked(200, line, self._connection.endpoint)["result"]
        if int(result.get("compact_revision", 0)):
            raise Compacted("the watched revision was compacted", _COMPACTED)
        if result.get("canceled"):
            text = result.get("cancel_reason", "the watch was cancelled")
            raise EngineAway(f"etcd at {self._connection.endpoint}: {text}")
        changes = [_change(event) for event in result.get("events", ())]
        return Changes(int(result["header"].get("revision", 0)), changes)

    async def close(self) -> None:
        await self._connection.close()


def _change(event: Json) -> Change:
    row, before = event["kv"], event.get("prev_kv")
    value = None if event.get("type") == "DELETE" else _text(row.get("value", ""))
    return Change(_text(row["key"]), value, _text(before.get("value", "")) if before else None)


def _checked(status: int, answer: bytes, endpoint: Endpoint) -> Json:
    """What the engine said, or the error that it said."""
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise EngineAway(f"etcd at {endpoint}: status {status} and no JSON")
    if status == 200 and "error" not in said:
        inner = said.get("result")  # of a stream
        if "header" not in (inner if isinstance(inner, dict) else said):
            raise EngineAway(f"etcd at {endpoint}: it does not answer as etcd does")
        return said
    error = said.get("error")
    details = error if isinstance(error, dict) else said  # a stream's errors are nested
    code = int(details.get("code") or details.get("grpc_code") or 0)
    text = f"etcd at {endpoint}: {details.get('message') or error or status}"
    raise _ERRORS.get(code, EngineError)(text, code)


_ERRORS: Final[dict[int, type[EngineError]]] = {
    _NOT_FOUND: LeaseGone,  # nothing else that we ask for can be missing
    _COMPACTED: Compacted,
    **dict.fromkeys(_AWAY, EngineAway),
}
