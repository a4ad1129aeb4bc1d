"""access/tickets.py: what lets one user in once, and what carries the session on."""

from __future__ import annotations

import base64

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tunnel.access.tickets import (
    SESSION,
    Ticket,
    new_ticket,
    place_of,
    read_ticket,
    seal,
    ticket_row,
    unseal,
)

TEXT = st.text(max_size=20)
TICKETS = st.builds(
    Ticket, id=TEXT, user=TEXT, thing=TEXT, service=TEXT, expires=st.floats(0, 100), key_id=TEXT
)


@settings(max_examples=40, deadline=None)
@given(TICKETS)
def test_rows_and_tokens_come_back(ticket: Ticket) -> None:
    """Both give what went in, a token as long as its session lasts."""
    assert read_ticket(ticket_row(ticket)) == ticket
    token = seal(b"secret", ticket)
    assert unseal(b"secret", token, ticket.expires - 1) == ticket
    assert unseal(b"secret", token, ticket.expires) is None


@settings(max_examples=40, deadline=None)
@given(TICKETS, st.data())
def test_a_changed_token_is_none(ticket: Ticket, data: st.DataObject) -> None:
    """Any other bit, another cluster's secret, or a row that was never sealed."""
    token = seal(b"secret", ticket)
    raw = bytearray(base64.urlsafe_b64decode(token.removeprefix(SESSION)))
    at = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[at // 8] ^= 1 << at % 8
    assert unseal(b"secret", SESSION + base64.urlsafe_b64encode(raw).decode(), -1) is None
    assert unseal(b"other", token, -1) is None


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=100))
def test_any_text_is_answered(text: str) -> None:
    """Hostile tokens and rows are none."""
    assert unseal(b"secret", SESSION + text, 0) is None
    assert unseal(b"secret", SESSION + base64.b64encode(text.encode()).decode(), 0) is None
    assert read_ticket(text) is None


def test_a_ticket_is_kept_as_its_hash() -> None:
    """Whoever reads the store cannot use what he finds there."""
    text, ticket = new_ticket(user="anna", thing="t", service="s", expires=1.0)
    other, _ = new_ticket(user="anna", thing="t", service="s", expires=1.0)
    assert text != other and len(text) == len("ett_") + 43
    assert text not in ticket_row(ticket) + place_of(text) + repr(ticket)
    assert place_of(text).startswith(ticket.id)
