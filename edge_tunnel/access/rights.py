"""The words between a node, which asks, and an `Authority`, which decides.

A node asks at four moments, each time anew: when an endpoint greets (`admit`), when an edge binds
a thing (`may_bind`), when a remote attaches a tunnel, the first time and at each resume (`judge`),
and after every change of keys or policy for all that lives already (`still`, `judge`). For each
row of a list it asks whether the asker may know of it (`may_see`). What it routes on is what it
asks about: there is no second place that decides.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_tunnel.reasons import Reason

__all__ = [
    "Authority",
    "Credentials",
    "Denial",
    "DevelopmentKey",
    "Grant",
    "PeerCertificate",
    "Principal",
    "ServiceOffer",
]


@dataclass(frozen=True, kw_only=True)
class PeerCertificate:
    """What TLS has verified of the peer's certificate."""

    names: tuple[str, ...]
    """DNS names and URIs of the subject's alternative names; the common name if there are none."""

    fingerprint: str
    """SHA-256 over the DER, hex."""

    not_after: float
    """Unix seconds."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What an endpoint showed at its greeting."""

    role: str
    key: str = field(default="", repr=False)
    certificate: PeerCertificate | None = None
    address: str = ""
    """Where it comes from, for the audit: ``host:port``."""

    instance: bytes = field(default=b"", repr=False)
    """Random, one of each process (HELLO): who may show a ticket again. Nobody else is told it."""


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who an endpoint is, once it was admitted."""

    role: str
    """``edge`` or ``remote``; ``admin`` for a remote that may list all, and open nothing."""

    name: str
    """A user's name, or a device's."""

    shared: bool = False
    """Everybody has this name (development mode): what is counted is counted for each link."""

    via: str
    """What proved it, for the audit: ``key 1f3a9c20``, ``certificate``, ``ticket 77ab01fe``."""

    scope: tuple[str, str] | None = None
    """A ticket is for one thing and one service; None: whatever the policy says."""

    until: float | None = None
    """Unix seconds at which the key, certificate or session ends; None: no end."""

    session: str = field(default="", repr=False)
    """A token that a remote shows instead of its ticket when it links again; "": its key stays."""

    things: tuple[str, ...] = ()
    """Patterns of what an edge may bind."""

    key_id: str = ""
    """The key that stands behind it, also behind a ticket: when that goes, so does this."""

    fingerprint: str = ""
    """Of the certificate that proved it."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A yes, and how far it goes. None: no limit."""

    until: float | None = None
    """Unix seconds at which the right ends."""

    review: float | None = None
    """Unix seconds at which the answer may be another, at the latest `until`: judge again then.
    When one of several rules ends, the right may go on with the others' limits."""

    session: float | None = None
    """Seconds that a tunnel may live, over all its resumes."""

    idle: float | None = None
    """Seconds without a byte after which a tunnel ends."""

    max_tunnels: int | None = None
    """Tunnels of this principal at once, on this node."""

    max_streams: int | None = None
    """Streams of one tunnel at once."""

    fingerprint: str = ""
    """What the device's identity shows, if the policy says so; "": nothing is said."""

    tunnels_per_minute: float | None = None
    """Tunnels that this principal may open, on this node."""


@dataclass(frozen=True, kw_only=True)
class Denial:
    """A no, with what the peer and the audit are told."""

    reason: Reason
    text: str


@dataclass(frozen=True, kw_only=True)
class ServiceOffer:
    """A service that the policy names: for devices that have no list of their own."""

    name: str
    host: str
    port: int
    description: str = ""


class Authority(ABC):
    """Decides. All but `admit` answer at once, from memory."""

    on_change: Callable[[], None] = staticmethod(lambda: None)
    """Called after keys or policy have changed: judge all that lives again."""

    def why_not_ready(self) -> str | None:
        """Why it cannot decide about anything new at the moment; None: it can."""
        return None

    @abstractmethod
    async def admit(self, credentials: Credentials) -> Principal | Denial:
        """Who this is. May ask the store (a ticket lets one process in, in the whole cluster)."""

    @abstractmethod
    def still(self, principal: Principal) -> Denial | None:
        """Whether it would be admitted today: None, or why not (revoked, over)."""

    def ends(self, principal: Principal) -> float | None:
        """When `still` will say no, as things are now (Unix seconds); None: not foreseen."""
        return principal.until

    @abstractmethod
    def may_bind(self, principal: Principal, thing: str) -> Denial | None:
        """Whether this edge may serve this thing: None, or why not."""

    @abstractmethod
    def judge(self, principal: Principal, thing: str, service: str) -> Grant | Denial:
        """Whether this remote may use this service of this thing now, and how far."""

    @abstractmethod
    def may_see(self, principal: Principal, thing: str) -> bool:
        """Whether this remote may know that there is such a thing: lists show it no other.

        Asked for every thing of a cluster at each list, so it must be cheap.
        """

    def began(self, tunnel: bytes, now: float) -> float:  # noqa: ARG002
        """When a tunnel, which this node did not know, was opened, in Unix seconds.

        `now` where nobody has said anything else (see `remember`); never later than `now`.
        """
        return now

    def opened_by(self, tunnel: bytes) -> str | None:  # noqa: ARG002
        """Whose tunnel this is, as far as any node has said (see `remember`); None: nobody's."""
        return None

    def remember(self, tunnel: bytes, began: float, user: str, session: float) -> None:  # noqa: B027
        """All nodes are to know when (Unix seconds) a live tunnel began, whose session is limited.

        Said again and again as long as the tunnel lives; told to the others when `run` can.
        """

    async def run(self) -> None:  # noqa: B027
        """What has to be done beside the answers, until cancelled; each node runs it once."""

    def offers(self, thing: str) -> tuple[ServiceOffer, ...]:  # noqa: ARG002
        """The services that the policy names for this thing."""
        return ()


class DevelopmentKey(Authority):
    """Development mode: one key for all, and whoever has it may do everything."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    async def admit(self, credentials: Credentials) -> Principal | Denial:
        if hmac.compare_digest(credentials.key.encode(), self._key):
            role = credentials.role
            return Principal(role=role, name=role, shared=True, via="development key")
        return Denial(reason=Reason.NOT_AUTHORISED, text="the key is not accepted here")

    def still(self, principal: Principal) -> Denial | None:  # noqa: ARG002
        return None

    def may_bind(self, principal: Principal, thing: str) -> Denial | None:  # noqa: ARG002
        return None

    def judge(self, principal: Principal, thing: str, service: str) -> Grant | Denial:  # noqa: ARG002
        return Grant()

    def may_see(self, principal: Principal, thing: str) -> bool:  # noqa: ARG002
        return True
