"""Whom a ticket lets in, where to, and for how long."""

from __future__ import annotations

import pytest
import trio

from edge_tunnel.access.administration import NotAllowed
from edge_tunnel.access.keys import BadKey
from edge_tunnel.access.rights import Denial, Grant, Principal
from edge_tunnel.access.state import ticket_key
from edge_tunnel.access.store import MemoryStore, Write
from edge_tunnel.access.tickets import new_ticket, place_of, ticket_row
from edge_tunnel.reasons import Reason
from tests.access.house import POLICY, ROOT, Away, House, reason


async def test_a_ticket_lets_in_once_to_one_service_of_one_thing() -> None:
    """And only as a remote; the session goes on by its token, on any node with the same store."""
    house = await House().open()
    text = await house.ticket()
    assert reason(await house.admit("edge", text)) is Reason.NOT_AUTHORISED
    anna = await house.let_in("remote", text)
    assert (anna.name, anna.scope) == ("anna", ("pump-1", "ssh"))
    assert isinstance(house.authority.judge(anna, "pump-1", "ssh"), Grant)
    assert reason(house.authority.judge(anna, "pump-2", "ssh")) is Reason.NOT_AUTHORISED
    assert reason(await house.admit("remote", text)) is Reason.NOT_AUTHORISED
    other = House(house.store)
    again = await other.let_in("remote", anna.session)
    assert again == anna and anna.session not in repr(anna)
    assert reason(await other.admit("edge", anna.session)) is Reason.NOT_AUTHORISED


async def test_the_process_that_used_a_ticket_may_show_it_again() -> None:
    """Until the ticket ends, at any node, for the same session; it is no other process's."""
    house = await House().open()
    text = await house.ticket()
    anna = await house.admit("remote", text, instance=b"1" * 16)
    assert isinstance(anna, Principal)
    house.now += 14.9
    other = House(house.store)
    other.now = house.now
    assert await other.admit("remote", text, instance=b"1" * 16) == anna
    unknown = await house.admit("remote", "ett_x", instance=b"1" * 16)
    for instance in (b"2" * 16, b""):
        assert await other.admit("remote", text, instance=instance) == unknown
    assert [kind for kind, _ in house.audit + other.audit].count("ticket_used") == 1
    house.now += 0.1
    assert await house.admit("remote", text, instance=b"1" * 16) == unknown
    assert isinstance(await house.admit("remote", anna.session, instance=b"2" * 16), Principal)


async def test_who_has_no_instance_redeems_once() -> None:
    """Two that say nothing about themselves are not the same."""
    house = await House().open()
    text = await house.ticket()
    await house.let_in("remote", text)
    assert reason(await house.admit("remote", text)) is Reason.NOT_AUTHORISED


class Slow(MemoryStore):
    """Everybody reads before anybody writes."""

    async def read(self, key: str) -> str | None:
        found = await super().read(key)
        await trio.sleep(1)
        return found


async def test_of_two_processes_at_once_one_gets_in(autojump_clock: object) -> None:
    """And both links of one process: the second reads what the first has written."""
    house = await House(Slow()).open()
    text = await house.ticket()
    answers: list[tuple[bytes, Principal | Denial]] = []

    async def show(instance: bytes) -> None:
        answers.append((instance, await house.admit("remote", text, instance=instance)))

    async with trio.open_nursery() as nursery:
        for instance in (b"1" * 16, b"2" * 16) * 3:
            nursery.start_soon(show, instance)
    let_in = [instance for instance, answer in answers if isinstance(answer, Principal)]
    assert len(let_in) == 3 and len(set(let_in)) == 1
    assert len({repr(answer) for _, answer in answers}) == 2


async def test_a_key_that_is_revoked_ends_a_used_ticket_too() -> None:
    """Its process may not come back by it."""
    house = await House().open()
    _, record = await house.key("remote", "anna")
    text, _ = await house.admin.new_ticket("", "pump-1", "ssh", None, record)
    assert isinstance(await house.admit("remote", text, instance=b"1" * 16), Principal)
    await house.admin.revoke_key(record.id, ROOT)
    again = await house.admit("remote", text, instance=b"1" * 16)
    assert reason(again) is Reason.NOT_AUTHORISED


