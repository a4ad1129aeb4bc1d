"""Which port, or which other node, serves which thing.

The interface is the same for one node and for a cluster (`cluster.ClusterRegistry`); this is the
registry in the process, which one node needs and nothing else. It is soft state: whatever it says,
the epoch decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from edge_tunnel.proxy.directory import Decision, Directory, Displaced, Moved, NodeInfo
from edge_tunnel.proxy.port import Port

__all__ = ["Registry"]


class Registry(Directory):
    """Binds of one node that is alone.

    The node sets the callbacks. They are called from `run` only, never from inside `bind`,
    `unbind` or `locate`, and must not wait.
    """

    def __init__(self, me: NodeInfo | None = None) -> None:
        """`me`: what this node tells the others about itself."""
        self.me = me or NodeInfo("node")
        super().__init__(self.me.name)
        self.nodes[self.name] = self.me
        self.ready = trio.Event()
        """Set when the map is known and the others know this node."""

        self.on_displaced: Callable[[str, int, Port], None] = lambda _thing, _epoch, _port: None
        """``(thing, epoch, port)``: a higher epoch of another node took the thing from the port."""

        self.on_moved: Callable[[str], None] = lambda _thing: None
        """``(thing)``: another node changed what `locate` says: it is there, or nowhere. May be
        repeated."""

        self.on_node_gone: Callable[[str], None] = lambda _node: None
        """``(node)``: it left, or its lease is over. A hop to it that still talks is alive."""

        self.on_renew: Callable[[NodeInfo], NodeInfo] = lambda me: me
        """What to tell the others about this node now, in place of this."""

        self.on_looked: Callable[[str], None] = lambda _thing: None
        """``(thing)``: what `look_up` began is over, whatever it found."""

    @property
    def claiming(self) -> bool:
        """Whether the cluster can rely on what this node says that it holds."""
        return True

    def look_up(self, thing: str) -> bool:  # noqa: ARG002
        """Ask the engine for a thing that `locate` does not know; whether that is under way."""
        return False

    def address(self, node: str) -> tuple[str, int] | None:
        """Where a node takes hops: host and port. None: not known (at the moment)."""
        info = self.nodes.get(node)
        host, _, port = ("", "", "") if info is None else info.address.rpartition(":")
        return (host.strip("[]"), int(port)) if host and port.isdecimal() else None

    def describe(self, me: NodeInfo) -> None:
        """Tell the others something new about this node (the name stays)."""
        self.me = self.nodes[self.name] = me._replace(name=self.name)

    def tell(self, decisions: Iterable[Decision]) -> None:
        """Call the node back."""
        for decision in decisions:
            if isinstance(decision, Displaced):
                self.on_displaced(decision.thing, decision.epoch, decision.port)
            elif isinstance(decision, Moved):
                self.on_moved(decision.thing)
            else:
                self.on_node_gone(decision.name)

    async def run(self) -> None:
        """Keep the registry going, until cancelled. No failure of an engine ends it."""
        self.ready.set()
        await trio.sleep_forever()
