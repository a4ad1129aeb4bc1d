"""What a link is about, said in the request for its WebSocket: a hint for whoever spreads links.

The endpoint names a thing: an edge the first one that it binds, a remote the one that it wants. So
a balancer, or the workers of one node, can bring together what belongs together. A hint decides
nothing else: who may do what is asked of the frames that follow, as if there were none.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

__all__ = ["HEADER", "hinted_thing", "with_hint"]

HEADER: Final = "Edge-Tunnel-Thing"
"""The thing's name, percent-encoded as UTF-8 (RFC 3986): a header is ASCII."""

_LONGEST: Final = 1024
"""Characters of the header's value. A longer name is not hinted at."""


def with_hint(thing: str) -> dict[str, str]:
    """The headers that name this thing; none if it is empty, or too long."""
    value = quote(thing, safe="")
    return {HEADER: value} if 0 < len(value) <= _LONGEST else {}


def hinted_thing(values: list[str]) -> str:
    """The thing that these values of the header name; empty: none, or nobody knows which."""
    if len(values) != 1 or len(values[0]) > _LONGEST:
        return ""
    return unquote(values[0], errors="replace")
