"""How an endpoint reaches its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_tunnel.errors import ConfigError
from edge_tunnel.protocol.keepalive import Rhythm

__all__ = ["EndpointSettings"]


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """How an endpoint reaches its nodes. Seconds."""

    urls: Sequence[str]
    """Candidates, in order; after the last comes the first."""

    key: str = field(repr=False)
    greeting_timeout: float = 10.0
    ping_interval: float = 5.0
    idle_ping_interval: float | None = None
    """Where no tunnel uses the link, and the node pings; None: as `ping_interval`."""

    ping_timeout: float = 10.0
    retry_interval: float = 10.0
    retries: int | None = None
    """Attempts in a row that may fail before the endpoint gives up; None: any number."""

    first_delay: float = 0.0
    """The first attempt waits a random part of this."""

    def __post_init__(self) -> None:
        if not self.urls:
            raise ConfigError("there is no node to connect to: give an address")

    @property
    def tight(self) -> Rhythm:
        """Of a link that a tunnel uses."""
        return Rhythm(self.ping_interval, self.ping_interval + self.ping_timeout)

    @property
    def resting(self) -> Rhythm:
        """Of a link that none uses."""
        interval = self.idle_ping_interval or self.ping_interval
        return Rhythm(interval, interval + self.ping_timeout)
