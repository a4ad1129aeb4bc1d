"""One event as one line, whatever peers say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.audit.chain import MAX_LINE
from edge_tunnel.audit.records import MAX_TEXT, Event, Kind, clean, fields_of
from tests.audit.logs import lines_of, verified

HOSTILE = [
    'x","kind":"stopped',
    'pump\n{"seq":99,"kind":"stopped"}',
    "pump\r\n<0>kernel panic",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe",
    "\ud800\udfff",
    "a\u2028b\u2029c\u0085d",
    "\x00",
    "x" * 100_000,
    "\U0001f600" * 5000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_field(text: str) -> None:
    """Line breaks, escapes, quotes, surrogates, huge names: one line of ASCII, and its fields."""
    event = Event(
        kind=Kind.TUNNEL_DENIED, who=text, via=text, thing=text, service=text, reason=text
    )
    (line,) = lines_of([event])
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert line[:-1].decode("ascii").isprintable()
    fields = json.loads(line)
    assert (fields["kind"], fields["seq"]) == ("tunnel_denied", 1)
    assert len(fields["thing"]) <= MAX_TEXT
    assert fields["thing"].isprintable()


def test_longest_line_fits() -> None:
    """Every text at its longest, escaped: below the bound of what a reader takes."""
    texts = ("who", "via", "role", "address", "thing", "service", "tunnel", "side", "reason")
    longest: dict[str, Any] = dict.fromkeys((*texts, "detail", "cut"), "\U0001f600" * 999)
    event = Event(kind=Kind.KEY_CHANGED, **longest)
    (line,) = lines_of([event])
    assert len(line) < MAX_LINE
    assert not verified(line).problems


@given(st.text(st.characters(), max_size=400))
def test_clean_text_is_harmless(text: str) -> None:
    """Any text, surrogates as well."""
    assert clean(text).isprintable()
    assert len(clean(text)) <= MAX_TEXT


def test_what_is_not_known_is_left_out() -> None:
    """Empty fields do not stand in the line; zero does."""
    event = Event(kind=Kind.TUNNEL_CLOSED, time=0.0419, code=0, seconds=1.23456)
    assert fields_of(event, "a") == {
        "time": "1970-01-01T00:00:00.041Z",
        "node": "a",
        "kind": "tunnel_closed",
        "code": 0,
        "seconds": 1.235,
    }
