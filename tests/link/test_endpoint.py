"""link/endpoint.py against nodes in our hands: when it dials, where, and what it believes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge_tunnel import LinkLost, Notice, Reason
from edge_tunnel.link.endpoint import Endpoint
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.settings import EndpointSettings
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bye, Drain, Frame, Hello, Welcome
from edge_tunnel.protocol.greeting import RESUMING
from edge_tunnel.protocol.tunnel import Tunnel
from edge_tunnel.testing.transports import MemoryTransport, transport_pair

WELCOME = Welcome(1, "node", "test/1", (), "")


class Nodes:
    """What an endpoint dials. An answer for each URL; a URL without one cannot be reached."""

    def __init__(self, **answers: Frame) -> None:
        self.answers = answers
        self.dialled: list[tuple[float, str]] = []
        self.keys: dict[str, list[str]] = {}
        self.features: list[tuple[str, ...]] = []
        """Of each HELLO."""
        self.links: list[MemoryTransport] = []
        self.slowness = 0.0
        """Seconds that a connection takes, also one that fails."""

    @asynccontextmanager
    async def dial(self, url: str) -> AsyncIterator[Transport]:
        self.dialled.append((trio.current_time(), url))
        await trio.sleep(self.slowness)
        if url not in self.answers:
            raise LinkLost("connection refused")
        near, far = transport_pair()
        self.links.append(far)
        async with open_plain_nursery() as nursery:
            nursery.start_soon(self._greet, url, far)
            try:
                yield near
            finally:
                near.cut()

    async def _greet(self, url: str, far: MemoryTransport) -> None:
        try:
            hello = decode(await far.receive())
            assert isinstance(hello, Hello)
            self.features.append(hello.features)
            self.keys.setdefault(url, []).append(hello.key)
            await far.send(encode(self.answers[url]))
        except LinkLost:
            pass

    def times(self, url: str) -> list[float]:
        return [time for time, dialled in self.dialled if dialled == url]


def settings(*urls: str, retry_interval: float = 10.0) -> EndpointSettings:
    return EndpointSettings(urls=urls, key="secret", retry_interval=retry_interval)


@asynccontextmanager
async def running(nodes: Nodes, its: EndpointSettings) -> AsyncIterator[Endpoint]:
    """An endpoint with no role."""
    endpoint = Endpoint(its, nodes.dial)
    endpoint.role = "remote"
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.run)
            yield endpoint
            nursery.cancel_scope.cancel()


async def heard(endpoint: Endpoint, event: str) -> Notice:
    async for notice in endpoint.notices.subscribe():
        if notice.event == event:
            return notice
    raise AssertionError


def test_its_settings_do_not_show_the_key() -> None:
    """They stand in tracebacks and in people's logs."""
    assert "secret" not in repr(settings("a"))


async def test_a_new_server_while_the_old_one_is_dialled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The attempt is given up at once, and the new key never goes to the old server."""
    nodes = Nodes(old=WELCOME, new=WELCOME)
    nodes.slowness = 5.0
    async with running(nodes, settings("old")) as endpoint:
        await trio.sleep(2)
        endpoint.reconnect(dataclasses.replace(settings("new"), key="new secret"), nodes.dial)
        await heard(endpoint, "linked")
        assert endpoint.url == "new"
        assert nodes.keys == {"new": ["new secret"]}
        assert trio.current_time() - nodes.dialled[0][0] < 8


async def test_a_wait_is_over_with_the_old_configuration(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody waits out the old retry interval after a change."""
    nodes = Nodes(new=WELCOME)
    async with running(nodes, settings("old", retry_interval=3000)) as endpoint:
        await trio.sleep(2000)
        before = trio.current_time()
        endpoint.reconnect(settings("new"), nodes.dial)
        await heard(endpoint, "linked")
        assert trio.current_time() - before < 1


async def test_the_next_node_waits_its_jitter(autojump_clock: trio.testing.MockClock) -> None:
    """The other devices of a node that died go to the next one, too, and not all at once."""
    nodes = Nodes(one=WELCOME, two=WELCOME)
    async with running(nodes, settings("one", "two")) as endpoint:
        await heard(endpoint, "linked")
        await trio.sleep(6)
        died = trio.current_time()
        nodes.links[-1].cut()
        await heard(endpoint, "linked")
        assert endpoint.url == "two"
        assert died < nodes.times("two")[0] < died + 1


async def test_slow_failures_are_failures(autojump_clock: trio.testing.MockClock) -> None:
    """A node that does not answer at all is asked more and more rarely, as one that refuses is."""
    nodes = Nodes()
    nodes.slowness = 6.0
    async with running(nodes, settings("gone", retry_interval=600)):
        await trio.sleep(6000)
        assert len(nodes.dialled) < 60  # 6000 s / 6 s: a thousand attempts, if waits never grew


async def test_a_refusal_is_no_reason_to_hurry(autojump_clock: trio.testing.MockClock) -> None:
    """Tunnels that wait make an endpoint hurry to a node that is away, not to one that says no."""
    nodes = Nodes(a=Bye(Reason.NOT_AUTHORISED, "no", 0))
    async with running(nodes, settings("a", retry_interval=100)) as endpoint:
        endpoint.add(Tunnel(bytes(16), now=trio.current_time(), resume_timeout=100_000))
        await trio.sleep(2000)
        assert 10 < len(nodes.dialled) < 100


