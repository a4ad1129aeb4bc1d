"""The decision, as a function: policy, user, thing, service and time in; a grant or a denial out.

Nobody learns from a denial what exists: of a thing on which a user has no right at all the answer
is the same whether it is there or not. Who may reach the thing may be told that this service of it
is not for him.
"""

from __future__ import annotations

from typing import Final

from edge_tunnel.access.patterns import matches
from edge_tunnel.access.policy import LIMITS, Policy, most_generous
from edge_tunnel.access.rights import Denial, Grant, Principal
from edge_tunnel.reasons import Reason

__all__ = ["NOT_FOR_YOU", "decide"]

NOT_FOR_YOU: Final = Denial(
    reason=Reason.NOT_AUTHORISED, text="you have no right to this, or it does not exist"
)
"""The one answer about all that a user may not know of."""


def decide(
    policy: Policy, principal: Principal, thing: str, service: str, now: float
) -> Grant | Denial:
    """Whether a remote may use a service of a thing at a time (Unix seconds), and how far."""
    if principal.role != "remote" or _is_over(principal, now):
        return NOT_FOR_YOU
    if principal.scope not in (None, (thing, service)):
        return NOT_FOR_YOU
    rules = policy.rules_for(principal.name, thing, now)
    if not rules:
        return NOT_FOR_YOU
    fitting = [rule for rule in rules if matches(service, rule.services)]
    if not fitting:
        text = f"you have no right to the service {service!r} of this thing"
        return Denial(reason=Reason.SERVICE_NOT_ALLOWED, text=text)
    limits = most_generous([rule.limits.over(policy.limits) for rule in fitting])
    ends = [rule.until for rule in fitting]
    until = _earliest(None if None in ends else _latest(ends), principal.until)
    review = _earliest(*ends, until)
    how_far = {name: getattr(limits, name) for name in LIMITS}
    shown = policy.fingerprints.get(thing, "")
    return Grant(until=until, review=review, fingerprint=shown, **how_far)


def _is_over(principal: Principal, now: float) -> bool:
    return principal.until is not None and now >= principal.until


def _earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _latest(times: list[float | None]) -> float | None:
    return max((time for time in times if time is not None), default=None)
