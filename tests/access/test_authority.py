"""access/authority.py and administration.py: who is let in, who may what, and who changes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio

from edge_tunnel.access.administration import Administration, NewKey, NotAllowed, NotThere
from edge_tunnel.access.authority import PolicyAuthority
from edge_tunnel.access.decide import decide
from edge_tunnel.access.keys import BadKey, KeyRecord, generate, record_of
from edge_tunnel.access.rights import Credentials, Denial, Grant, PeerCertificate, Principal
from edge_tunnel.access.state import HEAD, PushedPolicy, ticket_key, version_row
from edge_tunnel.access.store import ANYTHING, Conflict, MemoryStore, StoreAway, Write
from edge_tunnel.access.tickets import new_ticket, place_of, ticket_row
from edge_tunnel.config import ConfigFileError, Secret
from edge_tunnel.config.proxy_access import AccessSettings
from edge_tunnel.reasons import Reason

POLICY = """format = 1
[[allow]]
users = ["anna"]
things = ["pump-*"]
services = ["ssh"]
"""
ROOT = record_of("x" * 20, role="admin", name="root", created=0)


class Away(MemoryStore):
    """Can go away."""

    away = False

    async def read(self, key: str) -> str | None:
        if self.away:
            raise StoreAway("etcd at 127.0.0.1:2379: connection refused")
        return await super().read(key)


class House:
    """An authority, its administration, its clock and what it told the audit."""

    def __init__(self, store: MemoryStore | None = None, **settings: Any) -> None:
        self.now = 1000.0
        self.audit: list[tuple[str, dict[str, Any]]] = []
        self.store = store or Away(lambda: self.now)
        self.authority = PolicyAuthority(
            self.store, AccessSettings(**settings), audit=self.write, now=lambda: self.now
        )
        self.admin = Administration(self.authority)
        self.changes = 0
        self.authority.on_change = self.change

    def write(self, kind: str, **data: Any) -> None:
        self.audit.append((kind, data))

    def change(self) -> None:
        self.changes += 1

    async def open(self) -> House:
        await self.admin.prepare()
        await self.admin.push(POLICY, 0, "", ROOT)
        return self

    async def key(self, role: str, name: str, **wish: Any) -> tuple[str, KeyRecord]:
        return await self.admin.new_key(NewKey(role=role, name=name, **wish), None, ROOT)

    async def admit(
        self, role: str, key: str, *names: str, instance: bytes = b""
    ) -> Principal | Denial:
        certificate = PeerCertificate(names=names, fingerprint="AB" * 32, not_after=5000.0)
        return await self.authority.admit(
            Credentials(
                role=role,
                key=key,
                certificate=certificate if names else None,
                instance=instance,
            )
        )

    async def let_in(self, role: str, key: str, *names: str) -> Principal:
        found = await self.admit(role, key, *names)
        assert isinstance(found, Principal), found
        return found

    async def ticket(self, user: str = "anna", lifetime: float | None = None) -> str:
        return (await self.admin.new_ticket(user, "pump-1", "ssh", lifetime, ROOT))[0]


def reason(found: object) -> Reason:
    assert isinstance(found, Denial), found
    return found.reason


# -- keys


async def test_each_key_is_for_its_role_and_its_things() -> None:
    """A device's key binds what it is for; a user's key is no device's, an admin's no edge's."""
    house = await House().open()
    device, _ = await house.key("edge", "pump-1", things=("pump-1", "line-*"))
    user, _ = await house.key("remote", "anna")
    admin, _ = await house.key("admin", "root")
    edge, anna = await house.let_in("edge", device), await house.let_in("remote", user)
    assert house.authority.may_bind(edge, "line-7") is None
    assert reason(house.authority.may_bind(edge, "pump-2")) is Reason.NOT_AUTHORISED
    assert reason(house.authority.may_bind(anna, "line-7")) is Reason.NOT_AUTHORISED
    assert isinstance(house.authority.judge(anna, "pump-1", "ssh"), Grant)
    assert reason(house.authority.judge(anna, "pump-1", "vnc")) is Reason.SERVICE_NOT_ALLOWED
    assert reason(house.authority.judge(edge, "pump-1", "ssh")) is Reason.NOT_AUTHORISED
    for role, key in (("edge", user), ("remote", device), ("edge", admin)):
        assert reason(await house.admit(role, key)) is Reason.NOT_AUTHORISED


async def test_an_administrator_sees_all_and_opens_nothing() -> None:
    """Whatever his name is, and however much the policy gives to a user of that name."""
    house = await House().open()
    key, record = await house.key("admin", "anna")
    admin = await house.let_in("remote", key)
    assert house.authority.may_see(admin, "whatever")
    denial = house.authority.judge(admin, "pump-1", "ssh")
    assert reason(denial) is Reason.NOT_AUTHORISED
    assert isinstance(denial, Denial) and "use a user's key" in denial.text
    assert reason(house.authority.may_bind(admin, "pump-1")) is Reason.NOT_AUTHORISED
    assert not isinstance(decide(house.authority.state.policy, admin, "pump-1", "ssh", 0), Grant)
    await house.admin.revoke_key(record.id, ROOT)
    assert house.authority.still(admin) is not None
    assert not house.authority.may_see(admin, "whatever")


