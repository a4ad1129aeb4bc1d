"""Reading a tree of nodes strictly: what is not known, or of another type, is an error.

A node's own file may hold a word too much; the policy may not, because a misspelt limit would be no
limit at all. So there is no taking of strings for numbers here, and no spelling that nearly fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import TypeVar

from edge_tunnel.access.patterns import name_problem
from edge_tunnel.config.findings import Findings
from edge_tunnel.config.nearest import did_you_mean
from edge_tunnel.config.nodes import Array, Date, Node, Number, Object, String
from edge_tunnel.config.scalars import shortened
from edge_tunnel.config.source import printable

__all__ = ["Keys", "Reader"]

T = TypeVar("T")


class Reader:
    """Takes nodes apart; what is wrong goes to `findings`, and None comes back."""

    def __init__(self, text: str, findings: Findings) -> None:
        self._text = text
        self.findings = findings

    def wrong(self, node: Node, path: str, message: str, hint: str) -> None:
        """Report something about a node."""
        self.findings.error(node.start, path, message, hint)

    def group(self, node: Node, path: str) -> Keys | None:
        """A table."""
        if isinstance(node, Object):
            return Keys(self, node, path)
        self.wrong(node, path, f"must be a group of keys, not {node.what}", "see policy.toml")
        return None

    def groups(self, node: Node, path: str) -> Iterator[Keys]:
        """The tables of a list of tables."""
        if not isinstance(node, Array):
            self.wrong(node, path, f"must be a list, not {node.what}", f"write [[{path}]] above it")
            return
        for index, item in enumerate(node.items):
            keys = self.group(item, f"{path}[{index}]")
            if keys is not None:
                yield keys

    def text(self, node: Node, path: str) -> str | None:
        if not isinstance(node, String):
            self.wrong(node, path, f"must be a string, not {node.what}", "write it in quotes")
            return None
        return node.text

    def name(self, node: Node, path: str) -> str | None:
        """A name or a pattern."""
        text = self.text(node, path)
        problem = "" if text is None else name_problem(text)
        if problem:
            self.wrong(node, path, f"{shortened(text or '')} {problem}", "correct the name")
        return None if problem else text

    def number(
        self, node: Node, path: str, low: float, high: float, *, whole: bool = False
    ) -> float | None:
        if not isinstance(node, Number):
            self.wrong(node, path, f"must be a number, not {node.what}", "write digits only")
            return None
        value = Decimal(node.text)
        if not value.is_finite() or not low <= value <= high:
            message = f"{shortened(node.text)} is out of range: {low:g} to {high:g}"
            self.wrong(node, path, message, "correct the number")
            return None
        if whole and value != value.to_integral_value():
            self.wrong(node, path, "must be a whole number", "remove the fraction")
            return None
        return float(value)

    def time(self, node: Node, path: str) -> float | None:
        """A date (its first second, UTC) or a time with its zone; Unix seconds."""
        if isinstance(node, Date):
            written = self._text[node.start : node.end]
        else:
            written = node.text if isinstance(node, String) else ""
        try:
            when = datetime.fromisoformat(written.strip().upper().replace("Z", "+00:00"))
            if when.tzinfo is None and len(written.strip()) > len("2027-03-31"):
                message = "is a time without its zone"
                self.wrong(node, path, message, "add Z for UTC, or +02:00")
                return None
            return when.replace(tzinfo=when.tzinfo or timezone.utc).timestamp()
        except (ValueError, OverflowError):
            message = f"must be a date or a time, not {node.what}"
            self.wrong(node, path, message, "write it as in 2027-03-31T18:00:00Z")
            return None

    def items(
        self, node: Node, path: str, read: Callable[[Node, str], T | None]
    ) -> tuple[T, ...] | None:
        """A list, each element read in the same way; None if anything in it is wrong."""
        if not isinstance(node, Array):
            self.wrong(node, path, f"must be a list, not {node.what}", "put it in [ ]")
            return None
        found = [read(item, f"{path}[{index}]") for index, item in enumerate(node.items)]
        good = tuple(each for each in found if each is not None)
        return good if len(good) == len(found) else None


class Keys:
    """The keys of one table: take those that are known, then `finish`."""

    def __init__(self, reader: Reader, node: Object, path: str) -> None:
        self.node = node
        self.path = path
        self._reader = reader
        self._members = {member.key: member for member in node.members}
        self._known: set[str] = set()

    def __iter__(self) -> Iterator[tuple[str, Node, str]]:
        """All of them, where names are free: name, value, path."""
        for key, member in self._members.items():
            self._known.add(key)
            yield key, member.value, self._at(key)

    def take(self, key: str, read: Callable[[Node, str], T | None]) -> T | None:
        """The value of a key; None if it is not there, or wrong (which was reported)."""
        self._known.add(key)
        member = self._members.get(key)
        return None if member is None else read(member.value, self._at(key))

    def need(self, key: str, read: Callable[[Node, str], T | None]) -> T | None:
        """The same for a key that must be there."""
        if key not in self._members:
            hint = f"add {key}"
            self._reader.wrong(self.node, self.path, f"has no {key}", hint)
        return self.take(key, read)

    def finish(self) -> None:
        """What was not asked for is an error."""
        for key, member in self._members.items():
            if key not in self._known:
                hint = did_you_mean(key, self._known) or "remove it, or correct its name"
                self._reader.findings.error(member.start, self._at(key), "unknown key", hint)

    def _at(self, key: str) -> str:
        key = printable(key)[:60]
        return f"{self.path}.{key}" if self.path else key
