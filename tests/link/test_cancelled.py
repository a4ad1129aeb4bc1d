"""Somebody is cancelled at any point of a conversation, and links break at any point of it.

Whatever the moment: what arrived is a prefix of what was sent, an end is one that was meant,
nothing is left behind at either end, and the next conversation is as good as any.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing

from edge_tunnel import TunnelStream
from edge_tunnel.protocol.window import TUNNEL_BUDGET
from tests.conftest import Bench, OpenBench

SAID = bytes(each * each % 251 for each in range(300_000))


class Points(trio.abc.Instrument):
    """Calls at numbered steps of the tasks of a run, of whatever task."""

    def __init__(self) -> None:
        self.calls: dict[int, Callable[[], None]] = {}
        self._step = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self._step += 1
        call = self.calls.pop(self._step, None)
        if call is not None:
            call()


class Talk:
    """A user that sends, and a service that sends back what it gets."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ended = False  # the user has meant the end of what it sends
        self.whole = False  # the user has got all of it back, and the end
        self.heard: list[int] = []  # by the service, of streams that came to a clean end

    async def service(self, stream: TunnelStream) -> None:
        heard = 0
        async for data in stream:
            assert data == SAID[heard : heard + len(data)]
            heard += len(data)
            await stream.send_all(data)
        self.heard.append(heard)
        await stream.send_eof()

    async def user(self, bench: Bench) -> None:
        async with (
            await bench.remote.open_stream("device", "service") as stream,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._say, stream)
            back = b"".join([data async for data in stream])
            assert back == SAID[: self.size]
            self.whole = True

    async def _say(self, stream: TunnelStream) -> None:
        await stream.send_all(SAID[: self.size])
        self.ended = True
        await stream.send_eof()


def plan(bench: Bench, points: Points, rng: random.Random, scope: trio.CancelScope) -> None:
    """When the user is cancelled, if at all, and when links break.

    Only those of a tunnel that is there: for another one the device may not be back in time.
    """
    steps = rng.choice((40, 300, 1500))
    for _ in range(rng.randrange(3) if bench.remote.tunnels else 0):
        fault = rng.choice((bench.cluster.cut, bench.cluster.cut, bench.cluster.stall))
        who = rng.choice(("edge", "remote"))
        points.calls[rng.randrange(1, steps)] = partial(fault, who)
    if rng.random() < 0.7:
        points.calls[rng.randrange(1, steps)] = scope.cancel


def check_nothing_left(bench: Bench) -> None:
    for tunnel in (*bench.remote.tunnels.values(), *bench.edge.tunnels.values()):
        assert not tunnel.streams
        assert tunnel.budget.left == TUNNEL_BUDGET


@pytest.mark.parametrize("block", range(4))
async def test_at_any_point(
    open_bench: OpenBench, autojump_clock: trio.testing.MockClock, block: int
) -> None:
    """The tunnel is there, or not yet; messages are carried as they are, or in WebSockets."""
    for seed in range(block * 8, block * 8 + 8):
        rng = random.Random(seed)
        talk, points = Talk(rng.choice((0, 1, 5000, len(SAID)))), Points()
        services = {"service": talk.service}
        with trio.fail_after(10_000):
            async with open_bench(services=services, websocket=rng.random() < 0.4) as bench:
                if rng.random() < 0.7:
                    await bench.remote.open_tunnel("device", "service")
                with trio.CancelScope() as scope:
                    plan(bench, points, rng, scope)
                    trio.lowlevel.add_instrument(points)
                    await talk.user(bench)
                trio.lowlevel.remove_instrument(points)
                await trio.sleep(60)  # silent links are found out
                check_nothing_left(bench)
                assert talk.whole or scope.cancelled_caught
                assert talk.heard in ([], [talk.size])
                assert talk.ended or not talk.heard, "an end that nobody meant"
                await talk.user(bench)
