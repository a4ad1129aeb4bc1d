"""The registry of a cluster, on etcd.

Some tasks go on for ever, each on its own, whatever the engine does:

* *lease*: one for this node. Each renewal also writes this node's row: a write needs a majority of
  the engine, so an old leader that still answers renewals proves nothing; and each watch of the
  cluster sees it, so a watch that sees nothing for the length of a lease is dead. (etcd's own
  progress notices come every 10 minutes.)
* *announcements*: binds and unbinds, gathered for some milliseconds, then in transactions. A write
  of etcd costs an fsync: one by one there are some hundreds per second. Two tasks do it, so that
  the engine never waits for us.
* *watch*: a snapshot, then all changes from its revision on. A broken watch resumes by revision;
  one that was silent, or whose revision was compacted, starts from a new snapshot.

Beside them, a thing that nobody here has heard of is asked for once, if somebody wants it
(`lookups`).

While the engine is away the node goes on with the map in memory, and serves what is bound here. It
only no longer *claims*: it writes nothing until its lease is renewed, then announces all again.
What two nodes may believe meanwhile is settled by the epochs (see `directory`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol

import trio

from edge_tunnel.link.backoff import Backoff
from edge_tunnel.proxy.directory import Announcement, Claim, Decision, NodeInfo, Withdrawal
from edge_tunnel.proxy.etcd import (
    Change,
    Compacted,
    EngineAway,
    EngineError,
    EtcdClient,
    LeaseGone,
    Row,
    Watch,
)
from edge_tunnel.proxy.lease import Lease
from edge_tunnel.proxy.lookups import Lookups
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.registry import Registry
from edge_tunnel.proxy.rows import Keys, guarded, guess, node_of, node_value, thing_claim

__all__ = ["ClusterRegistry", "RowsBeside"]

_log = logging.getLogger("edge_tunnel.proxy")

_GATHER: Final = 0.005
"""Seconds that binds wait for company: less than one write takes, and nobody waits for them."""

_GROUP: Final = 100
_GROUPS: Final = 5
"""Announcements that are written together or not at all, and how many such groups one transaction
has. etcd's --max-txn-ops (128) counts each level by itself, less what is around it."""

_WRITERS: Final = 2
"""Transactions under way at once: one is applied while the engine reads the next (a third less
time for 24,000 rows, measured with three members on two cores). They may overtake each other;
each row is compared before it is written, so nothing rests on their order."""

_PAGE: Final = 2000
"""Rows of a snapshot asked for at once: some 300 KB of JSON."""

_LONGEST_WAIT: Final = 2.0
"""Seconds between two tries while the engine is away: it should be found soon when it is back."""

_GOODBYE: Final = 1.0
"""Seconds for the revocation of the lease at the end; without it the rows go when it expires."""


class RowsBeside(Protocol):
    """Rows under the same prefix that are no business of the registry's.

    They come over its watch: that one is known to be alive, because each node's lease is renewed
    in its sight. A watch of their own would be silent for days, and nobody would notice its death.
    """

    def loaded(self, rows: Sequence[Row]) -> None:
        """A snapshot: these are all rows of the cluster."""

    def changed(self, change: Change) -> bool:
        """A row was written or deleted; whether it is one of these."""

    def reached(self, revision: int) -> None:
        """All up to and with this revision was told."""


