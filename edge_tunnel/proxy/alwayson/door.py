"""Where a node hands over what is for its ThingWorx devices, and what they get of it.

The only module of this folder that knows a `Node`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from edge_tunnel.access.rights import PeerCertificate
from edge_tunnel.config.alwayson import AlwaysOnSettings
from edge_tunnel.link.keepalive import keep_alive, socket_of
from edge_tunnel.link.transport import Transport
from edge_tunnel.proxy.alwayson.front import AlwaysOn
from edge_tunnel.proxy.alwayson.host import Host
from edge_tunnel.proxy.alwayson.passing import PassedStream, hear_out
from edge_tunnel.proxy.alwayson.upgrade import read_upgrade
from edge_tunnel.proxy.alwayson.visitor import Visitor
from edge_tunnel.proxy.alwayson.websocket import acknowledging
from edge_tunnel.proxy.strangers import Stranger

if TYPE_CHECKING:
    from edge_tunnel.proxy.node import Node

__all__ = ["AlwaysOnDoor"]

_TURNS: Final = 100
_TURN: Final = 0.005
"""Seconds in which all other tasks have had a turn, and how many of them the end of a tunnel may
take to its remote's link: it goes no further than through this process."""


class AlwaysOnDoor:
    """One node's."""

    def __init__(self, node: Node, settings: AlwaysOnSettings) -> None:
        self._node = node
        self.front = AlwaysOn(
            Host(
                name=node.settings.name,
                secret=node.settings.hops.key,
                handshake_timeout=node.settings.handshake_timeout,
                max_silence=node.settings.max_silence,
                talk=node.talk,
                offers=node.authority.offers,
                user_of=self._user_of,
                draining=lambda: node.draining,
                nodes=lambda: node.registry.nodes,
                hops=node.hops,
            ),
            settings,
        )
        if node.hops is not None:
            node.hops.on_passage = self._take_passage
        self.running = False

    async def run(self) -> None:
        """Where streams are served; it must run once."""
        self.running = True
        try:
            await self.front.run()
        finally:
            self.running = False

    def review(self) -> None:
        """Keys or policy have changed."""
        self.front.review()

    async def close(self) -> None:
        """The node ends, and so do the streams. Remotes hear why before they hear goodbye."""
        tunnels = list(self.front.ends.tunnels)
        self.front.close()
        for _ in range(_TURNS):
            if any(self._node.routes.get(each) is not None for each in tunnels):
                await trio.sleep(_TURN)

    def is_for(self, head: bytes) -> bool:
        """Whether this request for a WebSocket is a device's."""
        return read_upgrade(head) is not None

    async def take(
        self,
        head: bytes,
        stream: trio.abc.Stream,
        stranger: Stranger,
        certificate: PeerCertificate | None,
    ) -> None:
        """Serve a device's connection, to its end; `stream` is closed then."""
        upgrade = read_upgrade(head)
        assert upgrade is not None
        if upgrade.tid is not None:
            keep_alive(stream)
        visitor = Visitor(
            stream=stream,
            head=head,
            peer=stranger.peer,
            stranger=stranger,
            certificate=certificate,
            quick_ack=acknowledging(socket_of(stream)),
        )
        await self.front.serve(upgrade, visitor)

    async def _take_passage(self, transport: Transport) -> None:
        """A tunnel socket that another node passes on. That node has counted it as a stranger."""
        passed = await hear_out(transport, self._node.settings.handshake_timeout)
        upgrade = None if passed is None else read_upgrade(passed[1])
        if passed is None or upgrade is None or upgrade.tid is None:
            return
        peer, head = passed
        visitor = Visitor(
            stream=PassedStream(transport),
            head=head,
            peer=peer,
            passed=True,
        )
        await self.front.serve(upgrade, visitor)

    def _user_of(self, tunnel: bytes) -> str:
        route = self._node.routes.get(tunnel)
        known = route is not None and route.permit is not None
        return route.permit.principal.name if known else "edge_tunnel"  # type: ignore[union-attr]
