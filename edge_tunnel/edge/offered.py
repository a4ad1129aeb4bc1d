"""Which services a device offers: its own list, or else what the policy names, on its loopback.

The device has the last word. A list of its own is all that there is; without one it takes those
services that the policy of its cluster names for the thing, if their host is the device itself. A
node can never make it dial another machine. A ThingWorx server names addresses, no services: the
same list, and without one the same loopback, decide.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from edge_tunnel.config.model import Service
from edge_tunnel.edge.services import ServiceTarget
from edge_tunnel.protocol.frames import Services

__all__ = ["Offered"]


class Offered:
    """The allow-list of one edge."""

    def __init__(
        self, listed: Mapping[str, ServiceTarget], own: Mapping[str, ServiceTarget]
    ) -> None:
        """`listed`: of the configuration; `own`: the application's."""
        self._own = dict(own)
        self._listed = {**listed, **own}
        self._named: dict[str, dict[str, ServiceTarget]] = {}  # thing -> by the policy

    def configure(self, listed: Mapping[str, ServiceTarget]) -> None:
        """The configuration has another list now."""
        self._listed = {**listed, **self._own}

    def policy(self, frame: Services) -> None:
        """What the policy names for a thing."""
        self._named[frame.thing] = {
            each.name: Service(name=each.name, host=each.host, port=each.port)
            for each in frame.services
            if each.port and _is_loopback(each.host)
        }

    def find(self, thing: str, service: str) -> ServiceTarget | None:
        """Where the service of this thing is, if it is offered."""
        return self._of(thing).get(service)

    def find_target(self, host: str, port: int) -> Service | None:
        """What a server means that has no names for services: one of the list, by its address.

        Without a list it is any port of this machine itself, as with a policy's.
        """
        if not self._listed:
            named = Service(name=f"{host}:{port}", host=host, port=port)
            return named if _is_loopback(host) else None
        wanted = (_plain(host), port)
        for each in self._listed.values():
            if isinstance(each, Service) and (_plain(each.host), each.port) == wanted:
                return each
        return None

    def names(self, thing: str) -> list[str]:
        """What is offered for this thing."""
        return sorted(self._of(thing))

    def _of(self, thing: str) -> Mapping[str, ServiceTarget]:
        return self._listed or self._named.get(thing, {})


def _plain(host: str) -> str:
    """Two spellings of one host are the same here; no name is looked up."""
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host.lower()


def _is_loopback(host: str) -> bool:
    """Whether the name can only mean this machine; another name may be resolved to anything."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
