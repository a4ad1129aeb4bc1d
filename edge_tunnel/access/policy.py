"""The policy: who may reach which service of which thing, and how far. What is not allowed is not.

Rules add up. A right is there if any rule gives it; of each limit the most generous one holds among
the rules that give the right, and a rule that leaves a limit out takes the policy's own `limits`.
So the order of rules means nothing, and one more rule never takes anything away: what somebody has
may be read off any single rule. The price: two rules of which one is generous with time and the
other with numbers are together generous with both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Final

from edge_tunnel.access.patterns import is_pattern, matches
from edge_tunnel.access.rights import ServiceOffer

__all__ = ["FORMAT", "LIMITS", "Allow", "Limits", "OfferRule", "Policy", "most_generous"]

FORMAT: Final = 1
"""The newest form of a policy that this program understands."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a right goes; see `rights.Grant`. None: not said here."""

    session: float | None = None
    idle: float | None = None
    max_tunnels: int | None = None
    max_streams: int | None = None
    tunnels_per_minute: float | None = None

    def over(self, other: Limits) -> Limits:
        """These, and the other's where these say nothing."""
        mine = {name: getattr(self, name) for name in LIMITS}
        theirs = {name: getattr(other, name) for name in LIMITS}
        return Limits(**{k: theirs[k] if mine[k] is None else mine[k] for k in LIMITS})


LIMITS: Final = tuple(each.name for each in fields(Limits))


def most_generous(several: list[Limits]) -> Limits:
    """Of each limit the highest; no limit is higher than any."""
    found: dict[str, float | None] = {}
    for name in LIMITS:
        values = [getattr(each, name) for each in several]
        found[name] = None if None in values else max(values)
    return Limits(**found)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Allow:
    """One rule. Groups are already written out: these are names and patterns."""

    users: tuple[str, ...]
    things: tuple[str, ...]
    services: tuple[str, ...]
    until: float | None = None
    """Unix seconds at which the rule ends."""

    limits: Limits = field(default_factory=Limits)

    def is_for(self, user: str, now: float) -> bool:
        """Whether it is about this user, and in force now."""
        return (self.until is None or now < self.until) and matches(user, self.users)


@dataclass(frozen=True, kw_only=True)
class OfferRule:
    """A service, and the things that have it."""

    offer: ServiceOffer
    things: tuple[str, ...] = ("*",)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """All of it. An empty one allows nothing."""

    allows: tuple[Allow, ...] = ()
    offers: tuple[OfferRule, ...] = ()
    limits: Limits = field(default_factory=Limits)
    revoked_certificates: frozenset[str] = frozenset()
    """Fingerprints: SHA-256, hex in small letters."""

    fingerprints: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Of devices' identities, by thing, as ``edge-tunnel things`` shows them."""

    groups: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict, hash=False)
    """``users`` and ``things``, by name: for people; the rules need them no more."""

    def rules_of(self, user: str, now: float) -> list[Allow]:
        """The rules about this user that are in force now."""
        named, others = self._by_user
        return [rule for rule in (*named.get(user, ()), *others) if rule.is_for(user, now)]

    def rules_for(self, user: str, thing: str, now: float) -> list[Allow]:
        """The rules that give this user anything on this thing now."""
        return [rule for rule in self.rules_of(user, now) if matches(thing, rule.things)]

    @cached_property
    def _by_user(self) -> tuple[Mapping[str, list[Allow]], list[Allow]]:
        """Rules for users by their names alone, and those with patterns. After each push all that
        lives is judged again: of a thousand rules a tunnel should meet its user's."""
        named: dict[str, list[Allow]] = {}
        others: list[Allow] = []
        for rule in self.allows:
            if any(map(is_pattern, rule.users)):
                others.append(rule)
            else:
                for user in set(rule.users):
                    named.setdefault(user, []).append(rule)
        return named, others

    def offers_of(self, thing: str) -> tuple[ServiceOffer, ...]:
        """The services of a thing. Of two with one name the first one."""
        named: dict[str, ServiceOffer] = {}
        for rule in self.offers:
            if matches(thing, rule.things):
                named.setdefault(rule.offer.name, rule.offer)
        return tuple(named.values())
