"""What a node gives to its ThingWorx devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from edge_tunnel.access.rights import PeerCertificate, ServiceOffer
from edge_tunnel.link.transport import Transport
from edge_tunnel.proxy.hop import Hops
from edge_tunnel.proxy.strangers import Stranger

__all__ = ["Host", "Talk"]


class Talk(Protocol):
    """`Node.talk`."""

    async def __call__(
        self,
        transport: Transport,
        stranger: Stranger | None = None,
        certificate: PeerCertificate | None = None,
        *,
        protocol: str = "",
    ) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Host:
    """What a node gives to its devices."""

    name: str
    secret: str
    handshake_timeout: float
    max_silence: float
    talk: Talk
    offers: Callable[[str], tuple[ServiceOffer, ...]]
    user_of: Callable[[bytes], str]
    """Whose tunnel it is, as far as this node knows."""

    draining: Callable[[], bool]
    """Whether the node is about to end."""

    nodes: Callable[[], Iterable[str]]
    """The names of the cluster's nodes."""

    hops: Hops | None
    """The way to them."""
