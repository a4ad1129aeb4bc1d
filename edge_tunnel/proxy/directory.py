"""Who holds which thing: this node's own binds, and the map of the whole cluster.

Two nodes may both believe that they hold a thing: every engine can show that for a while. So each
claim carries the epoch that the edge issued, claims are ordered by (epoch, node name), and the
higher one wins, on every node and in the engine. What arrives here may be late or repeated; it may
not lower what is known. Only a snapshot replaces the map.

What is to be written to the engine is not remembered as a list of wishes. A thing is *unsettled*
while its row in the engine, as far as this node knows, is not what this node's binds say;
`to_announce` computes what would settle it at the moment of writing. So a lost answer, a row of an
earlier life of this node and an expired lease all need no case of their own.

No clock, no waiting, no I/O: `cluster` feeds it from the engine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias, TypeGuard

from edge_tunnel.proxy.port import Port

__all__ = [
    "Announcement",
    "Claim",
    "Decision",
    "Directory",
    "Displaced",
    "Moved",
    "NodeGone",
    "NodeInfo",
    "Withdrawal",
]


class NodeInfo(NamedTuple):
    """What a node tells the others about itself."""

    name: str
    address: str = ""
    """``host:port`` where other nodes reach it."""

    version: str = ""
    started: float = 0.0
    """Seconds since 1970."""

    draining: bool = False
    links: int = 0
    tunnels: int = 0


class Claim(NamedTuple):
    """A node holds a thing. Of two claims the higher one wins: the epoch, then the node's name."""

    epoch: int
    node: str


class Displaced(NamedTuple):
    """A port of ours lost the thing to a higher claim elsewhere: tell it, detach its tunnels."""

    thing: str
    port: Port
    epoch: int
    """The epoch that won."""


class Moved(NamedTuple):
    """Another node changed what `locate` says of the thing: it is there, or nowhere.

    What waits for it may go. May be repeated.
    """

    thing: str


class NodeGone(NamedTuple):
    """The engine no longer knows the node: no new hops to it. A hop that talks is still alive."""

    name: str


class Announcement(NamedTuple):
    """Write (or write again) that this node holds the thing."""

    thing: str
    epoch: int


class Withdrawal(NamedTuple):
    """Delete this node's own row of the thing, if it is still the one with this epoch."""

    thing: str
    epoch: int


Decision: TypeAlias = Displaced | Moved | NodeGone


