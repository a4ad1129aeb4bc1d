"""What administrators and users do: make keys and tickets, push and take back policies.

Each action is one commit to the store, so it happens whole or not at all, and two people who act at
once are told of each other. Who may call which of these is decided in one place, by the caller
(`proxy.api`); only for tickets it depends on what is asked for, and is decided here.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge_tunnel.access.authority import PolicyAuthority
from edge_tunnel.access.keys import (
    BadKey,
    KeyRecord,
    alive,
    generate,
    record_of,
    replaced,
    row_of,
)
from edge_tunnel.access.patterns import name_problem
from edge_tunnel.access.policy import Policy
from edge_tunnel.access.policy_diff import differences
from edge_tunnel.access.readings import read_aside
from edge_tunnel.access.rights import Denial, Principal
from edge_tunnel.access.state import (
    HEAD,
    SECRET,
    PushedPolicy,
    key_row,
    ticket_key,
    version_row,
)
from edge_tunnel.access.store import ANYTHING, Conflict, Write
from edge_tunnel.access.tickets import new_ticket, place_of, seal, ticket_row
from edge_tunnel.config.findings import ConfigFileError
from edge_tunnel.errors import EdgeTunnelError

__all__ = ["Administration", "NewKey", "NotAllowed", "NotThere", "Pushed"]

_HISTORY: Final = 50
"""Versions of the policy that are kept: with the largest texts 13 MB in each node."""

_MAX_LIFETIME: Final = 3600.0
"""Seconds that a ticket may be asked to live."""

_LONGEST_TOKEN: Final = 1024
"""Characters that HELLO carries as a key."""

_MAX_COMMENT: Final = 1000


class NotAllowed(EdgeTunnelError):
    """Whoever asks may not do this."""


class NotThere(EdgeTunnelError):
    """There is no such key or version."""


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """What is wanted of a key. Seconds."""

    role: str = ""
    name: str = ""
    things: tuple[str, ...] = ()
    lifetime: float | None = None
    comment: str = ""
    replaces: str = ""
    """The id of a key whose role, name and things it takes over."""

    overlap: float = 86_400.0
    """For how long the replaced key goes on."""


@dataclass(frozen=True)
class Pushed:
    """What a push did."""

    version: int
    differences: tuple[str, ...]


class Administration:
    """Acts on the store of an authority."""

    def __init__(self, authority: PolicyAuthority) -> None:
        self._authority = authority
        self._state = authority.state
        self._store = authority.store
        self._audit = authority.audit

    async def prepare(self) -> bytes:
        """The cluster's secret; made, if no node has yet. Raises StoreAway."""
        while (found := await self._store.read(SECRET)) is None:
            with suppress(Conflict):  # another node was faster
                await self._store.commit(Write(SECRET, secrets.token_hex(32)))
        return bytes.fromhex(found)

    # -- keys

    def records(self) -> list[KeyRecord]:
        """All of them, by role and name."""
        return sorted(self._state.keys.values(), key=lambda one: (one.role, one.name, one.created))

    async def new_key(
        self, wish: NewKey, imported: str | None, actor: KeyRecord
    ) -> tuple[str, KeyRecord]:
        """A key, generated unless one is imported; its record. Tell it once.

        Raises BadKey, NotThere, Conflict, StoreAway.
        """
        now = self._authority.now()
        old = self._record(wish.replaces) if wish.replaces else None
        key = generate() if imported is None else imported
        if old is not None and (wish.role or wish.name or wish.things):
            raise BadKey("a key that replaces another has its role, name and things")
        record = record_of(
            key,
            role=wish.role if old is None else old.role,
            name=wish.name if old is None else old.name,
            things=wish.things if old is None else old.things,
            created=now,
            expires=None if wish.lifetime is None else now + wish.lifetime,
            comment=wish.comment[:_MAX_COMMENT],
        )
        writes = [Write(key_row(record.id), row_of(record))]
        if self._authority.record(record.id) is not None:
            raise Conflict(f"there is a key {record.id} already: revoke it first")
        if old is not None:
            ends = replaced(old, record.id, now + wish.overlap)
            writes.append(Write(key_row(old.id), row_of(ends), row_of(old)))
        await self._store.commit(*writes)
        self._audit("key_new", by=actor.name, **_about(record), replaces=wish.replaces)
        return key, record

    def _record(self, wanted: str) -> KeyRecord:
        """By the whole id, or by a beginning that only one has."""
        found = [one for one in self._state.keys.values() if one.id.startswith(wanted) and wanted]
        if len(found) != 1:
            what = "there is no key" if not found else "there are several keys"
            raise NotThere(f"{what} {wanted[:20]!r}")
        return found[0]

    async def revoke_key(self, wanted: str, actor: KeyRecord) -> KeyRecord:
        """End a key, and all that lives by it, at once. Raises NotThere, Conflict, StoreAway."""
        record = self._record(wanted)
        await self._store.commit(Write(key_row(record.id), None, row_of(record)))
        self._audit("key_revoked", by=actor.name, **_about(record))
        return record

    # -- policy

    def policy(self, version: int | None = None) -> PushedPolicy | None:
        """A version, or the one in force; None: nothing was ever pushed. Raises NotThere."""
        wanted = self._state.version if version is None else version
        if wanted == 0 and version is None:
            return None
        if wanted not in self._state.history:
            raise NotThere(f"there is no version {wanted} of the policy")
        return self._state.history[wanted]

    def history(self) -> list[PushedPolicy]:
        """What is kept, newest first."""
        return sorted(self._state.history.values(), key=lambda one: -one.version)

    async def push(self, text: str, expected: int, comment: str, actor: KeyRecord) -> Pushed:
        """Put a policy in force.

        Raises ConfigFileError (what is wrong with it), Conflict (`expected` is not in force any
        more), StoreAway.
        """
        before = self._state.version
        if before != expected:
            raise Conflict(_somebody_was_faster(before, expected))
        found = await read_aside(text)
        if found.policy is None:
            raise ConfigFileError(found.findings)
        changes = differences(await self._policy_of(before), found.policy)
        pushed = PushedPolicy(
            version=before + 1,
            text=text,
            by=actor.name,
            at=self._authority.now(),
            comment=comment[:_MAX_COMMENT],
        )
        await self._write(pushed)
        self._audit(
            "policy_pushed",
            by=actor.name,
            version=pushed.version,
            comment=pushed.comment,
            changes=list(changes),
        )
        return Pushed(pushed.version, changes)

    async def _write(self, pushed: PushedPolicy) -> None:
        before = pushed.version - 1
        old = version_row(pushed.version - _HISTORY)
        try:
            await self._store.commit(
                Write(version_row(pushed.version), pushed.row()),
                Write(HEAD, str(pushed.version), str(before) if before else None),
                *([Write(old, None, ANYTHING)] if pushed.version > _HISTORY else []),
            )
        except Conflict:
            raise Conflict(_somebody_was_faster(pushed.version, before)) from None

    async def _policy_of(self, version: int) -> Policy:
        """What a version says, as far as it is understood here."""
        pushed = self._state.history.get(version)
        found = None if pushed is None else (await read_aside(pushed.text)).policy
        return Policy() if found is None else found

    async def rollback(self, version: int, expected: int, actor: KeyRecord) -> Pushed:
        """Push an old version again, as a new one. Raises as `push`, and NotThere."""
        old = self.policy(version)
        assert old is not None  # a version was asked for
        return await self.push(old.text, expected, f"rollback to {version}", actor)

    # -- tickets

    async def new_ticket(
        self, user: str, thing: str, service: str, lifetime: float | None, actor: KeyRecord
    ) -> tuple[str, float]:
        """A ticket and when it ends (Unix seconds): a remote's for himself, an administrator's for
        anybody who has the right.

        Raises NotAllowed, BadKey (a name), StoreAway.
        """
        now = self._authority.now()
        if actor.role == "remote" and user not in ("", actor.name):
            raise NotAllowed("a ticket for somebody else: only administrators make these")
        user = user or (actor.name if actor.role == "remote" else "")
        if not user:
            raise BadKey("whose ticket? An administrator names the user (--user)")
        for what, name in (("user", user), ("thing", thing), ("service", service)):
            if problem := name_problem(name):
                raise BadKey(f"the {what} {problem}")
        key = actor.id if actor.role == "remote" else ""
        verdict = self._authority.judge(
            Principal(role="remote", name=user, via="a ticket", key_id=key), thing, service
        )
        if isinstance(verdict, Denial):
            raise NotAllowed(verdict.text)
        seconds = min(lifetime or self._authority.settings.ticket_lifetime, _MAX_LIFETIME)
        text, ticket = new_ticket(
            user=user, thing=thing, service=service, expires=now + seconds, key_id=key
        )
        if len(seal(b"", ticket)) > _LONGEST_TOKEN:
            raise BadKey("user, thing and service are too long together for a ticket")
        row = Write(ticket_key(place_of(text)), ticket_row(ticket), ttl=seconds)
        await self._store.commit(row)
        self._audit(
            "ticket_new", by=actor.name, ticket=ticket.id, user=user, thing=thing, service=service
        )
        return text, ticket.expires

    # -- who acts

    def holder(self, key: str) -> KeyRecord | None:
        """Whose key this is, if it is in force."""
        return self._authority.holder(key)

    def why_not_ready(self) -> str | None:
        """Why keys and policy are not known yet; None: they are."""
        return self._store.why_not_ready

    def has_admin(self) -> bool:
        """Whether anybody could use this node's API as an administrator."""
        now = self._authority.now()
        mine = self._authority.settings.admin_key is not None
        return mine or any(one.role == "admin" and alive(one, now) for one in self.records())


def _somebody_was_faster(found: int, expected: int) -> str:
    return (
        f"the policy in force is version {found}, not {expected}: somebody pushed meanwhile; "
        "look at it (policy show), and push again"
    )


def _about(record: KeyRecord) -> dict[str, object]:
    return {
        "key": record.id,
        "role": record.role,
        "name": record.name,
        "things": list(record.things),
        "expires": record.expires,
    }
