"""Where each effective setting came from."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["DEFAULT", "Origin", "OriginKind"]


class OriginKind(enum.Enum):
    FILE = "file"
    DEFAULT = "default"
    ENVIRONMENT = "environment"
    CREDENTIALS = "credentials"
    SECRET_FILE = "secret file"  # noqa: S105 - a word for people


@dataclass(frozen=True)
class Origin:
    """`place` is ``config.json:12``, a variable's name, or a path; `text` is as written there,
    for a secret's file."""

    kind: OriginKind
    place: str = ""
    text: str = ""

    def __str__(self) -> str:
        if self.kind in (OriginKind.DEFAULT, OriginKind.FILE):
            return self.place or self.kind.value
        return f"{self.kind.value} {self.place}"


DEFAULT = Origin(OriginKind.DEFAULT)
