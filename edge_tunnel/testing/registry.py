"""A registry that the nodes of a test share, with what a real one suffers from: lag and partitions.

Each node has a view of its own, as a member that watches an engine has. What it binds is at once in
its own view and in the others' after `lag` seconds; a view that is cut off neither hears nor is
heard until it joins again. So two nodes can both believe to hold a thing, for as long as a test
likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import trio

from edge_tunnel.protocol.greeting import VERSION
from edge_tunnel.proxy.directory import Claim, NodeInfo
from edge_tunnel.proxy.port import Port

__all__ = ["RegistryView", "SharedRegistry"]


_READ: Final = 0.002
"""Seconds for a question to the engine."""


class _Bind(NamedTuple):
    epoch: int
    node: str


class SharedRegistry:
    """What the views have in common."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.lag = 0.0
        """Seconds until a change is seen by the other nodes."""

        self.views: dict[str, RegistryView] = {}
        self._nursery = nursery

    def join(self, node: str) -> RegistryView:
        """A view for a node that starts; it knows what the others know."""
        view = self.views[node] = RegistryView(self, node)
        for other in self.views.values():
            view.map.update(other.map)
        return view

    def expire(self, node: str) -> None:
        """The node's lease is over: its binds are gone, and the others are told."""
        gone = self.views.pop(node)
        for view in list(self.views.values()):
            for thing, bind in list(view.map.items()):
                if bind.node == node:
                    view.hear(thing, bind, None)
            view.on_node_gone(gone.node)

    def tell(self, source: RegistryView, thing: str, old: _Bind | None, new: _Bind | None) -> None:
        """Pass a change on."""
        for view in list(self.views.values()):
            if view is not source:
                self._nursery.start_soon(self._deliver, source, view, (thing, old, new))

    def look_up(self, view: RegistryView, thing: str) -> None:
        """Ask all at once, as an engine that reads what a majority of its members has."""
        self._nursery.start_soon(self._look, view, thing)

    async def _look(self, view: RegistryView, thing: str) -> None:
        await trio.sleep(_READ)
        binds = (each.map.get(thing) for each in self.views.values() if not each.cut_off.is_set())
        known = [each for each in binds if each is not None]
        if known and not view.cut_off.is_set():
            view.hear(thing, None, max(known))
        view.looking.discard(thing)
        view.on_looked(thing)

    async def _deliver(
        self,
        source: RegistryView,
        view: RegistryView,
        change: tuple[str, _Bind | None, _Bind | None],
    ) -> None:
        await trio.sleep(self.lag)
        while source.cut_off.is_set() or view.cut_off.is_set():
            await (source if source.cut_off.is_set() else view).joined.wait()
        view.hear(*change)


class RegistryView:
    """One node's registry: a `Whereabouts`."""

    def __init__(self, shared: SharedRegistry, node: str) -> None:
        self.node = node
        self.map: dict[str, _Bind] = {}
        self.looking: set[str] = set()
        self.cut_off = trio.Event()
        self.joined = trio.Event()
        self.on_displaced: Callable[[str, int, Port], None] = lambda _thing, _epoch, _port: None
        self.on_moved: Callable[[str], None] = lambda _thing: None
        self.on_node_gone: Callable[[str], None] = lambda _node: None
        self.on_looked: Callable[[str], None] = lambda _thing: None
        self.on_renew: Callable[[NodeInfo], NodeInfo] = lambda me: me
        self.me = NodeInfo(node, version=VERSION)
        self._shared = shared
        self._ports: dict[str, Port] = {}

    def __len__(self) -> int:
        return len(self._ports)

    def bind(self, thing: str, epoch: int, port: Port) -> tuple[bool, int, Port | None]:
        old = self.map.get(thing)
        if old == (epoch, self.node) and self._ports.get(thing) is port:
            return True, epoch, None
        if old is not None and old.epoch >= epoch:
            return False, old.epoch, None
        loser = self._ports.get(thing)
        new = self.map[thing] = _Bind(epoch, self.node)
        self._ports[thing] = port
        port.binds[thing] = epoch
        if loser is not None and loser is not port:
            loser.binds.pop(thing, None)
        self._shared.tell(self, thing, old, new)
        return True, epoch, None if loser is port else loser

    def unbind(self, thing: str, port: Port) -> bool:
        port.binds.pop(thing, None)
        if self._ports.get(thing) is not port:
            return False
        del self._ports[thing]
        self._shared.tell(self, thing, self.map.pop(thing), None)
        return True

    def locate(self, thing: str) -> Port | str | None:
        bind = self.map.get(thing)
        return self._ports.get(thing) or (None if bind is None else bind.node)

    @property
    def nodes(self) -> dict[str, NodeInfo]:
        return {name: view.me for name, view in self._shared.views.items()}

    def look_up(self, thing: str) -> bool:
        if self.cut_off.is_set():
            return False
        if thing not in self.looking:
            self.looking.add(thing)
            self._shared.look_up(self, thing)
        return True

    def things(self) -> Iterator[tuple[str, Claim]]:
        return ((thing, Claim(*bind)) for thing, bind in self.map.items())

    def describe(self, me: NodeInfo) -> None:
        self.me = me

    def address(self, node: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 0) if node in self._shared.views else None

    # -- what other nodes do

    def hear(self, thing: str, old: _Bind | None, new: _Bind | None) -> None:
        """Another node changed something: the higher epoch wins."""
        here = self.map.get(thing)
        if new is None:
            if here != old:
                return
            del self.map[thing]
        elif here is not None and here.epoch >= new.epoch:
            return
        else:
            self.map[thing] = new
            port = self._ports.pop(thing, None)
            if port is not None:
                port.binds.pop(thing, None)
                self.on_displaced(thing, new.epoch, port)
        self.on_moved(thing)

    def cut(self) -> None:
        """From now on this node neither hears the others nor is heard."""
        self.cut_off.set()

    def join_again(self) -> None:
        """The end of `cut`: what was said meanwhile arrives, in order."""
        self.cut_off = trio.Event()
        self.joined.set()
        self.joined = trio.Event()
