"""Which port, or which other node, serves which thing.

The interface is the same for one node and for a cluster (`cluster.ClusterRegistry`); this is the
registry in the process, which one node needs and nothing else. It is soft state: whatever it says,
the epoch decides.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from edge_tunnel.proxy.directory import Decision, Directory, NodeInfo

__all__ = ["Registry", "Tell"]

Tell = Callable[[Decision], None]
"""Is told what the node has to do; must not wait."""


class Registry(Directory):
    """Binds of one node that is alone."""

    def __init__(self, me: NodeInfo | None = None) -> None:
        """`me`: what this node tells the others about itself."""
        self.me = me or NodeInfo("node")
        super().__init__(self.me.name)
        self.nodes[self.name] = self.me
        self.ready = trio.Event()
        """Set when the map is known and the others know this node."""

    @property
    def claiming(self) -> bool:
        """Whether the cluster can rely on what this node says that it holds."""
        return True

    def describe(self, me: NodeInfo) -> None:
        """Tell the others something new about this node (the name stays)."""
        self.me = self.nodes[self.name] = me._replace(name=self.name)

    async def run(self, tell: Tell) -> None:  # noqa: ARG002 - alone, nothing is decided elsewhere
        """Keep the registry going, until cancelled. Raises nothing."""
        self.ready.set()
        await trio.sleep_forever()
