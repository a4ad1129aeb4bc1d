"""The Authority that decides by keys, tickets, certificates and a policy, all in memory.

What is in the store is told to us by it (`Store.on_change`); only a ticket is asked for, because it
may be redeemed by one process in the cluster. Whatever is wrong with what somebody shows, he hears
the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import trio

from edge_tunnel.access.certificates import names_of
from edge_tunnel.access.decide import NOT_FOR_YOU, decide
from edge_tunnel.access.keys import KeyRecord, alive, find, record_of
from edge_tunnel.access.patterns import exactly, matches
from edge_tunnel.access.readings import read_aside
from edge_tunnel.access.rights import (
    Authority,
    Credentials,
    Denial,
    Grant,
    Principal,
    ServiceOffer,
)
from edge_tunnel.access.sessions import Sessions, Start
from edge_tunnel.access.sight import Sight
from edge_tunnel.access.state import AccessState, ticket_key
from edge_tunnel.access.store import Conflict, Store, StoreAway, Write
from edge_tunnel.access.tickets import (
    SESSION,
    TICKET,
    Ticket,
    place_of,
    read_ticket,
    read_used,
    seal,
    unseal,
    used_row,
)
from edge_tunnel.config.proxy_access import AccessSettings
from edge_tunnel.reasons import Reason

__all__ = ["Audit", "PolicyAuthority", "no_audit"]

Audit = Callable[..., None]
"""``audit(kind, **data)``: something that belongs into the audit log."""

_NOT_ACCEPTED: Final = Denial(
    reason=Reason.NOT_AUTHORISED, text="the key or ticket is not accepted here"
)
_OVER: Final = Denial(reason=Reason.NOT_AUTHORISED, text="this access is over, or was revoked")
_NOT_YOUR_THING: Final = Denial(
    reason=Reason.NOT_AUTHORISED, text="this key or certificate is not for a thing of this name"
)
_ONLY_LISTS: Final = Denial(
    reason=Reason.NOT_AUTHORISED,
    text="an administrator's key lists, and opens nothing: use a user's key",
)

_LINKED_AS: Final = frozenset({("edge", "edge"), ("remote", "remote"), ("admin", "remote")})
"""Roles of keys, and as what they may link. An administrator is no user, whatever his name is: his
principal has a role of its own, which no rule of a policy is about."""

_MAX_SIGHTS: Final = 1000
"""Users of whom it is kept what they may see; more of them cost time, not memory."""


def no_audit(kind: str, **data: Any) -> None:
    """For a node that keeps no audit log."""


class PolicyAuthority(Authority):
    """Decides for one node."""

    def __init__(
        self,
        store: Store,
        settings: AccessSettings,
        *,
        audit: Audit = no_audit,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Follows the store from now on. Raises BadKey: the administrator's key is too short."""
        self.store = store
        self.settings = settings
        self.audit = audit
        self.now = now
        self.state = AccessState()
        self.sessions = Sessions(store, now)
        self._sights: dict[str, Sight] = {}  # by user
        self._first = _first_admin(settings)
        self._reads = False  # `run` does; before that there is nothing that could be held up
        self._something_to_read = trio.Event()
        store.on_change = self._look
        self._look()

    def _look(self) -> None:
        if self.store.why_not_ready is not None:
            return
        if self.state.update(self.store.rows, patient=self._reads):
            self.on_change()
        if self.state.unread is not None:
            self._something_to_read.set()

    async def _read(self) -> None:
        """Read large policies as they come; the one before is in force until then."""
        while True:
            await self._something_to_read.wait()
            self._something_to_read = trio.Event()
            while (text := self.state.unread) is not None:
                await read_aside(text)
                if text == self.state.unread:
                    self.state.take()
                    self.on_change()

    def why_not_ready(self) -> str | None:
        return self.store.why_not_ready or self.state.trouble

    # -- who it is

    def record(self, key_id: str) -> KeyRecord | None:
        """The record of a key, in force or not."""
        if self._first is not None and key_id == self._first.id:
            return self._first
        return self.state.keys.get(key_id)

    def holder(self, key: str) -> KeyRecord | None:
        """Whose key this is, if it is in force: the only way into the API."""
        return find(key, self.record, self.now())

    async def admit(self, credentials: Credentials) -> Principal | Denial:
        unready = self.why_not_ready()
        if unready is not None:
            return Denial(reason=Reason.SHUTTING_DOWN, text=unready)
        key, role = credentials.key, credentials.role
        if key.startswith(TICKET):
            return await self._redeem(credentials) if role == "remote" else _NOT_ACCEPTED
        if key.startswith(SESSION):
            return self._resume(key) if role == "remote" else _NOT_ACCEPTED
        found = self._by_key(key, role) if key else self._by_certificate(credentials)
        return _NOT_ACCEPTED if found is None or self.still(found) is not None else found

    def _by_key(self, key: str, role: str) -> Principal | None:
        record = self.holder(key)
        if record is None or (record.role, role) not in _LINKED_AS:
            return None
        return Principal(
            role=record.role,
            name=record.name,
            via=f"key {record.id}",
            until=record.expires,
            things=record.things,
            key_id=record.id,
        )

    def _by_certificate(self, credentials: Credentials) -> Principal | None:
        certificate, role = credentials.certificate, credentials.role
        names = names_of(certificate.names, role, self.settings) if certificate else ()
        if certificate is None or not names:
            return None
        return Principal(
            role=role,
            name=names[0],
            via=f"certificate {certificate.fingerprint[:12]}",
            until=certificate.not_after,
            things=tuple(map(exactly, names)) if role == "edge" else (),
            fingerprint=certificate.fingerprint.lower(),
        )

    async def _redeem(self, shown: Credentials) -> Principal | Denial:
        key = ticket_key(place_of(shown.key))
        try:
            row = await self.store.read(key)
            try:
                return await self._use(key, row, shown.instance)
            except Conflict:  # somebody was faster: perhaps this very process, at another node
                return self._use_again(await self.store.read(key), shown.instance)
        except StoreAway as error:
            away = f"tickets cannot be redeemed at the moment: {error}"
            return Denial(reason=Reason.SHUTTING_DOWN, text=away)

    async def _use(self, key: str, row: str | None, instance: bytes) -> Principal | Denial:
        """Whatever comes of it, the ticket is used. Raises Conflict, StoreAway."""
        ticket = None if row is None else read_ticket(row)
        if row is None or ticket is None:
            return self._use_again(row, instance)
        left = ticket.expires - self.now()
        if left <= 0:
            return _NOT_ACCEPTED
        user = replace(_principal(ticket, ""), until=None)  # the session may outlive the ticket
        grant = self.judge(user, ticket.thing, ticket.service)
        if isinstance(grant, Denial):
            await self.store.commit(Write(key, None, row))
            self.audit("ticket_denied", ticket=ticket.id, user=ticket.user, reason=grant.text)
            return grant
        session = replace(ticket, expires=self._end_of(grant))
        used = used_row(instance, session, ticket.expires)
        await self.store.commit(Write(key, used, row, ttl=left))
        self.audit(
            "ticket_used",
            ticket=ticket.id,
            user=ticket.user,
            thing=ticket.thing,
            service=ticket.service,
            until=session.expires,
        )
        return _principal(session, seal(self.state.secret, session))

    def _use_again(self, row: str | None, instance: bytes) -> Principal | Denial:
        """The same session, for the process that it was given to; others: as if unknown."""
        used = None if row is None else read_used(row)
        if used is None or not used.is_by(instance) or self.now() >= used.expires:
            return _NOT_ACCEPTED
        principal = _principal(used.session, seal(self.state.secret, used.session))
        return self.still(principal) or principal

    def _end_of(self, grant: Grant) -> float:
        """When a session that begins now ends."""
        length = self.settings.session if grant.session is None else grant.session
        end = self.now() + length
        return end if grant.until is None else min(end, grant.until)

    def _resume(self, token: str) -> Principal | Denial:
        session = unseal(self.state.secret, token, self.now()) if self.state.secret else None
        if session is None:
            return _NOT_ACCEPTED
        principal = _principal(session, token)
        return self.still(principal) or principal

    # -- what it may

    def still(self, principal: Principal) -> Denial | None:
        now = self.now()
        if principal.until is not None and now >= principal.until:
            return _OVER
        if principal.fingerprint in self.state.policy.revoked_certificates:
            return _OVER
        if not principal.key_id:
            return None
        record = self.record(principal.key_id)
        good = record is not None and alive(record, now) and _is_of(record, principal)
        return None if good else _OVER

    def ends(self, principal: Principal) -> float | None:
        record = self.record(principal.key_id)
        ends = (principal.until, None if record is None else record.expires)
        return min((end for end in ends if end is not None), default=None)

    def may_bind(self, principal: Principal, thing: str) -> Denial | None:
        if principal.role == "edge" and matches(thing, principal.things):
            return self.still(principal)
        return _NOT_YOUR_THING

    def judge(self, principal: Principal, thing: str, service: str) -> Grant | Denial:
        unready = self.why_not_ready()
        if unready is not None:
            return Denial(reason=Reason.SHUTTING_DOWN, text=unready)
        if self.still(principal) is not None:
            return NOT_FOR_YOU
        if principal.role == "admin":
            return _ONLY_LISTS
        principal = replace(principal, until=self.ends(principal))
        return decide(self.state.policy, principal, thing, service, self.now())

    def began(self, tunnel: bytes, now: float) -> float:
        start = self.sessions.start(tunnel)
        return now if start is None else min(start.began, now)

    def opened_by(self, tunnel: bytes) -> str | None:
        start = self.sessions.start(tunnel)
        return None if start is None else start.user

    def remember(self, tunnel: bytes, began: float, user: str, session: float) -> None:
        self.sessions.remember(tunnel, Start(began, user), session)

    async def run(self) -> None:
        self._reads = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sessions.run)
                nursery.start_soon(self._read)
        finally:
            self._reads = False

    def may_see(self, principal: Principal, thing: str) -> bool:
        """By the last policy that was understood here, as all that lives already."""
        if principal.role == "edge" or self.still(principal) is not None:
            return False
        if principal.role == "admin":
            return True
        if principal.scope is not None:
            policy, now = self.state.policy, self.now()
            own = thing == principal.scope[0]
            return own and isinstance(decide(policy, principal, *principal.scope, now), Grant)
        return self._sight(principal.name).covers(thing)

    def _sight(self, user: str) -> Sight:
        sight, policy, now = self._sights.get(user), self.state.policy, self.now()
        if sight is None or sight.policy is not policy or now >= sight.review:
            if len(self._sights) >= _MAX_SIGHTS:
                self._sights.clear()
            sight = self._sights[user] = Sight(policy, user, now)
        return sight

    def offers(self, thing: str) -> tuple[ServiceOffer, ...]:
        return self.state.policy.offers_of(thing)


def _first_admin(settings: AccessSettings) -> KeyRecord | None:
    if settings.admin_key is None:
        return None
    key = settings.admin_key.reveal()
    return record_of(key, role="admin", name="admin", created=0.0, comment="from the node's file")


def _is_of(record: KeyRecord, principal: Principal) -> bool:
    """Whether the record is still about this one: a key may be made anew for somebody else."""
    same = (record.role, record.name) == (principal.role, principal.name)
    return same and record.things == principal.things


def _principal(ticket: Ticket, session: str) -> Principal:
    return Principal(
        role="remote",
        name=ticket.user,
        via=f"ticket {ticket.id}",
        scope=(ticket.thing, ticket.service),
        until=ticket.expires,
        session=session,
        key_id=ticket.key_id,
    )