class ClusterRegistry(Registry):
    """Binds of this node, and the map of all, kept on etcd by `run`."""

    def __init__(
        self,
        me: NodeInfo,
        client: EtcdClient,
        *,
        prefix: str = "/edge-tunnel",
        ttl: float = 10.0,
        rows_beside: RowsBeside | None = None,
        emit: Callable[..., None] = lambda event, **data: None,  # noqa: ARG005
    ) -> None:
        """Make a registry; nothing goes on before `run`.

        Args:
          me: this node; no two nodes of a cluster may have the same name.
          client: the engine; closed at the end of `run`.
          prefix: of all keys, so that several clusters can share an engine.
          rows_beside: who else lives on our watch.
          ttl: seconds after which the rows of a node that died go. etcd gives at least 2.
          emit: told of ``engine_lost`` (``reason``), ``engine_back``, and ``name_taken`` (``node``,
            ``address``: another live node has our name; neither claims anything until one ends).
        """
        super().__init__(me)
        self._client = client
        self._keys = Keys(prefix)
        self._ttl = ttl
        self._rows_beside = rows_beside
        self._emit = emit
        self._lease: Lease | None = None
        self._revision = 0  # the map is as of this one; 0: a snapshot is needed
        self._is_known = False  # the watch has brought our row
        self._rival_until = -math.inf  # a node that has our name was seen within a lease's time
        self._something_to_announce = trio.Event()
        self._renew_now = trio.Event()
        self._missing = {"lease", "watch"}  # until `ready`
        self._troubles: set[str] = set()  # the tasks that fail at the moment
        self._lookups = Lookups(self._read, self._looked)

    @property
    def claiming(self) -> bool:
        """Whether our lease certainly stands, and nobody else uses our name.

        If not, local binds serve on, but may be old news.
        """
        now = trio.current_time()
        return self._lease is not None and self._lease.holds(now) and now >= self._rival_until

    def bind(self, thing: str, epoch: int, port: Port) -> tuple[bool, int, Port | None]:
        result = super().bind(thing, epoch, port)
        self._something_to_announce.set()
        return result

    def unbind(self, thing: str, port: Port) -> bool:
        result = super().unbind(thing, port)
        self._something_to_announce.set()
        return result

    def describe(self, me: NodeInfo) -> None:
        super().describe(me)
        self._renew_now.set()

    def look_up(self, thing: str) -> bool:
        return not self._troubles and self._lookups.ask(thing)

    async def _read(self, thing: str) -> bool:
        """Learn what the engine says of one thing: a row that the watch may still have to bring."""
        page = await self._client.get(self._keys.things + thing)
        if page.revision > self._revision:  # else the map is as new, and may know of its end
            for known, claim in self._sorted(page.rows)[0].items():
                self._act_on(self.learn_thing(known, *claim))
        return self.locate(thing) is not None

    def _looked(self, thing: str) -> None:
        self.on_looked(thing)

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._for_ever, "lease", self._renew)
                for task in (f"announcements {number}" for number in range(_WRITERS)):
                    nursery.start_soon(self._for_ever, task, partial(self._announce, task))
                nursery.start_soon(self._for_ever, "watch", self._watch)
                nursery.start_soon(self._lookups.run)
        finally:
            with trio.move_on_after(_GOODBYE, shield=True):
                await self._leave()

    async def _leave(self) -> None:
        """Take our rows with us: the others need not wait for the lease's end."""
        lease, self._lease = self._lease, None
        try:
            if lease is not None:
                await self._client.revoke(lease.id)
        except EngineError as error:
            _log.info("the lease was not revoked: %s", error)
        finally:
            await self._client.close()

    async def _for_ever(self, task: str, step: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff(_LONGEST_WAIT)
        while True:
            try:
                await step()
                backoff.succeeded()
            except EngineError as error:
                self._fails(task, str(error))
                await trio.sleep(backoff.next_delay())

    def _fails(self, task: str, reason: str) -> None:
        _log.debug("%s: %s", task, reason)
        if not self._troubles:
            self._emit("engine_lost", reason=reason)
        self._troubles.add(task)

    def _works(self, task: str) -> None:
        if task in self._troubles:
            self._troubles.discard(task)
            if not self._troubles:
                self._emit("engine_back")
        self._missing.discard(task)
        if not self._missing:
            self.ready.set()

    # -- lease

    async def _renew(self) -> None:
        self._renew_now = trio.Event()
        had_one = self._lease is not None
        try:
            await self._renew_once()
        except LeaseGone:
            self._lease = None
            if had_one:
                return  # and at once a new one
            raise
        self._works("lease")
        with trio.move_on_after(self._ttl / 3):  # two may be lost before the lease is
            await self._renew_now.wait()

    async def _renew_once(self) -> None:
        claimed = self.claiming
        sent = trio.current_time()
        if self._lease is None:
            lease, ttl = await self._client.grant(self._ttl)
            self._lease = Lease(lease, until=sent)
        else:
            ttl = await self._client.keep_alive(self._lease.id)
        super().describe(self.on_renew(self.me))
        row = self._keys.nodes + self.name
        await self._client.put(row, node_value(self.me), self._lease.id)
        self._lease.renewed(sent, ttl)
        if not claimed:
            self.announce_all()
        self._something_to_announce.set()

    # -- announcements

    async def _announce(self, task: str) -> None:
        await self._something_to_announce.wait()
        self._something_to_announce = trio.Event()
        await trio.sleep(_GATHER)
        while self._lease is not None and self.claiming:
            batch = self.to_announce(_GROUP * _GROUPS)
            if not batch:
                self._works(task)
                return
            try:
                await self._write(batch, self._lease.id)
            except LeaseGone:
                self.announce_again(batch)
                self._renew_now.set()
                return
            except EngineError:
                self.announce_again(batch)
                self._something_to_announce.set()
                raise

    async def _write(self, batch: Sequence[Announcement | Withdrawal], lease: int) -> None:
        """All in one transaction, if each row is what our map says; what is not, row by row."""
        groups = [batch[at : at + _GROUP] for at in range(0, len(batch), _GROUP)]
        guesses = [
            guess(self._keys, self.name, [(each, self.row(each.thing)) for each in group], lease)
            for group in groups
        ]
        right = await self._client.transact(guesses)
        for group, was_right in zip(groups, right, strict=True):
            if not was_right:
                rows = [guarded(self._keys, self.name, wish, lease) for wish in group]
                await self._client.transact(rows)

    # -- watch

    async def _watch(self) -> None:
        try:
            if not self._revision:
                await self._load()
            # From the revision that is known already, not the one behind it: a compaction at
            # exactly the first revision of a watch hides the deletions in it (etcd issue 18089).
            async with self._client.open_watch(self._keys.all, self._revision) as watch:
                self._works("watch")
                await self._follow(watch)
        except Compacted as error:
            _log.info("%s: a new snapshot", error)
            self._revision = 0

    async def _follow(self, watch: Watch) -> None:
        """Until the watch breaks or is silent. Opening it again shows whether etcd is away.

        Raises EngineAway if it broke before it brought anything: so may the next one.
        """
        is_good = False
        while True:
            try:
                with trio.fail_after(self._ttl):
                    revision, changes = await watch.receive()
            except EngineAway as error:
                if not is_good:
                    raise
                _log.info("%s: it resumes after revision %d", error, self._revision)
                return
            except trio.TooSlowError:
                _log.info("the watch was silent for %g s: a new snapshot", self._ttl)
                self._revision = 0
                return
            is_good = True
            for change in changes:
                if self._rows_beside is None or not self._rows_beside.changed(change):
                    self._act_on(self._on_change(change))
            self._revision = max(self._revision, revision)
            if self._rows_beside is not None:
                self._rows_beside.reached(self._revision)

    async def _load(self) -> None:
        """A snapshot, in pages of one revision."""
        page = await self._client.range(self._keys.all, most=_PAGE)
        rows, revision = page.rows, page.revision
        while page.more:
            after = page.rows[-1].key
            page = await self._client.range(
                self._keys.all, after=after, most=_PAGE, revision=revision
            )
            rows += page.rows
        self._act_on(self.snapshot(*self._sorted(rows)))
        self._revision = revision
        if self._rows_beside is not None:
            self._rows_beside.loaded(rows)
            self._rows_beside.reached(revision)

    def _see_own_row(self, info: NodeInfo) -> None:
        """What our row said before the watch has brought it as we wrote it is of an earlier life:
        a watch begins with a change that was there already."""
        if info.address == self.me.address:
            self._is_known = True
        elif self._is_known:
            self._meet_rival(info)

    def _meet_rival(self, info: NodeInfo) -> None:
        """Two nodes of one name would take each other's rows away, as fast as the engine can."""
        now = trio.current_time()
        if now >= self._rival_until:
            self._emit("name_taken", node=info.name, address=info.address)
        self._rival_until = now + self._ttl

    def _act_on(self, decisions: list[Decision]) -> None:
        self.tell(decisions)
        self._something_to_announce.set()

    def _sorted(self, rows: list[Row]) -> tuple[dict[str, Claim], list[NodeInfo]]:
        """Rows into things and nodes; what is neither is not ours."""
        things: dict[str, Claim] = {}
        nodes: list[NodeInfo] = []
        for key, value in rows:
            claim = thing_claim(value) if key.startswith(self._keys.things) else None
            info = node_of(self._name(key), value) if key.startswith(self._keys.nodes) else None
            if claim is not None:
                things[self._name(key)] = claim
            elif info is not None:
                nodes.append(info)
        return things, nodes

    def _name(self, key: str) -> str:
        """The thing or the node of a key. Names may have slashes in them."""
        return key.removeprefix(self._keys.all).partition("/")[2]

    def _on_change(self, change: Change) -> list[Decision]:
        value = change.before if change.value is None else change.value
        if value is None:
            raise Compacted("what a deleted row was is not known any more")
        things, nodes = self._sorted([Row(change.key, value)])
        decisions: list[Decision] = []
        for thing, claim in things.items():
            react = self.forget_thing if change.value is None else self.learn_thing
            decisions += react(thing, *claim)
        for info in nodes:
            gone = change.value is None
            if info.name == self.name:
                self._see_own_row(info)
            decisions += self.forget_node(info.name) if gone else self.learn_node(info)
        return decisions
