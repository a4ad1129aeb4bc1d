"""What a reader of configuration has to say to people, and the error that carries it.

Readers and checks never raise on bad input. They add to `Findings`, which knows no text but
where things stand in it; positions and excerpts are worked out once, at the end, when it is known
which parts of the text are secrets. One raise, at the very top, then shows everything at once.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

from edge_tunnel.config.source import Source
from edge_tunnel.errors import ConfigError

__all__ = ["ConfigFileError", "Finding", "Findings", "Severity"]

# A file of a megabyte can hold a hundred thousand mistakes. Nobody reads more than these, and the
# bound keeps the time for names and excerpts small. Per severity: warnings never crowd out errors.
_MOST = 50


class Severity(enum.Enum):
    """How bad it is. Errors alone keep a configuration from being used."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to know about one place of one file. Holds no secret, in no field."""

    severity: Severity

    key: str
    """The key path as in ``ws_servers[0].port``; empty when it is about the file as a whole."""

    message: str
    """What is wrong (or was done), without a full stop."""

    hint: str = ""
    """What to do about it; empty when there is nothing to do."""

    file: str = ""
    line: int = 0
    """From 1; 0 when the finding is about no place in the text."""

    column: int = 0
    """From 1, in characters; 0 as for `line`."""

    excerpt: str = ""
    """The line around the place, with secrets and unprintable characters masked."""

    caret: int = 0
    """Index in `excerpt` of the place."""

    unreadable: bool = False
    """The text itself could not be read (wrong syntax), as opposed to a wrong setting."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        parts = [part for part in (place, self.key, self.message) if part]
        return ": ".join(parts) + (f"; {self.hint}" if self.hint else "")


class ConfigFileError(ConfigError):
    """A file cannot be used. `findings` has every error of it (and the warnings and notes)."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__(findings)
        self.findings = findings

    def __str__(self) -> str:
        errors = [str(one) for one in self.findings if one.severity is Severity.ERROR]
        return "\n".join(errors)


@dataclass(frozen=True)
class _Place:
    severity: Severity
    offset: int | None
    key: str
    message: str
    hint: str
    unreadable: bool


class Findings:
    """Collects what is found in one text, in any order. Bounded."""

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._counts = dict.fromkeys(Severity, 0)
        self._hidden: list[tuple[int, int]] = []

    def hide(self, start: int, end: int) -> None:
        """Show this part of the text in no excerpt: it is, or may be, a secret."""
        self._hidden.append((start, end))

    def error(self, offset: int | None, key: str, message: str, hint: str = "") -> None:
        """A setting that cannot be used. `offset` is an index in the text, None for no place."""
        self._add(_Place(Severity.ERROR, offset, key, message, hint, unreadable=False))

    def syntax(self, offset: int | None, message: str, hint: str = "") -> None:
        """A place where the text cannot be read."""
        self._add(_Place(Severity.ERROR, offset, "", message, hint, unreadable=True))

    def warning(self, offset: int | None, key: str, message: str, hint: str = "") -> None:
        self._add(_Place(Severity.WARNING, offset, key, message, hint, unreadable=False))

    def note(self, offset: int | None, key: str, message: str, hint: str = "") -> None:
        self._add(_Place(Severity.NOTE, offset, key, message, hint, unreadable=False))

    def full(self, severity: Severity) -> bool:
        """No further one of this severity is kept: spare the work of finding words for it."""
        return self._counts[severity] >= _MOST

    @property
    def failed(self) -> bool:
        """There is an error."""
        return self._counts[Severity.ERROR] > 0

    def finish(self, source: Source) -> tuple[Finding, ...]:
        """Everything, in the order of the text, with places and masked excerpts."""
        source.hide(self._hidden)
        places = sorted(self._places, key=lambda one: -1 if one.offset is None else one.offset)
        return (*(_told(one, source) for one in places), *self._rest(source))

    def _add(self, place: _Place) -> None:
        if not self.full(place.severity):
            self._places.append(place)
        self._counts[place.severity] += 1

    def _rest(self, source: Source) -> tuple[Finding, ...]:
        return tuple(
            Finding(
                severity=severity,
                key="",
                message=f"{count - _MOST} more {severity.value}s are not shown",
                file=source.name,
            )
            for severity, count in self._counts.items()
            if count > _MOST
        )


def _told(place: _Place, source: Source) -> Finding:
    told = Finding(
        severity=place.severity,
        key=place.key,
        message=place.message,
        hint=place.hint,
        file=source.name,
        unreadable=place.unreadable,
    )
    if place.offset is None:
        return told
    line, column = source.position(place.offset)
    excerpt, caret = source.excerpt(place.offset)
    return dataclasses.replace(told, line=line, column=column, excerpt=excerpt, caret=caret)
