"""TOML through tomli, into the same positioned nodes as JSON.

tomli says what the values are, and where the first mistake is; `toml_places` finds where each
value stands in a text that tomli has accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import tomli

from edge_tunnel.config.findings import Findings
from edge_tunnel.config.nodes import (
    Array,
    Boolean,
    Date,
    Member,
    Node,
    Number,
    Object,
    String,
)
from edge_tunnel.config.toml_places import Path, Place, places, shape

__all__ = ["read_toml"]

_NO_NEED = "no configuration needs that"
_AT = re.compile(r"^(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


def read_toml(text: str, findings: Findings) -> Node | None:
    """The root table, or None after an error."""
    seen = shape(text)
    for start, end in seen.comments:  # people keep old keys and passwords in comments
        findings.hide(start, end)
    if seen.too_deep is not None:
        findings.syntax(seen.too_deep, "too much inside each other, or too many values", _NO_NEED)
        return None
    try:
        # Decimals keep the number as it was written: it may be milliseconds, or have a unit.
        root = tomli.loads(text.removeprefix("\ufeff"), parse_float=Decimal)
    except tomli.TOMLDecodeError as error:
        wrong = str(error)
    except (ValueError, RecursionError, ArithmeticError):
        wrong = "a value that is too long or too deep"
    else:
        found = places(text)
        return _node(root, (), found, Place(0, 0, 0))
    _say(wrong, text, findings)
    return None


def _say(wrong: str, text: str, findings: Findings) -> None:
    match = _AT.match(wrong)
    offset = len(text)
    if match is None:
        offset = 0
    elif match.group(2):
        offset = _offset(text, int(match.group(2)), int(match.group(3)))
    # tomli may quote a key of the file; a key is not a secret, but its message ends there.
    message = (match.group(1) if match else wrong).split("\n")[0][:120]
    message = message[:1].lower() + message[1:]
    hint = "a .toml file has lines such as port = 443; is this JSON? then name it .json"
    findings.syntax(offset, message, hint if text.lstrip()[:1] == "{" else "correct the TOML here")


def _offset(text: str, line: int, column: int) -> int:
    at = 0
    for _ in range(line - 1):
        at = text.find("\n", at) + 1
    return min(at + column - 1, len(text))


def _node(value: object, path: Path, found: dict[Path, Place], parent: Place) -> Node:
    place = found.get(path, parent)
    make = _MAKERS.get(type(value))
    if make is not None:
        return make(value, place)
    if isinstance(value, dict):
        members = (
            Member(key, found.get((*path, key), place).key, _node(one, (*path, key), found, place))
            for key, one in value.items()
        )
        return Object(place.start, place.end, tuple(members))
    if isinstance(value, list):
        items = (_node(one, (*path, i), found, place) for i, one in enumerate(value))
        return Array(place.start, place.end, tuple(items))
    return Date(place.start, place.end)


_MAKERS: dict[type, Callable[[object, Place], Node]] = {
    str: lambda value, at: String(at.start, at.end, str(value)),
    bool: lambda value, at: Boolean(at.start, at.end, bool(value)),
    int: lambda value, at: Number(at.start, at.end, str(value)),
    Decimal: lambda value, at: Number(at.start, at.end, str(value)),
}