@pytest.mark.parametrize("seconds", [300, 10**12])
async def test_a_node_that_asks_to_be_left_alone(
    seconds: int, autojump_clock: trio.testing.MockClock
) -> None:
    """BYE says how long; other nodes are tried meanwhile, and nobody is sent away for good."""
    nodes = Nodes(full=Bye(Reason.TOO_MANY, "full", seconds * 1000))
    async with running(nodes, settings("full", "down", retry_interval=2)):
        await trio.sleep(min(seconds, 3600) - 1)
        assert len(nodes.times("full")) == 1
        assert 100 < len(nodes.times("down")) < 10_000
        await trio.sleep(20)
        assert len(nodes.times("full")) == 2


async def test_what_a_node_says_is_fit_for_a_terminal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Reasons and notices go to logs and terminals, which obey escape sequences."""
    nodes = Nodes(a=WELCOME._replace(notice="\x1b]0;title\x07hi"))
    async with running(nodes, settings("a")) as endpoint:
        assert str((await heard(endpoint, "notice"))["text"]).isprintable()
        await nodes.links[0].send(encode(Bye(Reason.SHUTTING_DOWN, "\x9b31mred", 0)))
        reason = str((await heard(endpoint, "link_lost"))["reason"])
        assert "31mred" in reason and reason.isprintable()


async def test_a_goodbye_is_said_whatever_went_wrong(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A link that failed before it ran is over, too; nobody waits for it."""

    class Broken(Endpoint):
        role = "remote"

        def on_linked(self) -> None:
            raise ZeroDivisionError

    nodes = Nodes(a=WELCOME)
    endpoint = Broken(settings("a"), nodes.dial)
    with trio.fail_after(10):
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
            await endpoint.run()
        await endpoint.say_goodbye()


async def test_a_node_says_when_to_come_back(autojump_clock: trio.testing.MockClock) -> None:
    """Not before, and soon after, however long the waits for the other node have become."""
    busy = Bye(Reason.TOO_MANY, "later", 60_000)
    nodes = Nodes(busy=busy)
    async with running(nodes, settings("busy", "gone", retry_interval=600)) as endpoint:
        await trio.sleep(600)
        dialled = nodes.times("busy")
        assert all(60 <= b - a < 68 for a, b in itertools.pairwise(dialled))
        assert len(dialled) > 8
        nodes.answers["busy"] = WELCOME
        await heard(endpoint, "linked")
        assert nodes.times("busy")[-1] - dialled[-1] < 68


async def test_those_who_were_told_the_same_do_not_come_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Not every node spreads those whom it sends away."""
    nodes = Nodes(busy=Bye(Reason.TOO_MANY, "later", 100_000))
    async with (
        running(nodes, settings("busy")),
        running(nodes, settings("busy")),
        running(nodes, settings("busy")),
    ):
        await trio.sleep(115)
        first, *_, last = nodes.times("busy")[3:]
        assert last - first > 0.01


async def test_to_be_asked_to_wait_is_no_failure(autojump_clock: trio.testing.MockClock) -> None:
    """A device does not give up because a node is busy."""
    its = dataclasses.replace(settings("busy"), retries=2)
    async with running(Nodes(busy=Bye(Reason.TOO_MANY, "later", 1000)), its):
        await trio.sleep(60)


async def test_it_says_that_tunnels_wait(autojump_clock: trio.testing.MockClock) -> None:
    """So that a node which takes links at a rate lets it in ahead of idle ones."""
    nodes = Nodes(one=WELCOME)
    async with running(nodes, settings("one")) as endpoint:
        await heard(endpoint, "linked")
        endpoint.add(Tunnel(bytes(16), now=trio.current_time(), resume_timeout=100_000))
        nodes.links[-1].cut()
        await heard(endpoint, "linked")
        assert [RESUMING in features for features in nodes.features] == [False, True]


async def test_a_new_server_while_the_node_asks_to_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The next link is dialled while the old one works: that attempt is given up, too."""
    nodes = Nodes(old=WELCOME, new=WELCOME)
    async with running(nodes, settings("old")) as endpoint:
        await heard(endpoint, "linked")
        nodes.slowness = 5.0
        await nodes.links[-1].send(encode(Drain(0, "")))
        await trio.sleep(2)
        endpoint.reconnect(dataclasses.replace(settings("new"), key="new secret"), nodes.dial)
        await heard(endpoint, "linked")
        assert endpoint.url == "new"
        assert nodes.keys == {"old": ["secret"], "new": ["new secret"]}


async def test_a_link_without_tunnels_is_left_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A node that drains waits for its endpoints, also for those who have nothing to take along."""
    nodes = Nodes(old=WELCOME, new=WELCOME)
    async with running(nodes, settings("old", "new")) as endpoint:
        await heard(endpoint, "linked")
        await nodes.links[0].send(encode(Drain(30_000, "")))
        await heard(endpoint, "linked")
        with trio.fail_after(1):
            assert isinstance(decode(await nodes.links[0].receive()), Bye)
        assert endpoint.url == "new"
