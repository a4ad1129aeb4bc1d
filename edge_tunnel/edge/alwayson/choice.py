"""What an edge speaks: our own wire, AlwaysOn, or whichever its server does."""

from __future__ import annotations

from typing import Final

from edge_tunnel.config.model import EdgeConfig
from edge_tunnel.errors import ConfigError
from edge_tunnel.link.dialling import EITHER, OURS, PLAIN

__all__ = ["ALWAYSON", "spoken"]

ALWAYSON: Final = "alwayson"
"""The protocol in the event `linked`."""


def spoken(config: EdgeConfig) -> str:
    """What a server may speak: `EdgeConfig.protocol`, as far as the device's own terms allow.

    Raises:
      ConfigError: they do not allow it. Nothing of AlwaysOn is encrypted between the two ends.
    """
    if config.end_to_end_encryption == "require":
        if config.protocol == PLAIN:
            raise ConfigError(
                "AlwaysOn has no end-to-end encryption: edge_tunnel.protocol = alwayson and "
                "edge_tunnel.end_to_end_encryption = require exclude each other; change one"
            )
        return OURS
    return config.protocol if config.protocol in (OURS, PLAIN) else EITHER
