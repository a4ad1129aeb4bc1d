"""Policies that are pushed, and read."""

from __future__ import annotations

import pytest

from edge_tunnel.access.administration import NewKey, NotThere
from edge_tunnel.access.rights import Grant
from edge_tunnel.access.state import HEAD, PushedPolicy, version_row
from edge_tunnel.access.store import ANYTHING, Conflict, Write
from edge_tunnel.config import ConfigFileError
from edge_tunnel.reasons import Reason
from tests.access.house import POLICY, ROOT, House, reason


async def test_pushes_are_versioned_and_one_of_two_wins() -> None:
    """Who expects an old version is told; nothing is lost."""
    house = await House().open()
    pushed = await house.admin.push("format = 1", 1, "clean", ROOT)
    assert (pushed.version, pushed.differences) == (2, ("- allow anna to use ssh of pump-*",))
    with pytest.raises(Conflict, match="version 2, not 1"):
        await house.admin.push(POLICY, 1, "", ROOT)
    back = await house.admin.rollback(1, 2, ROOT)
    assert back.version == 3 and house.authority.state.policy.allows
    assert [one.version for one in house.admin.history()] == [3, 2, 1]
    assert house.admin.policy(2) == PushedPolicy(
        version=2, text="format = 1", by="root", at=1000.0, comment="clean"
    )
    for version in (0, 4):
        with pytest.raises(NotThere):
            house.admin.policy(version)
    with pytest.raises(NotThere):
        await house.admin.rollback(9, 3, ROOT)


async def test_a_node_that_has_not_heard_yet_pushes_nothing_over_others() -> None:
    """The store compares, not only the node's memory; so do keys that change meanwhile."""
    late = await House().open()
    _, record = await late.key("remote", "anna")
    other = House(late.store)  # hears of changes in place of the first
    await other.admin.push("format = 1", 1, "", ROOT)
    await other.admin.revoke_key(record.id, ROOT)
    with pytest.raises(Conflict, match="somebody pushed"):
        await late.admin.push(POLICY, 1, "", ROOT)
    with pytest.raises(Conflict):
        await late.admin.new_key(NewKey(replaces=record.id), None, ROOT)
    assert len(other.admin.history()) == 2 and other.admin.records() == []
    for version in range(2, 60):  # until the version that the first would write is forgotten
        await other.admin.push("format = 1", version, "", ROOT)
    with pytest.raises(Conflict, match="somebody pushed"):
        await late.admin.push(POLICY, 1, "", ROOT)


async def test_a_bad_policy_is_refused_and_changes_nothing() -> None:
    """With what is wrong with it."""
    house = await House().open()
    with pytest.raises(ConfigFileError, match="alow"):
        await house.admin.push("format = 1\nalow = 1", 1, "", ROOT)
    assert house.authority.state.version == 1


async def test_history_is_bounded() -> None:
    """The oldest versions go."""
    house = await House().open()
    for version in range(1, 60):
        await house.admin.push("format = 1", version, "", ROOT)
    versions = [one.version for one in house.admin.history()]
    assert versions == list(range(60, 10, -1))


async def test_a_program_too_old_for_the_policy_decides_nothing_new() -> None:
    """It is not ready, denies what is new, and keeps what it understood; later it goes on."""
    house = await House().open()
    key, _ = await house.key("remote", "anna")
    anna = await house.let_in("remote", key)
    newer = PushedPolicy(version=2, text="format = 2\n[[deny]]", by="x", at=0)
    await house.store.commit(Write(version_row(2), newer.row()), Write(HEAD, "2", "1"))
    why = house.authority.why_not_ready()
    assert why is not None and "too old" in why
    assert reason(house.authority.judge(anna, "pump-1", "ssh")) is Reason.SHUTTING_DOWN
    assert reason(await house.admit("remote", key)) is Reason.SHUTTING_DOWN
    assert house.authority.still(anna) is None
    assert house.authority.state.policy.allows
    await house.admin.push(POLICY, 2, "", ROOT)
    assert house.authority.why_not_ready() is None
    assert isinstance(house.authority.judge(anna, "pump-1", "ssh"), Grant)


@pytest.mark.parametrize("row", ["", "{}", "[1]", '{"version": 9, "text": "", "by": "", "at": 0}'])
async def test_a_damaged_policy_is_not_understood(row: str) -> None:
    """What cannot be read is never taken for an empty one."""
    house = await House().open()
    await house.store.commit(Write(version_row(1), row, ANYTHING))
    assert house.authority.why_not_ready() is not None


async def test_what_was_done_is_told_to_the_audit() -> None:
    """Each change with who did it, and no key or ticket in it."""
    house = await House().open()
    key, record = await house.key("remote", "anna")
    text = await house.ticket()
    anna = await house.let_in("remote", text)
    await house.admin.revoke_key(record.id, ROOT)
    kinds = [kind for kind, _ in house.audit]
    assert kinds == ["policy_pushed", "key_new", "ticket_new", "ticket_used", "key_revoked"]
    assert all(data.get("by", "root") == "root" for _, data in house.audit)
    told = repr(house.audit)
    assert not any(secret in told for secret in (key, text, anna.session, record.hash))


async def test_the_policy_names_services() -> None:
    """For devices without a list of their own."""
    house = await House().open()
    text = POLICY + '[[services]]\nname = "ssh"\nport = 22\nthings = ["pump-*"]\n'
    await house.admin.push(text, 1, "", ROOT)
    assert [offer.port for offer in house.authority.offers("pump-1")] == [22]
    assert house.authority.offers("press-1") == ()
