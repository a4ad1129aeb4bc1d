"""Which software a node takes: what its file demands, and how versions compare.

Versions are PEP 440's, compared by `packaging`: 0.10 is above 0.9, and 1.0rc1 below 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from packaging.version import InvalidVersion, Version

__all__ = ["Demand", "Demands", "is_older", "is_version"]


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Of one kind of peer; versions as in ``0.1.0``."""

    minimum: str = "0.1.0"
    """What is older is refused."""

    recommended: str = ""
    """What is older is taken, and its user is told; empty: nobody is."""


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What a node asks of the software at the other end."""

    edge: Demand = field(default_factory=Demand)
    remote: Demand = field(default_factory=Demand)
    node: Demand = field(default_factory=Demand)


def is_version(text: str) -> bool:
    """Whether this is a version that can be compared."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def is_older(given: str, wanted: str) -> bool:
    """Whether a version is below another one. One that is none is older than all that are."""
    return not is_version(given) or Version(given) < Version(wanted)
