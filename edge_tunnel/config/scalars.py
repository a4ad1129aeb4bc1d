"""Single values out of nodes, with what people write instead: numbers and booleans in quotes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from edge_tunnel.config.nodes import Boolean, Node, Number, String

__all__ = ["Say", "Unfit", "flag", "number", "shortened", "text", "visible_text"]

Say = Callable[[str, str], None]
"""Takes what is odd about a value that is used all the same, and what to do about it."""

# Longer than any number that a setting can be; converting more digits takes quadratic time.
_MOST_DIGITS = 40


class Unfit(Exception):
    """A value that cannot be used: what was wanted, and what to do. Never holds a secret.

    It never leaves this room: the walker makes a finding of it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint


def flag(node: Node, warn: Say) -> bool:
    """True or false; also as a string or as 0 and 1, with a warning."""
    if isinstance(node, Boolean):
        return node.value
    written = node.text.strip().lower() if isinstance(node, (String, Number)) else ""
    values = {"true": True, "false": False, "1": True, "0": False}
    if written not in values:
        raise Unfit(f"must be true or false, not {node.what}", "write it without quotes")
    warn(f"{node.what} taken as {str(values[written]).lower()}", "write it without quotes")
    return values[written]


def number(node: Node, warn: Say) -> Decimal:
    """Any finite number; also as a string, with a warning."""
    if isinstance(node, String):
        value = _decimal(node.text.strip())
        warn("a number written as a string", "remove the quotes")
        return value
    if isinstance(node, Number):
        return _decimal(node.text)
    raise Unfit(f"must be a number, not {node.what}", "write digits without quotes")


def _decimal(written: str) -> Decimal:
    try:
        value = Decimal(written) if len(written) <= _MOST_DIGITS and "_" not in written else None
    except ArithmeticError:
        value = None
    if value is None or not value.is_finite():
        raise Unfit("must be a number", "write digits without quotes")
    return value


def text(node: Node) -> str:
    """A string as it stands. Control characters have no place in any setting."""
    if not isinstance(node, String):
        raise Unfit(f"must be a string, not {node.what}", "write it in double quotes")
    for char in node.text:
        if ord(char) < 32 or char == "\x7f":
            raise Unfit(*_control(char))
    return node.text


def _control(char: str) -> tuple[str, str]:
    letter = {"\f": "f", "\b": "b", "\t": "t", "\n": "n", "\r": "r"}.get(char)
    if letter is None:
        return f"holds a control character (U+{ord(char):04X})", "remove it"
    names = {"f": "form feed", "b": "backspace", "t": "tab", "n": "line break", "r": "line break"}
    hint = f"in a Windows path write two backslashes: \\\\{letter}; or write a forward slash"
    return f"holds a {names[letter]}: \\{letter} in a string means that", hint


def visible_text(node: Node, warn: Say) -> str:
    """A string without blanks around it; they are removed with a warning."""
    raw = text(node)
    if raw != raw.strip():
        warn("blanks around the value are ignored", "remove them")
    return raw.strip()


def shortened(written: str) -> str:
    """For a message: quoted, and never long."""
    return repr(written if len(written) <= 40 else written[:37] + "...")
