"""How one value is read from a node, checked, shown to people and written as TOML.

A kind is the same for reading and writing, so that a setting survives the way out and back. EMS's
milliseconds become seconds here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from edge_tunnel.config import scalars
from edge_tunnel.config.nearest import did_you_mean
from edge_tunnel.config.nodes import Array, Node
from edge_tunnel.config.scalars import Say, Unfit, shortened
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.toml_text import quoted

__all__ = ["Anything", "Choice", "Duration", "Flag", "Hidden", "Kind", "ListOf", "Text", "Whole"]

DAY = 86_400


class Kind(Protocol):
    """What a `Rule` says about the form of its value."""

    def read(self, node: Node, warn: Say, /) -> Any:
        """The value for the model; raises `Unfit`."""

    def write(self, value: Any, /) -> str:
        """TOML for a value of the model."""

    def show(self, value: Any, /) -> str:
        """A value of the model for people, with its unit. Never a secret."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """True or false. `inverted` where EMS names the opposite (``disable_hostname_validation``)."""

    inverted: bool = False

    def read(self, node: Node, warn: Say) -> bool:
        return scalars.flag(node, warn) is not self.inverted

    def write(self, value: bool) -> str:
        return "true" if value is not self.inverted else "false"

    def show(self, value: bool) -> str:
        return self.write(value)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole number. `none_at` is the number that means "no limit"."""

    low: int = 0
    high: int = 2**31
    none_at: int | None = None
    unit: str = ""

    def read(self, node: Node, warn: Say) -> int | None:
        value = scalars.number(node, warn)
        if value == self.none_at:
            return None
        _check(value, Decimal(self.low), Decimal(self.high), self.unit)
        if value != value.to_integral_value():
            raise Unfit("must be a whole number", "remove the fraction")
        return int(value)

    def write(self, value: int | None) -> str:
        return str(self.none_at if value is None else value)

    def show(self, value: int | None) -> str:
        return "no limit" if value is None else f"{value} {self.unit}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Seconds in the model; `scale` of them in the file: 1000 for EMS. Bounds are seconds."""

    low: float = 0.0
    high: float = DAY
    scale: int = 1000
    none_at: int | None = None

    def read(self, node: Node, warn: Say) -> float | None:
        value = scalars.number(node, warn)
        if value == self.none_at:
            return None
        low, high = self._in_file(self.low), self._in_file(self.high)
        unit = "ms" if self.scale == 1000 else "s"
        meant = value * 1000 if unit == "ms" else value / 1000
        _check(value, low, high, unit, meant if low <= meant <= high else None)
        return float(value / self.scale)

    def write(self, value: float | None) -> str:
        if value is None:
            return str(self.none_at)
        return f"{self._in_file(value):f}"

    def _in_file(self, seconds: float) -> Decimal:
        return (Decimal(repr(seconds)) * self.scale).normalize()

    def show(self, value: float | None) -> str:
        return "never" if value is None else f"{value:g} s"


@dataclass(frozen=True)
class Text:
    """Any string, as it stands."""

    def read(self, node: Node, _warn: Say) -> str:
        return scalars.text(node)

    def write(self, value: str) -> str:
        return quoted(value)

    def show(self, value: str) -> str:
        return value


@dataclass(frozen=True)
class Hidden:
    """A secret: what is wrong with one is said without it."""

    def read(self, node: Node, _warn: Say) -> Secret:
        return Secret(scalars.text(node))

    def write(self, value: Secret) -> str:
        return quoted(value.reveal())

    def show(self, _value: Secret) -> str:
        return "***"


@dataclass(frozen=True)
class Choice:
    """One of a few words, in any case. The first word for a value is the one that is written."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def read(self, node: Node, warn: Say) -> Any:
        written = scalars.visible_text(node, warn)
        known = {name.lower(): value for name, value in self.values.items()}
        if written.lower() not in known:
            words = ", ".join(self.values)
            near = did_you_mean(written.lower(), known)
            raise Unfit(f"{shortened(written)} is not one of {words}", near or "write one of these")
        return known[written.lower()]

    def write(self, value: Any) -> str:
        return quoted(next(name for name, one in self.values.items() if one == value))

    def show(self, value: Any) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class ListOf:
    """A list, each element of one kind. A value alone is taken for a list of one."""

    kind: Kind

    def read(self, node: Node, warn: Say) -> tuple[Any, ...]:
        items = node.items if isinstance(node, Array) else (node,)
        return tuple(self.kind.read(item, warn) for item in items)

    def write(self, value: tuple[Any, ...]) -> str:
        if len(value) == 1:
            return self.kind.write(value[0])
        return "[" + ", ".join(self.kind.write(one) for one in value) + "]"

    def show(self, value: tuple[Any, ...]) -> str:
        return ", ".join(self.kind.show(one) for one in value)


@dataclass(frozen=True)
class Anything:
    """Of no interest here, whatever it is."""

    def read(self, _node: Node, _warn: Say) -> None:
        return None

    def write(self, _value: object) -> str:
        raise NotImplementedError("what is not read is not written")

    def show(self, _value: object) -> str:
        return ""


def _check(
    value: Decimal, low: Decimal, high: Decimal, unit: str, meant: Decimal | None = None
) -> None:
    if low <= value <= high:
        return
    hint = "correct the number"
    if meant is not None:
        hint = f"the unit is {unit}: did you mean {meant.normalize():f}?"
    raise Unfit(f"{value:.20g} is out of range: {low:f} to {high:f} {unit}".rstrip(), hint)
