"""What the rows of the store mean: keys, the policy and its history, the cluster's secret.

::

    keys/ID                  a key's record (see `keys`)
    policy/head              the number of the policy in force
    policy/versions/NUMBER   a policy as it was pushed, with who, when and why
    secret                   32 random bytes, hex, for session tokens and hops
    tickets/HASH             a ticket, for seconds (see `tickets`)
    sessions/TUNNEL          when a tunnel began, while it may live (see `sessions`)

A policy that this program does not understand changes nothing here but `trouble`: the last one that
it understood stays, for what lives already, and nothing new is decided.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from edge_tunnel.access.keys import KeyRecord, read_row
from edge_tunnel.access.policy import Policy
from edge_tunnel.access.policy_reader import read_policy
from edge_tunnel.access.readings import is_read
from edge_tunnel.access.store import TICKETS

__all__ = ["HEAD", "SECRET", "AccessState", "PushedPolicy", "key_row", "ticket_key", "version_row"]

HEAD: Final = "policy/head"
SECRET: Final = "secret"  # noqa: S105 - the name of a row
_KEYS: Final = "keys/"
_VERSIONS: Final = "policy/versions/"


def key_row(key_id: str) -> str:
    """Where a key's record is."""
    return _KEYS + key_id


def version_row(version: int) -> str:
    """Where a version of the policy is; in the order of numbers."""
    return f"{_VERSIONS}{version:010}"


def ticket_key(place: str) -> str:
    """Where a ticket is."""
    return TICKETS + place


@dataclass(frozen=True, kw_only=True)
class PushedPolicy:
    """One version, as it was pushed."""

    version: int
    text: str
    by: str
    at: float
    """Unix seconds."""

    comment: str = ""

    def row(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self))

    def shown(self) -> dict[str, Any]:
        """Without the text."""
        told = asdict(self)
        del told["text"]
        return told


def _pushed(row: str) -> PushedPolicy | None:
    try:
        found = PushedPolicy(**json.loads(row))
    except (ValueError, TypeError):
        return None
    return found if isinstance(found.text, str) and isinstance(found.version, int) else None


class AccessState:
    """The rows, understood."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyRecord] = {}
        """By id."""

        self.history: dict[int, PushedPolicy] = {}
        """By version."""

        self.version = 0
        """Of the policy in force in the cluster; 0: none was ever pushed."""

        self.policy = Policy()
        """The last one that was understood."""

        self.trouble: str | None = None
        """Why the policy in force is not understood; None: it is `policy`."""

        self.unread: str | None = None
        """The text in force, if it is still to be read: `take` then. None: it is."""

        self.secret = b""
        """Of the cluster; empty: not there yet."""

        self._seen: dict[str, str] = {}

    def update(self, rows: Mapping[str, str], *, patient: bool = False) -> bool:
        """Take over what the store has now; whether anything is different.

        `patient`: a policy that takes long to read is left `unread`, and the one before holds on.
        """
        changed = {key for key, value in rows.items() if self._seen.get(key) != value}
        changed |= self._seen.keys() - rows.keys()
        self._seen = dict(rows)
        for key in changed:
            self._read(key, rows.get(key))
        if changed & {HEAD, version_row(_number(rows.get(HEAD)))}:
            self.version = _number(rows.get(HEAD))
            pushed = self.history.get(self.version)
            later = patient and pushed is not None and not is_read(pushed.text)
            self.unread = pushed.text if later and pushed is not None else None
            if not later:
                self.take()
        return bool(changed)

    def _read(self, key: str, value: str | None) -> None:
        if key.startswith(_KEYS):
            name, record = key.removeprefix(_KEYS), None if value is None else read_row(value)
            self.keys.pop(name, None)
            if record is not None and record.id == name:
                self.keys[name] = record
        elif key.startswith(_VERSIONS):
            version, pushed = _number(key.removeprefix(_VERSIONS)), _pushed(value or "")
            self.history.pop(version, None)
            if pushed is not None and pushed.version == version:
                self.history[version] = pushed
        elif key == SECRET:
            self.secret = _bytes(value)

    def take(self) -> None:
        """Understand the policy in force, as far as this program can."""
        version, self.unread = self.version, None
        if version == 0:
            self.policy, self.trouble = Policy(), None
            return
        pushed = self.history.get(version)
        found = None if pushed is None else read_policy(pushed.text)
        if found is not None and found.policy is not None:
            self.policy, self.trouble = found.policy, None
        else:
            said = str(found.findings[0]) if found is not None else "its text is not there"
            self.trouble = f"policy {version} is not understood here: {said}"


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else 0


def _bytes(value: str | None) -> bytes:
    try:
        return bytes.fromhex(value or "")
    except ValueError:
        return b""
