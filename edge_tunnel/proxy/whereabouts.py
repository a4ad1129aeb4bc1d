"""What a node asks of its registry, be it in the process or on a cluster's engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from edge_tunnel.proxy.directory import Claim, NodeInfo
from edge_tunnel.proxy.port import Port

__all__ = ["Whereabouts"]


class Whereabouts(Protocol):
    """Which port, or which other node, serves which thing.

    The callbacks are for what *other* nodes do; none is called from inside `bind` or `unbind`.
    """

    on_displaced: Callable[[str, int, Port], None]
    """``(thing, epoch, port)``: a higher epoch at another node took the thing from this port."""

    on_moved: Callable[[str], None]
    """``(thing)``: what `locate` says of it has changed. After `on_displaced`, if both are due."""

    on_node_gone: Callable[[str], None]
    """``(node)``: it left the cluster, or its lease is over."""

    on_renew: Callable[[NodeInfo], NodeInfo]
    """What to tell the others about this node, in place of what was told last. Called now and then,
    when it costs nothing to tell it."""

    on_looked: Callable[[str], None]
    """``(thing)``: what `look_up` began is over. After `on_moved`, if it found something."""

    @property
    def me(self) -> NodeInfo:
        """What the others were told about this node."""

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """All nodes of the cluster, this one among them."""

    def __len__(self) -> int: ...

    def bind(self, thing: str, epoch: int, port: Port) -> tuple[bool, int, Port | None]:
        """Bind, if no higher epoch holds the thing.

        Returns whether it holds now, the epoch that does, and the port that lost it to this one.
        """

    def unbind(self, thing: str, port: Port) -> bool:
        """Take a bind back; returns whether this port held it."""

    def locate(self, thing: str) -> Port | str | None:
        """The port that serves the thing; the name of the node that has it; None: nobody knows."""

    def look_up(self, thing: str) -> bool:
        """Ask the engine for a thing that `locate` does not know, for somebody who may reach it.

        Whether it is asked: `on_looked` is called later then. False: what `locate` says is all.
        """

    def things(self) -> Iterable[tuple[str, Claim]]:
        """Every thing of the cluster that can be reached, and who has it."""

    def describe(self, me: NodeInfo) -> None:
        """Tell the others about this node now."""

    def address(self, node: str) -> tuple[str, int] | None:
        """Where a node takes hops, host and port; None: there is no such node."""
