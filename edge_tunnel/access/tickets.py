"""Tickets, which let one user in once, and the tokens that carry a session on after that.

A ticket is 256 random bits that live for seconds: the node keeps their hash, and whoever redeems it
puts a `Used` in its place, so it lets one process in, in the whole cluster. That process may show
it again until it ends, and has the same session: a link may break between greeting and grant, or
the node may have no place just then. A remote whose link breaks later has nothing left to show; it
is told a token, which names user, thing, service and end of the session under the cluster's own
HMAC. It is a ticket of this one session, for all nodes, without a row in the store.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from typing import Any, Final

__all__ = [
    "SESSION",
    "TICKET",
    "Ticket",
    "Used",
    "new_ticket",
    "place_of",
    "read_ticket",
    "read_used",
    "seal",
    "ticket_row",
    "unseal",
    "used_row",
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


@dataclass(frozen=True, kw_only=True)
class Used:
    """A ticket that was redeemed."""

    by: str
    """SHA-256, hex, of the `instance` in the HELLO of who did it: of one process."""

    session: Ticket
    expires: float
    """Unix seconds: of the ticket."""

    def is_by(self, instance: bytes) -> bool:
        """Whether this process did it. One that has no instance never did."""
        return bool(instance) and hmac.compare_digest(self.by, _hash(instance))


def _hash(instance: bytes) -> str:
    return hashlib.sha256(instance).hexdigest()


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


def used_row(instance: bytes, session: Ticket, expires: float) -> str:
    """What takes a ticket's place when it is redeemed; `expires` is the ticket's."""
    return json.dumps(asdict(Used(by=_hash(instance), session=session, expires=expires)))


def read_ticket(row: str | bytes) -> Ticket | None:
    """Back from `ticket_row`. None: not what this program writes."""
    try:
        return _ticket(json.loads(row))
    except (ValueError, TypeError):
        return None


def read_used(row: str) -> Used | None:
    """Back from `used_row`. None: not what this program writes."""
    try:
        said = json.loads(row)
        used = Used(by=said["by"], session=_ticket(said["session"]), expires=said["expires"])
    except (ValueError, TypeError, KeyError):
        return None
    good = isinstance(used.by, str) and used.by.isascii()
    return used if good and isinstance(used.expires, (int, float)) else None


def _ticket(said: Any) -> Ticket:
    """Raises TypeError."""
    ticket = Ticket(**said)
    texts = (ticket.id, ticket.user, ticket.thing, ticket.service, ticket.key_id)
    good = all(isinstance(text, str) for text in texts)
    if not good or not isinstance(ticket.expires, (int, float)):
        raise TypeError("not a ticket")
    return ticket


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