async def test_unknown_revoked_expired_and_wrong_are_one_answer() -> None:
    """Nobody learns which it was."""
    house = await House().open()
    revoked, record = await house.key("remote", "anna")
    expired, _ = await house.key("remote", "anna", lifetime=10.0)
    await house.let_in("remote", expired)
    await house.admin.revoke_key(record.id, ROOT)
    house.now += 10
    used = await house.ticket()
    await house.let_in("remote", used)
    wrong = (generate(), revoked, expired, "", "k", used, "ett_x", "ets_x", "ets_" + "A" * 400)
    answers = [await house.admit("remote", key) for key in wrong]
    assert all(isinstance(each, Denial) for each in answers)
    assert len({repr(each) for each in answers}) == 1


async def test_revoking_a_key_ends_what_lives_by_it() -> None:
    """`on_change` is called, and `still`, `may_bind` and `judge` say no at once."""
    house = await House().open()
    key, record = await house.key("edge", "pump-1")
    edge = await house.let_in("edge", key)
    before = house.changes
    await house.admin.revoke_key(record.id, ROOT)
    assert house.changes == before + 1
    assert reason(house.authority.still(edge)) is Reason.NOT_AUTHORISED
    assert reason(house.authority.may_bind(edge, "pump-1")) is Reason.NOT_AUTHORISED


async def test_the_same_key_for_somebody_else_is_not_still_the_same() -> None:
    """Imported again for another device: who was admitted by it before is not admitted now."""
    house = await House().open()
    key, record = await house.key("edge", "pump-1")
    edge = await house.let_in("edge", key)
    await house.admin.revoke_key(record.id, ROOT)
    await house.admin.new_key(NewKey(role="edge", name="pump-2"), key, ROOT)
    assert reason(house.authority.may_bind(edge, "pump-1")) is Reason.NOT_AUTHORISED
    assert (await house.let_in("edge", key)).name == "pump-2"


async def test_rotation_overlaps() -> None:
    """Both keys work until the overlap is over; then only the new one. `ends` says when."""
    house = await House().open()
    old, record = await house.key("edge", "pump-1", things=("pump-1", "x-*"))
    first = await house.let_in("edge", old)
    assert house.authority.ends(first) is None
    wish = NewKey(replaces=record.id, overlap=60.0)
    new, newer = await house.admin.new_key(wish, None, ROOT)
    assert newer.things == record.things and newer.name == "pump-1"
    for key in (old, new):
        await house.let_in("edge", key)
    assert house.authority.ends(first) == 1060.0
    house.now += 60
    assert reason(await house.admit("edge", old)) is Reason.NOT_AUTHORISED
    assert reason(house.authority.still(first)) is Reason.NOT_AUTHORISED
    await house.let_in("edge", new)
    with pytest.raises(BadKey, match="has its role"):
        await house.admin.new_key(replace(wish, name="other"), None, ROOT)


async def test_the_administrator_of_the_nodes_file() -> None:
    """Is one, and cannot be revoked over the API; there is none by default."""
    key = generate()
    house = House(admin_key=Secret(key))
    holder = house.admin.holder(key)
    assert holder is not None and holder.role == "admin" and house.admin.has_admin()
    with pytest.raises(NotThere):
        await house.admin.revoke_key(holder.id, ROOT)
    with pytest.raises(Conflict, match="already"):
        await house.admin.new_key(NewKey(role="remote", name="anna"), key, ROOT)
    assert not House().admin.has_admin()
    with pytest.raises(BadKey):
        House(admin_key=Secret("admin"))


# -- certificates


@pytest.mark.parametrize(
    ("settings", "names", "edge", "remote"),
    [
        ({}, ("edge-tunnel:edge:pump-1",), "pump-1", None),
        ({}, ("edge-tunnel:remote:anna", "x.example"), None, "anna"),
        ({}, ("edge-tunnel:edge:pump%201%2F%C3%A4", "edge-tunnel:edge:x"), "pump 1/ä", None),
        ({}, ("pump-1", "edge-tunnel:edge:", "edge-tunnel:edge:@x"), None, None),
        ({"certificate_edge_prefix": ""}, ("pump-1",), "pump-1", None),
        ({"certificate_edge_prefix": ""}, ("edge-tunnel:remote:anna",), None, "anna"),
        ({"certificate_remote_prefix": "user."}, ("user.ben",), None, "ben"),
    ],
)
async def test_certificates_name_devices_or_users(
    settings: dict[str, str], names: tuple[str, ...], edge: str | None, remote: str | None
) -> None:
    """Never both: the holder of a device's certificate is no user."""
    house = await House(None, **settings).open()
    for role, name in (("edge", edge), ("remote", remote)):
        found = await house.admit(role, "", *names)
        assert (found.name if isinstance(found, Principal) else None) == name


async def test_a_certificate_binds_its_names_alone() -> None:
    """A star in a certificate is a star, no pattern; a wrong key is not healed by it."""
    house = await House().open()
    edge = await house.let_in("edge", "", "edge-tunnel:edge:pump-1", "edge-tunnel:edge:p*")
    assert [house.authority.may_bind(edge, thing) is None for thing in ("pump-1", "p*", "p2")] == [
        True,
        True,
        False,
    ]
    assert edge.until == 5000.0
    assert reason(await house.admit("edge", generate(), "edge-tunnel:edge:pump-1"))
    revoked = POLICY.replace("format = 1", f'format = 1\nrevoked_certificates = ["{"AB:" * 32}"]')
    await house.admin.push(revoked.replace(':"', '"'), 1, "", ROOT)
    assert reason(house.authority.may_bind(edge, "pump-1")) is Reason.NOT_AUTHORISED
    assert reason(await house.admit("edge", "", "edge-tunnel:edge:pump-1"))


# -- tickets


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


# -- policy


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
