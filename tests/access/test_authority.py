"""access/authority.py and administration.py: who is let in, who may what, and who changes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_tunnel.access.administration import NewKey, NotThere
from edge_tunnel.access.decide import decide
from edge_tunnel.access.keys import BadKey, generate
from edge_tunnel.access.rights import Denial, Grant, Principal
from edge_tunnel.access.store import Conflict
from edge_tunnel.config import Secret
from edge_tunnel.reasons import Reason
from tests.access.house import POLICY, ROOT, House, reason

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
