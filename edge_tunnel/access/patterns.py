"""Names against patterns: ``*``, ``?`` and ``[abc]``, in the case in which they are written."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

__all__ = ["MAX_NAME", "exactly", "is_plain", "matches", "name_problem"]

MAX_NAME = 256
"""Characters of a name or pattern; ThingWorx takes 100 for a thing's."""

_MAX_STARS = 8
"""Stars of one pattern: what a star may stand for is tried out, and stars multiply."""


_SIGNS: Final = frozenset("*?[")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits the whole name."""
    return any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    """Most patterns are plain names: of 10,000 devices each binds its own."""
    if is_plain(pattern):
        return name == pattern
    return _compiled(pattern)(name) is not None


@lru_cache(maxsize=20_000)  # `fnmatch`'s own cache is smaller than a policy, and then has no effect
def _compiled(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(fnmatch.translate(pattern)).match


def is_plain(pattern: str) -> bool:
    """Whether it fits one name alone, which is itself."""
    return _SIGNS.isdisjoint(pattern)


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
