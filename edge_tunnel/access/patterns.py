"""Names against patterns: ``*``, ``?`` and ``[abc]``, in the case in which they are written."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from fnmatch import fnmatchcase

__all__ = ["MAX_NAME", "exactly", "matches", "name_problem"]

MAX_NAME = 256
"""Characters of a name or pattern; ThingWorx takes 100 for a thing's."""

_MAX_STARS = 8
"""Stars of one pattern: what a star may stand for is tried out, and stars multiply."""


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits the whole name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def exactly(name: str) -> str:
    """The pattern that fits this name and no other."""
    return glob.escape(name)


def name_problem(name: str) -> str:
    """What is wrong with a name or pattern; empty if nothing is."""
    if not name:
        return "is empty"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if not name.isprintable():
        return "holds a character that cannot be seen"
    if name != name.strip():
        return "begins or ends with a blank"
    if name.startswith("@"):
        return "begins with @, which is for groups of a policy"
    return "has too many stars" if name.count("*") > _MAX_STARS else ""
