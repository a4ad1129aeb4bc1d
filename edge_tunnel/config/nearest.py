"""The known name that a misspelt one is nearest to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

# difflib is quadratic in the length of a name; no known one is longer than half of this.
_LONGEST = 60


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar name, or None when nothing is similar."""
    if len(name) > _LONGEST:
        return None
    found = difflib.get_close_matches(name, known, n=1)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The same as a hint; empty when nothing is similar."""
    near = nearest(name, known)
    return f"did you mean {near}?" if near else ""
