"""Which parts of a text may be secrets, judged by the text alone.

A finding shows the line that it is about. In a file that could be read, the key table says which
values are secret; in a broken one nobody can say where a value begins or ends. So this errs on one
side: from a word that names a secret, all is hidden up to where the value *surely* ended, and that
is the end of the line unless what follows looks like well-formed JSON. A value on a later line,
or one that runs over several lines, is hidden too.

And in a broken file only what is familiar is shown at all: names of keys, the one value after a
name that is no secret, short numbers and punctuation. Anything else could be a secret whose name
was damaged, or is one that nobody knows.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping

from edge_tunnel.config.quotes import ALL_QUOTES, SMART_DOUBLE, SMART_SINGLE

__all__ = ["secret_spans", "unfamiliar_spans"]

# Exact names hide what follows in any case; hints of a name (a misspelt one) only where a key
# could stand, so that a host called "monkey" is not taken for one.
_NAME = re.compile(
    r"(?:app_?-?key|pass_?word|pass_?phrase|key_hash|dev_?-?key|secret|(?<!csrf_)token)\w*",
    re.IGNORECASE,
)
_HINT = re.compile(r"key|pas|pw|cred|hash", re.IGNORECASE)
# The doubled group makes the word atomic: a megabyte of one word is looked at once, not at each
# of its characters again.
_KEY_WORD = re.compile(
    rf"(?<!\w)(?=(\w+))\1(?=[{ALL_QUOTES} ]*[:=]|[{ALL_QUOTES}]\s*[{ALL_QUOTES}])"
)

# What a secret looks like wherever it stands: EMS's own encrypted form, and the UUID that
# ThingWorx makes for an application key.
_SECRET_LOOK = re.compile(
    r"AES:[\w+/=]+|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|://[^\s/@\"]+@",
    re.IGNORECASE,
)

# Real files have a dozen. Behind these all is hidden, which also bounds the time.
_MOST_NAMES = 2000

_BETWEEN = re.compile(rf"[{ALL_QUOTES}]?[ \t]*[:=]?\s*")
_CLEAN = re.compile(
    r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"(?=\s*(?:[}\]]|\Z|,\s*"[\w .-]{1,40}"\s*:))',
)
_PLAIN_QUOTED = re.compile(
    r'"""[\s\S]*?(?:"""|\Z)'
    r"|'''[\s\S]*?(?:'''|\Z)"
    r'|"[^"\\]*(?:\\[\s\S][^"\\]*)*(?:"|\Z)'
    r"|'[^']*(?:'|\Z)"
)
_SMART_QUOTED = re.compile(
    rf"[{SMART_DOUBLE}][^{SMART_DOUBLE}\"]*(?:[{SMART_DOUBLE}\"]|\Z)"
    rf"|[{SMART_SINGLE}][^{SMART_SINGLE}']*(?:[{SMART_SINGLE}']|\Z)"
)
_END_OF_LINE = re.compile(r"[^\n]*")


def secret_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of every part that may be a secret. Linear in the length of the text."""
    spans = [match.span() for match in _SECRET_LOOK.finditer(text)]
    at = 0
    for count, start in enumerate(heapq.merge(_names(text), _misspelt(text))):
        if count == _MOST_NAMES:
            spans.append((start, len(text)))
            break
        if start >= at:
            first, at = _value_after(text, start)
            spans.append((first, at))
    return sorted(spans)


def _names(text: str) -> Iterator[int]:
    """Where each name of a secret ends. What ends in ``_file`` is followed by a path."""
    return (m.end() for m in _NAME.finditer(text) if not m.group().lower().endswith("_file"))


def _misspelt(text: str) -> Iterator[int]:
    for match in _KEY_WORD.finditer(text):
        word = match.group().lower()
        if _HINT.search(word) and not word.endswith("_file"):
            yield match.end()


def _value_after(text: str, after_name: int) -> tuple[int, int]:
    between = _BETWEEN.match(text, after_name)
    start = between.end() if between else after_name
    clean = _CLEAN.match(text, start)
    if clean:
        return start + 1, clean.end() - 1
    end = _end_of_quoted(text, start)
    rest = _END_OF_LINE.match(text, end)
    return start, rest.end() if rest else end


def _end_of_quoted(text: str, start: int) -> int:
    match = _PLAIN_QUOTED.match(text, start) or _SMART_QUOTED.match(text, start)
    return match.end() if match else start


_PIECE = re.compile(rf"\"[^\"\n]*\"?|[^\s,:=;{{}}\[\]{ALL_QUOTES}]+|[,;\n{{}}\[\]]")
_HARMLESS = re.compile(r"true|false|null|-?[0-9]{1,5}|[\W_]*", re.IGNORECASE)


def unfamiliar_spans(
    text: str, start: int, end: int, familiar: Mapping[str, bool]
) -> Iterator[tuple[int, int]]:
    """What not to show of a part of one line in a broken file.

    `familiar` has all names of keys in lower case, and whether the value after each may be shown.
    """
    value_may_be_shown = False
    for match in _PIECE.finditer(text, start, end):
        piece = match.group()
        word = piece.strip('"').strip()
        name = word.lower().replace("-", "_")
        if piece in ",;\n{}[]":
            value_may_be_shown = False
        elif name in familiar:
            value_may_be_shown = familiar[name]
        elif _HARMLESS.fullmatch(word):
            continue
        elif not value_may_be_shown:
            yield match.span()
        else:
            value_may_be_shown = False
