"""Tickets, which let one user in once, and the tokens that carry a session on after that.

A ticket is 256 random bits that live for seconds: the node keeps their hash, and whoever redeems it
takes it out of the store, so it works once in the whole cluster. A remote whose link breaks later
has nothing left to show; at its admission it is told a token, which names user, thing, service and
end of the session under the cluster's own HMAC. It is a ticket of this one session, for all nodes,
without a row in the store.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from typing import Final

__all__ = [
    "SESSION",
    "TICKET",
    "Ticket",
    "new_ticket",
    "place_of",
    "read_ticket",
    "seal",
    "ticket_row",
    "unseal",
]

TICKET: Final = "ett_"
SESSION: Final = "ets_"
"""How the two begin, so that one is never tried as the other."""

_DOMAIN: Final = b"edge-tunnel session 1\0"
"""What the HMAC is for: another use of the cluster's secret gets another word."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What a ticket, or the session that began with it, is good for."""

    id: str
    """For people and the audit; of no use to get in."""

    user: str
    thing: str
    service: str
    expires: float
    """Unix seconds: of the ticket, or of the session."""

    key_id: str = ""
    """The key of the user who made it for himself: when it goes, so does the session."""


def new_ticket(
    *, user: str, thing: str, service: str, expires: float, key_id: str = ""
) -> tuple[str, Ticket]:
    """The ticket itself, told once, and what is kept of it."""
    text = TICKET + secrets.token_urlsafe(32)
    ticket = Ticket(
        id=place_of(text)[:8],
        user=user,
        thing=thing,
        service=service,
        expires=expires,
        key_id=key_id,
    )
    return text, ticket


def place_of(text: str) -> str:
    """Where the store has it: under its hash, so that nobody reads a ticket there."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def ticket_row(ticket: Ticket) -> str:
    """As it is stored."""
    return json.dumps(asdict(ticket))


def read_ticket(row: str | bytes) -> Ticket | None:
    """Back from `ticket_row`. None: not what this program writes."""
    try:
        said = json.loads(row)
        ticket = Ticket(**said)
    except (ValueError, TypeError):
        return None
    texts = (ticket.id, ticket.user, ticket.thing, ticket.service, ticket.key_id)
    good = all(isinstance(text, str) for text in texts)
    return ticket if good and isinstance(ticket.expires, (int, float)) else None


def _mac(secret: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, _DOMAIN + payload, "sha256")


def seal(secret: bytes, session: Ticket) -> str:
    """The token of a session that ends at its `expires`."""
    payload = ticket_row(session).encode()
    return SESSION + base64.urlsafe_b64encode(_mac(secret, payload) + payload).decode()


def unseal(secret: bytes, token: str, now: float) -> Ticket | None:
    """What a token is good for; None if it is not ours, or over."""
    try:
        raw = base64.urlsafe_b64decode(token.removeprefix(SESSION).encode("ascii"))
    except ValueError:
        return None
    mac, payload = raw[:32], raw[32:]
    if not hmac.compare_digest(mac, _mac(secret, payload)):
        return None
    session = read_ticket(payload)
    return session if session is not None and now < session.expires else None
