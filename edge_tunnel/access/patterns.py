"""Names against patterns: ``*``, ``?`` and ``[abc]``, in the case in which they are written."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

__all__ = ["MAX_NAME", "Names", "exactly", "is_pattern", "matches", "name_problem"]

MAX_NAME = 256
"""Characters of a name or pattern; ThingWorx takes 100 for a thing's."""

_MAX_STARS = 8
"""Stars of one pattern: what a star may stand for is tried out, and stars multiply."""


_SIGNS: Final = frozenset("*?[")


def is_pattern(text: str) -> bool:
    """Whether it may fit more than one name."""
    return not _SIGNS.isdisjoint(text)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits the whole name."""
    return any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    """Most patterns are plain names: of 10,000 devices each binds its own."""
    if not is_pattern(pattern):
        return name == pattern
    return _compiled(pattern)(name) is not None


@lru_cache(maxsize=20_000)  # `fnmatch`'s own cache is smaller than a policy, and then has no effect
def _compiled(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(fnmatch.translate(pattern)).match


_WILD: Final = re.compile(r"\*|\?|\[!?\]?[^\]]*\]")
"""What stands for other characters. What only looks so, as ``[!]``, is left out as well: less is
known then, and nothing that is wrong."""


class Names:
    """All that fits one of many patterns, for who asks of thousands of names.

    A thousand patterns one by one, or as one expression, take milliseconds for each name. So a name
    is looked up by its parts: what fits ``*-17-*`` has ``-17-`` in it.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        every = frozenset(patterns)
        self._plain = frozenset(each for each in every if not is_pattern(each))
        # most are of the kind `pump-*`: a look into a set for each length of them
        begins = {each for each in every if each[-1:] == "*" and not is_pattern(each[:-1])}
        self._begins = frozenset(each[:-1] for each in begins)
        self._lengths = sorted({len(each) for each in self._begins})
        self._by_part = _by_part(every - self._plain - begins)
        self._part_lengths = sorted({len(each) for each in self._by_part})

    def __contains__(self, name: str) -> bool:
        if name in self._plain or any(name[:length] in self._begins for length in self._lengths):
            return True
        found = self._by_part
        return any(
            matches(name, found[part])
            for length in self._part_lengths
            for start in range(len(name) - length + 1)
            if (part := name[start : start + length]) in found
        )


def _by_part(patterns: Iterable[str]) -> Mapping[str, list[str]]:
    """Each pattern under a part of itself that every name has which fits it: of its parts the one
    that the fewest patterns have, and of these the longest. ``""`` for who has none."""
    parts = {each: set(filter(None, _WILD.split(each))) for each in patterns}
    common = Counter(part for several in parts.values() for part in several)
    found: dict[str, list[str]] = {}
    for pattern, several in parts.items():
        rarest = min(several, key=lambda part: (common[part], -len(part), part), default="")
        found.setdefault(rarest, []).append(pattern)
    return found


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
