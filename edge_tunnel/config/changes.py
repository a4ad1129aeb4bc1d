"""What differs between two configurations, and what that asks of a running edge."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from edge_tunnel.config.model import EdgeConfig

__all__ = ["Changes", "changes"]

_RECONNECT: Final = frozenset(
    {"servers", "app_key", "resource", "link", "tls", "http_proxy", "protocol"}
)


@dataclass(frozen=True)
class Changes:
    """The fields of `EdgeConfig` that are not the same, in the model's order."""

    fields: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields)

    @property
    def needs_reconnect(self) -> bool:
        """The link must be made anew; tunnels and their streams outlive that."""
        return not _RECONNECT.isdisjoint(self.fields)

    @property
    def needs_rebind(self) -> bool:
        """The names of the device changed: the same link can bind the new ones."""
        return "things" in self.fields


def changes(old: EdgeConfig, new: EdgeConfig) -> Changes:
    """Compare two configurations. Services, tunnel limits and the log level change at once."""
    names = (field.name for field in dataclasses.fields(EdgeConfig))
    return Changes(tuple(name for name in names if getattr(old, name) != getattr(new, name)))
