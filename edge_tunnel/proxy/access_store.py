"""Keys, policy and tickets of a cluster, on its etcd.

Rows come over the registry's watch (`cluster.RowsBeside`), so a change is in every node's memory
some milliseconds after its commit, and a watch that died is noticed. While etcd is away the node
goes on with what it has in memory; nothing can be changed, and no ticket redeemed.

A commit is one transaction. Its call may have been made twice (see `etcd`): if its comparison fails
because the first try did all of it, it was done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import trio

from edge_tunnel.access.store import ANYTHING, Conflict, Store, StoreAway, Write
from edge_tunnel.proxy.etcd import Change, EngineError, EtcdClient, Row, text64
from edge_tunnel.proxy.rows import Keys

__all__ = ["EtcdStore"]

Json: TypeAlias = dict[str, Any]

_SEEN: Final = 2.0
"""Seconds that an answer waits until this node's own watch shows what was written; the watch is
milliseconds behind unless the engine has just failed over."""

_TICKETS: Final = "tickets/"


class EtcdStore(Store):
    """Rows under ``{prefix}/access/``."""

    def __init__(self, client: EtcdClient, *, prefix: str = "/edge-tunnel") -> None:
        """Give it to a `ClusterRegistry` of the same prefix; the client is ours to close."""
        self._client = client
        self._place = f"{Keys(prefix).all}access/"
        self._rows: dict[str, str] = {}
        self._changed = False
        self._revision = 0
        self._news = trio.Event()

    @property
    def rows(self) -> Mapping[str, str]:
        return self._rows

    @property
    def why_not_ready(self) -> str | None:
        return None if self._revision else "keys and policy were not read from etcd yet"

    async def close(self) -> None:
        await self._client.close()

    async def run(self) -> None:
        """Until cancelled; then the connections to etcd are closed."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await self.close()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something about `rows` is true."""
        while not true():
            await self._news.wait()

    # -- what the watch says (`RowsBeside`)

    def loaded(self, rows: Sequence[Row]) -> None:
        found = {name: value for key, value in rows if (name := self._name(key)) is not None}
        self._changed = self._changed or found != self._rows or not self._revision
        self._rows = found

    def changed(self, change: Change) -> bool:
        if not change.key.startswith(self._place):
            return False
        name = self._name(change.key)
        if name is not None:
            self._changed = True
            if change.value is None:
                self._rows.pop(name, None)
            else:
                self._rows[name] = change.value
        return True

    def _name(self, key: str) -> str | None:
        """None: not a row of ours that lasts."""
        name = key.removeprefix(self._place)
        return None if name == key or name.startswith(_TICKETS) else name

    def reached(self, revision: int) -> None:
        self._revision = revision
        if self._changed:
            self._changed = False
            self.on_change()
        self._news.set()
        self._news = trio.Event()

    # -- what is asked of the engine

    async def commit(self, *writes: Write) -> None:
        compare = [self._compare(write) for write in writes if write.expected is not ANYTHING]
        read = [{"request_range": {"key": text64(self._place + each.key)}} for each in writes]
        try:
            operations = [await self._operation(write) for write in writes]
            outcome = await self._client.transact_if(compare, operations, read)
        except EngineError as error:
            raise StoreAway(str(error)) from error
        if not outcome.succeeded and not self._was_done(writes, outcome.rows):
            raise Conflict("a row was changed meanwhile")
        with trio.move_on_after(_SEEN if self._revision else 0):  # 0: nobody follows yet
            await self.until(lambda: self._revision >= outcome.revision)

    def _was_done(self, writes: Sequence[Write], rows: Sequence[Row]) -> bool:
        """Whether all is there as we wanted it. Who deletes cannot know who did it."""
        found = {row.key.removeprefix(self._place): row.value for row in rows}
        wanted = {write.key: write.value for write in writes if write.value is not None}
        return bool(wanted) and found == wanted

    def _compare(self, write: Write) -> Json:
        """A comparison with the value of a key that does not exist is false."""
        key = {"key": text64(self._place + write.key), "result": "EQUAL"}
        if isinstance(write.expected, str):
            return {**key, "target": "VALUE", "value": text64(write.expected)}
        return {**key, "target": "VERSION", "version": "0"}

    async def _operation(self, write: Write) -> Json:
        key = text64(self._place + write.key)
        if write.value is None:
            return {"request_delete_range": {"key": key}}
        lease = 0 if write.ttl is None else (await self._client.grant(write.ttl))[0]
        put = {"key": key, "value": text64(write.value), "lease": str(lease)}
        return {"request_put": put}

    async def read(self, key: str) -> str | None:
        try:
            page = await self._client.range(self._place + key, most=1)
        except EngineError as error:
            raise StoreAway(str(error)) from error
        return next((row.value for row in page.rows if row.key == self._place + key), None)

    async def take(self, key: str) -> str | None:
        try:
            return await self._client.take(self._place + key)
        except EngineError as error:
            raise StoreAway(str(error)) from error
