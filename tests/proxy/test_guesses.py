"""Keys that are tried at the API and at links."""

from __future__ import annotations

from ipaddress import ip_network

import trio
import trio.testing

from edge_tunnel import Reason
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bye
from edge_tunnel.testing.transports import transport_pair
from tests.proxy.api_house import ADMIN, House, http
from tests.proxy.peers import hello

WHOAMI = "/api/v1/whoami"


async def test_guesses_are_counted_by_their_source(autojump_clock: trio.testing.MockClock) -> None:
    """429 with the time to come again, before any key is looked at; other addresses go on."""
    house = House(max_failures_per_source=3)
    for number in range(3):
        status, _ = await house.raw(http(WHOAMI, key=f"guess-{number}"), "192.0.2.1:5")
        assert status == 401
    status, answer = await house.raw(http(WHOAMI), "192.0.2.1:6")
    assert status == 429 and b"too many refused keys" in answer
    (wait,) = [line for line in answer.split(b"\r\n") if line.startswith(b"Retry-After: ")]
    assert 0 < int(wait.split()[1]) <= 20
    assert (await house.raw(http(WHOAMI), "192.0.2.2:6"))[0] == 200
    await trio.sleep(int(wait.split()[1]))
    assert (await house.raw(http(WHOAMI), "192.0.2.1:7"))[0] == 200


async def test_a_key_that_was_accepted_goes_on_beside_guesses(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Behind one address an administrator works while somebody else guesses."""
    house = House(max_failures_per_source=3)
    assert (await house.raw(http(WHOAMI), "192.0.2.1:5"))[0] == 200
    found = [
        (await house.raw(http(WHOAMI, key=f"guess-{number}"), "192.0.2.1:5"))[0]
        for number in range(10)
    ]
    assert found == [401] * 3 + [429] * 7
    assert (await house.raw(http(WHOAMI), "192.0.2.1:5"))[0] == 200


async def test_who_shows_no_key_or_may_not_has_guessed_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A browser's first question, a health check, a user at an administrator's path."""
    house = House(max_failures_per_source=1)
    anna = await house.key("remote", "anna")
    for _ in range(5):
        assert (await house.raw(http(WHOAMI, key=None), "192.0.2.1:5"))[0] == 401
        assert (await house.raw(http("/api/v1/keys", key=anna), "192.0.2.1:5"))[0] == 403
    assert (await house.raw(http(WHOAMI), "192.0.2.1:5"))[0] == 200


async def test_links_and_api_count_together(autojump_clock: trio.testing.MockClock) -> None:
    """The door has two wings and one count: neither is a way around the other."""
    house = House(max_failures_per_source=2)
    near, far = transport_pair(peers=("192.0.2.1:5", "node"))
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.node.talk, far)
            await near.send(encode(hello("remote", key="wrong-at-a-link")))
            bye = decode(await near.receive())
    assert isinstance(bye, Bye) and bye.reason == Reason.NOT_AUTHORISED
    assert (await house.raw(http(WHOAMI, key="wrong-at-the-api"), "192.0.2.1:6"))[0] == 401
    assert (await house.raw(http(WHOAMI), "192.0.2.1:6"))[0] == 429
    kinds = [(each.kind.value, each.code) for each in house.audit.events]
    assert kinds == [
        ("link_refused", Reason.NOT_AUTHORISED),
        ("api_refused", Reason.NOT_AUTHORISED),
        ("api_refused", Reason.TOO_MANY),
    ]
    assert {each.address for each in house.audit.events} == {"192.0.2.1:5", "192.0.2.1:6"}
    assert "wrong-at" not in repr(house.audit.events)


async def test_behind_a_balancer_the_source_is_who_it_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Of the balancer X-Forwarded-For is believed, its last word; of nobody else."""
    house = House(max_failures_per_source=2, trusted_proxies=(ip_network("10.0.0.7"),))

    async def guess(peer: str, forwarded: str, key: str = "wrong") -> int:
        request = http(WHOAMI, "GET", f"X-Forwarded-For: {forwarded}", key=key)
        return (await house.raw(request, peer))[0]

    assert [await guess("10.0.0.7:1", "192.0.2.1") for _ in range(3)] == [401, 401, 429]
    assert await guess("10.0.0.7:1", "192.0.2.99, 192.0.2.1") == 429
    assert await guess("10.0.0.7:1", "192.0.2.2") == 401
    assert await guess("10.0.0.7:1", "192.0.2.3", key=ADMIN) == 200
    # a stranger pays for himself, whomever he names
    assert [await guess("203.0.113.9:1", f"192.0.2.{n}") for n in range(50, 53)] == [401, 401, 429]
    assert house.audit.events[-1].address == "203.0.113.9:1"
    assert house.audit.events[0].address == "192.0.2.1:0"
