"""What a user may know of: the things on which some rule gives him a service now.

Lists ask this of every thing of a cluster. So of a policy with many rules only the few are kept
that are about this user, until the policy or one of their dates changes the answer.
"""

from __future__ import annotations

import math

from edge_tunnel.access.patterns import Names
from edge_tunnel.access.policy import Policy

__all__ = ["Sight"]


class Sight:
    """One user's, by one policy."""

    def __init__(self, policy: Policy, user: str, now: float) -> None:
        """`now`: Unix seconds; the answers hold until `review`."""
        rules = [each for each in policy.rules_of(user, now) if each.services]
        things = {thing for rule in rules for thing in rule.things}
        self.policy = policy
        ends = [each.until for each in rules if each.until is not None]
        self.review = min(ends, default=math.inf)
        """Unix seconds from which it must be made anew."""

        self._things = Names(things)

    def covers(self, thing: str) -> bool:
        """Whether the user may know that there is this thing."""
        return thing in self._things