class Directory:
    """Binds of this node and claims of all."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: dict[str, NodeInfo] = {}
        self._binds: dict[str, tuple[int, Port]] = {}  # ours; never lower than a claim elsewhere
        self._claims: dict[str, Claim] = {}  # the engine's rows, also those under our own name
        # In the order of their change. A plain dict walks over all that was taken from its front.
        self._unsettled: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        """How many things are bound at this node."""
        return len(self._binds)

    # -- for the node

    def bind(self, thing: str, epoch: int, port: Port) -> tuple[bool, int, Port | None]:
        """Bind, if no higher epoch holds the thing.

        Returns whether it holds now, the epoch that does, and the port that lost it to this one.
        """
        held, known = self._binds.get(thing), self._claims.get(thing)
        if held == (epoch, port):
            return True, epoch, None
        if held is not None and held[0] >= epoch:
            return False, held[0], None
        if self._is_elsewhere(known) and known > Claim(epoch, self.name):
            return False, known.epoch, None
        self._binds[thing] = (epoch, port)
        port.binds[thing] = epoch
        self._unsettled[thing] = None
        if held is None or held[1] is port:
            return True, epoch, None
        held[1].binds.pop(thing, None)
        return True, epoch, held[1]

    def unbind(self, thing: str, port: Port) -> bool:
        """Take a bind back; returns whether this port held it."""
        port.binds.pop(thing, None)
        held = self._binds.get(thing)
        if held is None or held[1] is not port:
            return False
        del self._binds[thing]
        self._unsettled[thing] = None
        return True

    def locate(self, thing: str) -> Port | str | None:
        """The port that serves the thing; else the node that does (it is in `nodes`); else None."""
        held = self._binds.get(thing)
        if held is not None:
            return held[1]
        known = self._claims.get(thing)
        if self._is_elsewhere(known) and known.node in self.nodes:
            return known.node
        return None

    def things(self) -> Iterator[tuple[str, Claim]]:
        """Every thing of the cluster that can be reached, and who holds it."""
        for thing, (epoch, _) in self._binds.items():
            yield thing, Claim(epoch, self.name)
        for thing, known in self._claims.items():
            if thing not in self._binds and isinstance(self.locate(thing), str):
                yield thing, known

    # -- from the engine

    def learn_thing(self, thing: str, epoch: int, node: str) -> list[Decision]:
        """A row was written. One below what is known already is late, and changes nothing."""
        new, known = Claim(epoch, node), self._claims.get(thing)
        if known is not None and new < known:
            return []
        self._claims[thing] = new
        decisions = self._displace(thing, new)
        if self._ours(thing) != (new if node == self.name else None):
            self._unsettled[thing] = None
        if new != known and self.locate(thing) == node:
            decisions.append(Moved(thing))
        return decisions

    def forget_thing(self, thing: str, epoch: int, node: str) -> list[Decision]:
        """A row that said this was deleted. If a higher one is known already, this is late."""
        known, place = self._claims.get(thing), self.locate(thing)
        if known is None or known > Claim(epoch, node):
            return []
        del self._claims[thing]
        if thing in self._binds:
            self._unsettled[thing] = None
        return [] if self.locate(thing) == place else [Moved(thing)]

    def learn_node(self, info: NodeInfo) -> list[Decision]:
        """A node says what it is. Its things may have been known before it was."""
        is_new = info.name not in self.nodes
        self.nodes[info.name] = info
        if not is_new or info.name == self.name:
            return []
        return [Moved(thing) for thing in self._claims if self.locate(thing) == info.name]

    def forget_node(self, name: str) -> list[Decision]:
        """A node's row is gone: it ended, or could not renew its lease."""
        if name == self.name:  # we know better
            return []
        return [] if self.nodes.pop(name, None) is None else [NodeGone(name)]

    def snapshot(self, things: Mapping[str, Claim], nodes: Iterable[NodeInfo]) -> list[Decision]:
        """All rows of the engine: what is not among them is gone."""
        infos = {info.name: info for info in nodes}
        decisions: list[Decision] = []
        for name in sorted(self.nodes.keys() - infos.keys()):
            decisions += self.forget_node(name)
        self.nodes.update(infos)
        elsewhere = [thing for thing in self._claims if isinstance(self.locate(thing), str)]
        self._claims = {}
        decisions += [Moved(thing) for thing in elsewhere if thing not in things]
        for thing, known in things.items():
            decisions += self.learn_thing(thing, known.epoch, known.node)
        for thing in self._binds:
            if self._ours(thing) != self._claims.get(thing):
                self._unsettled[thing] = None
        return decisions

    # -- to the engine

    def to_announce(self, most: int) -> list[Announcement | Withdrawal]:
        """Take what is to be written now, at most so many, the oldest change first."""
        batch: list[Announcement | Withdrawal] = []
        while self._unsettled and len(batch) < most:
            thing, _ = self._unsettled.popitem(last=False)
            batch += self._what_settles(thing)
        return batch

    def row(self, thing: str) -> Claim | None:
        """What the engine's row of the thing says, as far as is known here.

        For what `to_announce` has just given it is never above what is to be written, and for a
        withdrawal it is just that. The engine may have another one by now.
        """
        return self._claims.get(thing)

    def announce_again(self, batch: Iterable[Announcement | Withdrawal]) -> None:
        """These were not written, or nobody knows."""
        self._unsettled.update(dict.fromkeys(each.thing for each in batch))

    def announce_all(self) -> None:
        """There is a new lease: every bind is to be written under it."""
        self._unsettled.update(dict.fromkeys(self._binds))

    # -- inside

    def _is_elsewhere(self, known: Claim | None) -> TypeGuard[Claim]:
        return known is not None and known.node != self.name

    def _ours(self, thing: str) -> Claim | None:
        """What our row of the thing should say; None: there should be none."""
        held = self._binds.get(thing)
        return None if held is None else Claim(held[0], self.name)

    def _displace(self, thing: str, new: Claim) -> list[Decision]:
        ours = self._ours(thing)
        if ours is None or new.node == self.name or new < ours:
            return []
        _, port = self._binds.pop(thing)
        port.binds.pop(thing, None)
        return [Displaced(thing, port, new.epoch)]

    def _what_settles(self, thing: str) -> list[Announcement | Withdrawal]:
        ours, known = self._ours(thing), self._claims.get(thing)
        if known is not None and known.node == self.name and (ours is None or known > ours):
            # Of an earlier life, or of a bind that is over. The engine would refuse a lower one
            # above it; once this is gone, the watch says so and the thing is unsettled again.
            return [Withdrawal(thing, known.epoch)]
        return [] if ours is None else [Announcement(thing, ours.epoch)]