async def test_a_ticket_lives_for_seconds_and_its_session_for_hours() -> None:
    """15 s and 8 h by default; the policy's session and a rule's end are shorter or longer."""
    house = await House().open()
    text = await house.ticket()
    house.now += 14.9
    anna = await house.let_in("remote", text)
    assert anna.until == house.now + 8 * 3600
    late = await house.ticket()
    house.now += 15
    assert reason(await house.admit("remote", late)) is Reason.NOT_AUTHORISED
    await house.admin.push(POLICY + "session = 60\n", 1, "", ROOT)
    short = await house.let_in("remote", await house.ticket())
    assert short.until == house.now + 60
    house.now += 60
    assert reason(house.authority.still(short)) is Reason.NOT_AUTHORISED
    assert reason(await house.admit("remote", short.session)) is Reason.NOT_AUTHORISED


async def test_a_ticket_is_judged_when_made_when_used_and_after() -> None:
    """No right, no ticket; a right that is taken away takes ticket and session with it."""
    house = await House().open()
    with pytest.raises(NotAllowed):
        await house.admin.new_ticket("ben", "pump-1", "ssh", None, ROOT)
    with pytest.raises(NotAllowed):
        await house.admin.new_ticket("anna", "pump-1", "vnc", None, ROOT)
    anna = await house.let_in("remote", await house.ticket())
    waiting = await house.ticket()
    await house.admin.push("format = 1", 1, "", ROOT)
    assert reason(house.authority.judge(anna, "pump-1", "ssh")) is Reason.NOT_AUTHORISED
    assert reason(await house.admit("remote", waiting)) is Reason.NOT_AUTHORISED


async def test_a_ticket_is_over_when_it_says_so() -> None:
    """A store may keep it a little longer: a lease of etcd has whole seconds, two at least."""
    house = await House().open()
    text, ticket = new_ticket(user="anna", thing="pump-1", service="ssh", expires=1015.0)
    row = Write(ticket_key(place_of(text)), ticket_row(ticket), ttl=60)
    await house.store.commit(row)
    house.now = 1015.0
    assert reason(await house.admit("remote", text)) is Reason.NOT_AUTHORISED


async def test_users_make_tickets_for_themselves() -> None:
    """Not for others; and their sessions end with their key. An administrator's go on."""
    house = await House().open()
    _, anna = await house.key("remote", "anna")
    with pytest.raises(NotAllowed, match="somebody else"):
        await house.admin.new_ticket("ben", "pump-1", "ssh", None, anna)
    text, _ = await house.admin.new_ticket("", "pump-1", "ssh", None, anna)
    mine = await house.let_in("remote", text)
    others = await house.let_in("remote", await house.ticket())
    await house.admin.revoke_key(anna.id, ROOT)
    assert reason(house.authority.still(mine)) is Reason.NOT_AUTHORISED
    assert reason(await house.admit("remote", mine.session)) is Reason.NOT_AUTHORISED
    assert house.authority.still(others) is None


async def test_no_ticket_while_the_store_is_away() -> None:
    """It is refused with that reason, not used up; keys and tokens work on."""
    store = Away()
    house = await House(store).open()
    key, _ = await house.key("remote", "anna")
    session = (await house.let_in("remote", await house.ticket())).session
    text = await house.ticket()
    store.away = True
    refused = await house.admit("remote", text)
    assert reason(refused) is Reason.SHUTTING_DOWN and "etcd" in refused.text  # type: ignore[union-attr]
    await house.let_in("remote", key)
    await house.let_in("remote", session)
    store.away = False
    await house.let_in("remote", text)


async def test_a_ticket_fits_into_a_greeting() -> None:
    """Names so long that the token could not be shown later are refused at once."""
    house = House()
    await house.admin.prepare()
    await house.admin.push(POLICY.replace("pump-", "").replace('"ssh"', '"*"'), 0, "", ROOT)
    with pytest.raises(BadKey, match="too long together"):
        await house.admin.new_ticket("anna", "x" * 256, "€" * 250, None, ROOT)
    for bad in ("", "@x", "y" * 257):
        with pytest.raises(BadKey, match="thing"):
            await house.admin.new_ticket("anna", bad, "ssh", None, ROOT)
