"""What one policy has and another has not, in lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from edge_tunnel.access.policy import LIMITS, Allow, Limits, OfferRule, Policy

__all__ = ["differences"]


def differences(old: Policy, new: Policy) -> tuple[str, ...]:
    """``+`` for what comes, ``-`` for what goes; empty if both mean the same."""
    lines = [
        *_changed(map(_allow, old.allows), map(_allow, new.allows)),
        *_changed(map(_offer, old.offers), map(_offer, new.offers)),
        *_changed(_limits("limits", old.limits), _limits("limits", new.limits)),
        *_changed(_revoked(old), _revoked(new)),
        *_changed(_devices(old), _devices(new)),
    ]
    return tuple(lines)


def _changed(old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    before, after = list(old), list(new)
    gone, come = set(before) - set(after), set(after) - set(before)
    yield from (f"- {line}" for line in before if line in gone)
    yield from (f"+ {line}" for line in after if line in come)


def _allow(rule: Allow) -> str:
    who = f"allow {_names(rule.users)} to use {_names(rule.services)} of {_names(rule.things)}"
    until = "" if rule.until is None else f" until {_time(rule.until)}"
    return who + until + "".join(f", {each}" for each in _parts(rule.limits))


def _offer(rule: OfferRule) -> str:
    offer = rule.offer
    return f"service {offer.name} at {offer.host}:{offer.port} of {_names(rule.things)}" + (
        f" ({offer.description})" if offer.description else ""
    )


def _limits(head: str, limits: Limits) -> Iterator[str]:
    yield from (f"{head}: {each}" for each in _parts(limits))


def _parts(limits: Limits) -> Iterator[str]:
    for name in LIMITS:
        value = getattr(limits, name)
        if value is not None:
            yield f"{name} {value:g}"


def _revoked(policy: Policy) -> Iterator[str]:
    yield from (f"certificate {each} revoked" for each in sorted(policy.revoked_certificates))


def _devices(policy: Policy) -> Iterator[str]:
    for thing, fingerprint in sorted(policy.fingerprints.items()):
        yield f"device {thing} shows {fingerprint}"


def _names(names: tuple[str, ...]) -> str:
    return " ".join(names) or "nothing"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
