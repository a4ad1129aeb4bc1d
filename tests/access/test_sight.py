"""access/sight.py, and `PolicyAuthority.may_see`: what a user may know of, for how long."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tunnel.access.decide import decide
from edge_tunnel.access.policy import Allow, Policy
from edge_tunnel.access.rights import Grant
from edge_tunnel.access.sight import Sight
from tests.access.house import POLICY, ROOT, House
from tests.access.test_policy import ANNA, POLICIES


@settings(max_examples=100, deadline=None)
@given(POLICIES, st.sampled_from(["pump-1", "pump-2", "press", "p*"]), st.integers(0, 100))
def test_who_may_use_something_of_a_thing_sees_it_and_nobody_else(
    policy: Policy, thing: str, now: int
) -> None:
    """The same answer as from the decision itself, now and until the review."""
    sight = Sight(policy, ANNA.name, now)
    for moment in (now, min(sight.review - 1, 300)):
        verdicts = [decide(policy, ANNA, thing, each, moment) for each in ("ssh", "vnc")]
        assert sight.covers(thing) == any(isinstance(each, Grant) for each in verdicts)


def test_a_rule_without_services_shows_nothing() -> None:
    """It gives no right."""
    policy = Policy(allows=(Allow(users=("*",), things=("*",), services=()),))
    assert not Sight(policy, "anna", 0).covers("pump-1")


async def test_a_sight_ends_with_its_right() -> None:
    """By its date, by another policy, and by the end of the key; devices see nothing."""
    house = await House().open()
    key, record = await house.key("remote", "anna")
    device, _ = await house.key("edge", "pump-1")
    anna, pump = await house.let_in("remote", key), await house.let_in("edge", device)
    sees = house.authority.may_see
    assert sees(anna, "pump-2") and not sees(anna, "press") and not sees(pump, "pump-1")
    dated = POLICY + "until = 1970-01-01T00:20:00Z\n"
    await house.admin.push(dated, 1, "", ROOT)
    assert sees(anna, "pump-2")
    house.now = 1200
    assert not sees(anna, "pump-2")
    await house.admin.push(POLICY.replace("pump-*", "press"), 2, "", ROOT)
    assert sees(anna, "press") and not sees(anna, "pump-2")
    await house.admin.revoke_key(record.id, ROOT)
    assert not sees(anna, "press")


async def test_a_ticket_shows_its_thing_alone() -> None:
    """Whatever else its user may reach; and not longer than the right behind it."""
    house = await House().open()
    guest = await house.let_in("remote", await house.ticket())
    sees = house.authority.may_see
    assert sees(guest, "pump-1") and not sees(guest, "pump-2")
    assert not sees(replace(guest, scope=("press", "ssh")), "press")
    await house.admin.push(POLICY.replace('"ssh"', '"vnc"'), 1, "", ROOT)
    assert not sees(guest, "pump-1")


async def test_many_users_cost_no_memory_for_ever() -> None:
    """What was worked out for each is given up, and made anew."""
    house = await House().open()
    for number in range(2500):
        assert not house.authority.may_see(replace(ANNA, name=f"user-{number}"), "pump-1")
    assert len(house.authority._sights) <= 1000
    assert house.authority.may_see(ANNA, "pump-1")
