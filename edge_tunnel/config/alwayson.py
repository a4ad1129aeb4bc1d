"""The group ``[alwayson]`` of proxy.toml: ThingWorx devices, as they are.

::

    [alwayson]
    enabled = true
    services = ["ssh=127.0.0.1:22"]   # of every such device, beside those of the policy
    silence = 90                      # seconds without anything from a device
    open_timeout = 15                 # seconds that a device has to open a tunnel
    max_streams = 1000                # at once, of all such devices of this node
    max_streams_per_thing = 64        # of them, of one thing
    notify = true                     # NotifyPropertyUpdate after a bind, as the platform says it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_tunnel.config import scalars
from edge_tunnel.config.findings import Findings
from edge_tunnel.config.kinds import Duration, Flag, ListOf, Text, Whole
from edge_tunnel.config.model import Service
from edge_tunnel.config.nodes import Node
from edge_tunnel.config.rules import Group, Rule
from edge_tunnel.config.scalars import Say, Unfit, shortened

__all__ = [
    "ALWAYSON_GROUP",
    "ALWAYSON_RULES",
    "AlwaysOnSettings",
    "alwayson_settings",
    "check_alwayson",
    "read_service",
]


@dataclass(frozen=True, kw_only=True)
class AlwaysOnSettings:
    """How a node treats ThingWorx devices. Seconds."""

    services: tuple[Service, ...] = ()
    """Of every such device, beside those that the policy names for it (which count before)."""

    silence: float = 90.0
    """Without anything from a device its main socket is over. C devices ping every 55 s, Java
    devices after 45 s; the platform's own default is 60."""

    open_timeout: float = 15.0
    """From asking a device for a tunnel to its socket. Its quick "success" means nothing, and a
    Java device whose target refuses never says any more."""

    max_streams: int = 1000
    """Tunnel sockets at once, of all devices of the node: a Connection Server has 50."""

    max_streams_per_thing: int = 64
    """Of them, of one thing. A C device serves all of its tunnels in one thread, and an EMS takes
    no more than four."""

    notify: bool = True
    """Whether to send NotifyPropertyUpdate after a bind, as the platform does: some applications
    start their own work only then."""


def read_service(text: str) -> Service | None:
    """Of ``ssh=127.0.0.1:22``; None: it is not written like that."""
    name, equals, address = text.partition("=")
    host, colon, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    host = host.removeprefix("[").removesuffix("]")
    good = name and equals and host and colon and 0 < number < 65_536
    fits = name.isprintable() and len(name) <= 256 and host.isprintable() and len(host) <= 255
    return Service(name=name, host=host, port=number) if good and fits else None


@dataclass(frozen=True)
class _Service(Text):
    def read(self, node: Node, warn: Say) -> Any:
        written = scalars.visible_text(node, warn)
        service = read_service(written)
        if service is None:
            hint = 'write it as in "ssh=127.0.0.1:22"'
            raise Unfit(f"{shortened(written)} is not a service with host and port", hint)
        return service


ALWAYSON_GROUP = Group(path="alwayson")
ALWAYSON_RULES = tuple(
    Rule(group="alwayson", key=key, kind=kind, target=f"alwayson.{key}")
    for key, kind in (
        ("enabled", Flag()),
        ("services", ListOf(_Service())),
        ("silence", Duration(scale=1, low=60, high=86_400)),
        ("open_timeout", Duration(scale=1, low=1, high=600)),
        ("max_streams", Whole(low=1, high=1_000_000)),
        ("max_streams_per_thing", Whole(low=1, high=4096)),
        ("notify", Flag()),
    )
)


def check_alwayson(values: Mapping[str, Any], findings: Findings) -> None:
    """A table that has no effect is a mistake, most likely."""
    if values and "enabled" not in values:
        hint = "write alwayson.enabled = true, or remove the table"
        findings.warning(None, "alwayson.enabled", "is missing: the table has no effect", hint)


def alwayson_settings(values: Mapping[str, Any]) -> AlwaysOnSettings | None:
    """None: no such device is taken."""
    given = {name: value for name, value in values.items() if name != "enabled"}
    return AlwaysOnSettings(**given) if values.get("enabled") else None
