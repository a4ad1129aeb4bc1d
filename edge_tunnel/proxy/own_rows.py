"""The rows of a list that a node knows from itself: what is bound here, what goes through here.

Made one by one, when a page needs them: a list of ten thousand is never made at once. What goes
away in between is left out. Also the rows about another node that is silent, as the cluster's map
has them.

Looking costs as well where nothing is found: who asks for one of a hundred thousand things, or may
see few of them. So there is a pause (None in place of a row) after each `LOOKS` names.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, TypeAlias

from edge_tunnel.protocol.frames import clip
from edge_tunnel.protocol.listing import List, NodeRow, Row, ThingRow, TunnelRow
from edge_tunnel.proxy.directory import NodeInfo
from edge_tunnel.proxy.ledger import Account, Ledger
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.route import Route
from edge_tunnel.proxy.routes import Routes
from edge_tunnel.proxy.whereabouts import Whereabouts

__all__ = ["LOOKS", "Fits", "OwnRows", "fits"]

LOOKS: Final = 1000
"""Names that are looked at without a pause: with a policy of a thousand patterns some 30 ms, mostly
much less."""

Fits: TypeAlias = Callable[[str], object]
"""Whether what has this name is asked for: a thing (of tunnels, too), or a node."""


def fits(pattern: str) -> Fits:
    """Of a glob; empty: all. One that is not a good one is a name."""
    if not pattern:
        return lambda _name: True
    try:
        return re.compile(fnmatch.translate(pattern)).match
    except re.error:  # as [z-a]
        return pattern.__eq__


class OwnRows:
    """Of one node."""

    def __init__(self, registry: Whereabouts, routes: Routes, ledger: Ledger) -> None:
        self._registry = registry
        self._routes = routes
        self._ledger = ledger

    def rows(self, what: int, wanted: Fits, me: Callable[[], NodeInfo]) -> Iterator[Row | None]:
        """Of this list. `me`: what there is to say of this node."""
        if what == List.THINGS:
            return self._things(wanted)
        if what == List.TUNNELS:
            return self._tunnels(wanted)
        return self._node(wanted, me)

    def rows_about(
        self, what: int, wanted: Fits, nodes: Mapping[str, NodeInfo], silent: Collection[str]
    ) -> Iterator[Row | None]:
        """What the cluster knows of nodes that do not answer. Of tunnels: nothing.

        `nodes`: as they were when they were asked; meanwhile a lease may be over.
        """
        if what == List.THINGS and silent:
            theirs = (each for each in list(self._registry.things()) if each[1].node in silent)
            for number, (thing, claim) in enumerate(theirs, 1):
                if wanted(thing):
                    yield ThingRow(thing, claim.node, claim.epoch, False, 0, "", (), 0, 0, 0, 0)
                if number % LOOKS == 0:
                    yield None
        elif what == List.NODES:
            for name in silent:
                if wanted(name):
                    yield _node_row(nodes[name], known=False)

    def _things(self, wanted: Fits) -> Iterator[ThingRow | None]:
        for number, thing in enumerate(list(self._ledger.things), 1):
            account = self._ledger.things.get(thing)
            if account is not None and wanted(thing):
                yield self._thing(thing, account)
            if number % LOOKS == 0:
                yield None

    def _thing(self, thing: str, account: Account) -> ThingRow:
        port = account.port
        routes = [each for each in self._routes.of_thing(thing) if each.edge is port]
        return ThingRow(
            thing,
            self._registry.me.name,
            account.epoch,
            True,
            int(account.since * 1000),
            clip(port.peer),
            account.services,
            len(routes),
            sum(len(each.streams) for each in routes),
            account.from_edge + sum(each.from_edge for each in routes),
            account.from_remote + sum(each.from_remote for each in routes),
            account.fingerprint,
            port.protocol,
        )

    def _tunnels(self, wanted: Fits) -> Iterator[TunnelRow | None]:
        for number, route in enumerate(self._routes, 1):
            alive = self._routes.get(route.tunnel) is route
            if alive and route.opened and wanted(route.thing):
                yield self._tunnel(route)
            if number % LOOKS == 0:
                yield None

    def _tunnel(self, route: Route) -> TunnelRow:
        return TunnelRow(
            route.tunnel,
            route.epoch,
            route.thing,
            route.service,
            int(route.since * 1000),
            *self._end(route.edge),
            *self._end(route.remote),
            len(route.streams),
            route.from_edge,
            route.from_remote,
        )

    def _end(self, port: Port | None) -> tuple[str, str]:
        """Node and address of a tunnel's end."""
        if port is None:
            return "", ""
        return (port.peer, "") if port.is_hop else (self._registry.me.name, clip(port.peer))

    def _node(self, wanted: Fits, me: Callable[[], NodeInfo]) -> Iterator[NodeRow]:
        if wanted(self._registry.me.name):
            row = _node_row(me(), known=True)
            live = sum(each.from_edge + each.from_remote for each in self._routes)
            yield row._replace(things=len(self._ledger.things), passed=self._ledger.passed + live)


def _node_row(info: NodeInfo, *, known: bool) -> NodeRow:
    software = f"edge_tunnel/{info.version}" if info.version else ""
    return NodeRow(
        info.name,
        known,
        clip(info.address),
        clip(software),
        max(0, int(info.started * 1000)),
        info.draining,
        info.links,
        info.tunnels,
        0,
        0,
    )
