"""Keys: what a device, a technician or an administrator shows, and what a node keeps of it.

A node keeps a salted SHA-256, no more. A slow hash (scrypt, argon2) is for what people make up, and
costs 50 ms or more each time: 10,000 devices that come back at once would wait for minutes, and a
stranger could keep a node busy with wrong keys. Our keys have 256 random bits, an application key
of ThingWorx (a UUID) has 122: nobody tries those out. Shorter ones are refused at their import.

A record is found by its id, the first digits of another hash of the key, so any string can be a
key. 12 digits, because with 8 of them one of a hundred fleets of 10,000 devices would have two keys
with one id. Whatever is wrong with a key, the same work is done and the same answer given.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from edge_tunnel.access.patterns import exactly, name_problem
from edge_tunnel.access.tickets import SESSION, TICKET
from edge_tunnel.errors import EdgeTunnelError

__all__ = [
    "MIN_IMPORTED",
    "ROLES",
    "BadKey",
    "KeyRecord",
    "alive",
    "find",
    "generate",
    "key_id",
    "read_row",
    "record_of",
    "replaced",
    "row_of",
]

ROLES: Final = ("edge", "remote", "admin")

MIN_IMPORTED: Final = 16
"""Characters. 16 random letters and digits have 95 bits."""

_MAX_KEY: Final = 1024
"""Characters, as much as HELLO carries."""

_ID_DIGITS: Final = 12


class BadKey(EdgeTunnelError):
    """A key or its record cannot be as it was asked for."""


@dataclass(frozen=True, kw_only=True)
class KeyRecord:
    """What is kept of a key. It does not give the key back."""

    id: str
    role: str
    """``edge``, ``remote`` or ``admin``."""

    name: str
    """A device's, a user's, or an administrator's."""

    things: tuple[str, ...] = ()
    """Patterns of what an edge may bind; empty for the other roles."""

    salt: str
    """Hex."""

    hash: str
    """SHA-256 over salt and key, hex."""

    created: float
    expires: float | None = None
    """Unix seconds, both. None: never."""

    comment: str = ""
    replaced_by: str = ""
    """The id of the key that takes its place; it ends at `expires`."""

    def shown(self) -> dict[str, Any]:
        """Without salt and hash."""
        told = asdict(self)
        return {name: told[name] for name in told if name not in ("salt", "hash")}


def generate() -> str:
    """A new random key."""
    return f"etk_{secrets.token_urlsafe(32)}"


def key_id(key: str) -> str:
    """Where its record is; says nothing of use about the key."""
    text = f"edge-tunnel key id{key}".encode(errors="surrogatepass")
    return hashlib.sha256(text).hexdigest()[:_ID_DIGITS]


def _hash(salt: str, key: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + key.encode(errors="surrogatepass")).hexdigest()


def record_of(
    key: str,
    *,
    role: str,
    name: str,
    created: float,
    things: tuple[str, ...] = (),
    expires: float | None = None,
    comment: str = "",
) -> KeyRecord:
    """A record for a key, generated or imported. An edge binds `things`, else its own name.

    Raises:
      BadKey: the key is too short, or a name cannot be one.
    """
    if not MIN_IMPORTED <= len(key) <= _MAX_KEY or not key.isprintable() or key.split() != [key]:
        raise BadKey(
            f"a key has {MIN_IMPORTED} to {_MAX_KEY} characters and no blanks; "
            "leave it out, and a good one is made"
        )
    if key.startswith((TICKET, SESSION)):
        raise BadKey(
            f"what begins with {TICKET} or {SESSION} is a ticket, or a session's, and no key"
        )
    if role not in ROLES:
        raise BadKey(f"a key's role is one of {', '.join(ROLES)}")
    if role != "edge" and things:
        raise BadKey("only the key of an edge is for things")
    for each in (name, *things):
        if problem := name_problem(each):
            raise BadKey(f"{each[:40]!r} {problem}")
    salt = secrets.token_hex(16)
    return KeyRecord(
        id=key_id(key),
        role=role,
        name=name,
        things=(things or (exactly(name),)) if role == "edge" else (),
        salt=salt,
        hash=_hash(salt, key),
        created=created,
        expires=expires,
        comment=comment,
    )


_NOBODY: Final = KeyRecord(
    id="", role="", name="", salt="00" * 16, hash="0" * 64, created=0, expires=0
)


def find(key: str, records: Callable[[str], KeyRecord | None], now: float) -> KeyRecord | None:
    """The record of a key, if the key is right and in force; `records` looks up an id."""
    record = records(key_id(key)) or _NOBODY
    fits = hmac.compare_digest(_hash(record.salt, key), record.hash)
    return record if fits and alive(record, now) else None


def alive(record: KeyRecord, now: float) -> bool:
    """Whether its time is not over."""
    return record.expires is None or now < record.expires


def replaced(record: KeyRecord, by: str, end: float) -> KeyRecord:
    """The record of a key that goes on until `end`, and never longer than it would have."""
    expires = end if record.expires is None else min(record.expires, end)
    return replace(record, expires=expires, replaced_by=by)


def row_of(record: KeyRecord) -> str:
    """As it is stored."""
    return json.dumps(asdict(record))


_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")

_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "created": (float, int),
    "expires": (float, int, type(None)),
    "things": (list,),
}


def read_row(text: str) -> KeyRecord | None:
    """Back from `row_of`. None: not a record that this program understands, so no key."""
    try:
        said = json.loads(text)
    except ValueError:
        return None
    names = {field.name for field in fields(KeyRecord)}
    if not isinstance(said, dict) or set(said) != names:
        return None
    if not all(isinstance(said[name], _KINDS.get(name, (str,))) for name in names):
        return None
    if not all(isinstance(each, str) for each in said["things"]):
        return None
    if not (_HEX.fullmatch(said["salt"]) and _HEX.fullmatch(said["hash"])):
        return None
    return KeyRecord(**{**said, "things": tuple(said["things"])})
