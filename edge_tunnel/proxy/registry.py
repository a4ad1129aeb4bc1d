"""Which port serves which thing.

The interface is the same for one node and for a cluster; this is the registry in the process, which
one node needs and nothing else. It is soft state: whatever it says, the epoch decides.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_tunnel.proxy.port import Port

__all__ = ["Registry"]


class Registry:
    """Binds of one node that is alone."""

    def __init__(self) -> None:
        self._things: dict[str, tuple[int, Port]] = {}
        self.on_displaced: Callable[[str, int, Port], None] = lambda _thing, _epoch, _port: None
        self.on_moved: Callable[[str], None] = lambda _thing: None
        self.on_node_gone: Callable[[str], None] = lambda _node: None

    def __len__(self) -> int:
        return len(self._things)

    def bind(self, thing: str, epoch: int, port: Port) -> tuple[bool, int, Port | None]:
        held = self._things.get(thing)
        if held == (epoch, port):
            return True, epoch, None
        if held is not None and held[0] >= epoch:
            return False, held[0], None
        self._things[thing] = (epoch, port)
        port.binds[thing] = epoch
        if held is None or held[1] is port:
            return True, epoch, None
        held[1].binds.pop(thing, None)
        return True, epoch, held[1]

    def unbind(self, thing: str, port: Port) -> bool:
        port.binds.pop(thing, None)
        held = self._things.get(thing)
        if held is None or held[1] is not port:
            return False
        del self._things[thing]
        return True

    def locate(self, thing: str) -> Port | None:
        held = self._things.get(thing)
        return None if held is None else held[1]

    def address(self, node: str) -> None:
        del node
