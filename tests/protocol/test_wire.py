"""WIRE.md says what the code does: kinds, fields, types, reasons and limits."""

from __future__ import annotations

import re
from pathlib import Path

import edge_tunnel.protocol
from edge_tunnel.protocol import spec
from edge_tunnel.protocol.attach import ATTACH_TIMEOUT
from edge_tunnel.protocol.frames import MAX_DATA, MAX_MESSAGE, MAX_STREAMS, MAX_TEXT, Kind
from edge_tunnel.protocol.greeting import NEWEST, SUBPROTOCOL
from edge_tunnel.protocol.listing import MAX_MISSING, MAX_OFFER, MAX_ROWS
from edge_tunnel.protocol.tunnel import _MAX_ANSWERS, CREDIT_DELAY, RESUME_TIMEOUT
from edge_tunnel.protocol.window import INITIAL_WINDOW, MAX_WINDOW
from edge_tunnel.proxy.gather import MAX_DUE, PATIENCE
from edge_tunnel.proxy.lists import _MAX_OPEN
from edge_tunnel.reasons import Reason

PAGE = (Path(edge_tunnel.protocol.__file__).parent / "WIRE.md").read_text(encoding="utf-8")
_TYPES: dict[spec.Check, str] = {
    spec._number: "number",
    spec._flag: "flag",
    spec._text: "text",
    spec.is_name: "name",
    spec._names: "names",
    spec._id: "id",
    spec._proof: "proof",
    spec._bulk: "bulk",
    spec._stream: "stream",
    spec._positions: "positions",
    spec._list: "list",
    spec._rows: "rows",
    spec._missing: "missing",
    spec._tag: "tag",
    spec._offer: "offer",
    spec._answer: "answer",
    spec._services: "services",
    spec._fingerprint: "fingerprint",
}


def rows(first: str) -> list[list[str]]:
    """The table whose head begins with that word."""
    table = PAGE.split(f"\n| {first} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def fields(kind: int) -> str:
    """The fields of a kind as the table has them; a name that is its type stands alone."""
    cls, checks = spec.SPEC[kind]
    cells = []
    lacking = cls._fields[len(checks) - spec.LACKING.get(cls, 0) :]
    for name, check in zip(cls._fields, checks, strict=True):
        if check is spec._tunnel_itself:
            cells.append("0")
        else:
            cell = name if name == _TYPES[check] else f"{name} {_TYPES[check]}"
            cells.append(f"({cell})" if name in lacking else cell)
    return ", ".join(cells)


def test_kinds_and_fields() -> None:
    """The table of frames is the code's."""
    page = {int(row[0]): (row[1], row[3]) for row in rows("kind")}
    assert page == {int(kind): (kind.name, fields(kind)) for kind in Kind}


def test_reasons() -> None:
    """The table of reasons is the enum."""
    assert [(int(code), name, text) for code, name, text in rows("code")] == [
        (reason.value, reason.name, reason.text) for reason in Reason
    ]


def test_an_unknown_reason() -> None:
    """A reason that a newer peer added can still be shown."""
    assert Reason.of(59) is Reason.INTERNAL_ERROR
    assert Reason.of(24) is Reason.RESUME_TIMEOUT


def test_numbers() -> None:
    """Limits and times on the page are the code's."""
    text = re.sub(r"\s+", " ", PAGE)
    for sentence in (
        f"At most {MAX_MESSAGE:,} bytes",
        f"1 to {MAX_DATA:,} bytes",
        f"at most {MAX_STREAMS:,}, stream ids ascending",
        f"0 to {MAX_TEXT:,} characters",
        f"{INITIAL_WINDOW:,} bytes at first, at most {MAX_WINDOW:,}",
        f"more than {_MAX_ANSWERS:,} answers",
        f"asks again after {ATTACH_TIMEOUT:g} s",
        f"resume timeout ({RESUME_TIMEOUT:g} s",
        f"and {CREDIT_DELAY:g} s after a smaller delivery",
        f"subprotocol `{SUBPROTOCOL}`",
        f"array of row | at most {MAX_ROWS};",
        f"at most {MAX_MISSING}: a node, and why",
        f"the first {MAX_OFFER}, in the order of their names",
        f"at most {MAX_DUE} may be due",
        f"{_MAX_OPEN['node']} for another node",
        f"does not answer within {PATIENCE:g} s",
        f"This is version {NEWEST}.",
    ):
        assert sentence in text, sentence
