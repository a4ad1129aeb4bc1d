"""47 messages that real devices sent, or took, as they were on the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["BINARY", "VECTORS", "Vector", "vector"]

_FILE: Final = Path(__file__).parent.parent / "vectors" / "alwayson.json"


class Vector(NamedTuple):
    """One message of a WebSocket."""

    name: str
    client: str
    opcode: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.name}, {self.client}"


VECTORS: Final = [
    Vector(each["name"], each["client"], each["ws_opcode"], bytes.fromhex(each["hex"]))
    for each in json.loads(_FILE.read_text(encoding="utf-8"))
]
BINARY: Final = [each for each in VECTORS if each.opcode == 2]


def vector(name: str, client: str = "C SDK 2.2.1") -> bytes:
    """The payload of this name."""
    (found,) = [each.data for each in VECTORS if (each.name, each.client) == (name, client)]
    return found
