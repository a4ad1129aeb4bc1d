"""link/splice.py against random stories: both ends say, read, end, stop, reset and close in any
order, with a turn of the loop between any two, and whatever happened is not taken for another."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing

from edge_tunnel.link.batch import batch
from edge_tunnel.link.splice import reset_socket
from edge_tunnel.protocol.frames import MAX_DATA, Reset
from edge_tunnel.reasons import Reason
from tests.link.test_pouring import TUNNEL, Poured, credit, poured, taken


class Story:
    """A splice; the user of its socket, who never waits; and the far end of its tunnel."""

    def __init__(self, it: Poured, rng: random.Random) -> None:
        self.it = it
        self.rng = rng
        self.user: socket.socket = it.far.socket._sock  # type: ignore[attr-defined]
        self.said = bytearray()  # by the tunnel
        self.read = bytearray()  # by the user
        self.sent = bytearray()  # by the user
        self.took = bytearray()  # by the tunnel
        self.limit = 0
        self.done: set[str] = set()
        self.saw = ""  # what the user's reading ended with

    def _once(self, what: str) -> bool:
        first = what not in self.done
        self.done.add(what)
        return first

    # -- the tunnel

    def say(self) -> None:
        if self.it.core.reason is None and "end" not in self.done:
            data = self.rng.randbytes(self.rng.choice((1, 5000, MAX_DATA)))
            self.said += data
            self.it.say(data)

    def end(self) -> None:
        if self.it.core.reason is None and self._once("end"):
            self.it.end()

    def stop(self) -> None:
        if self.it.core.reason is None and self._once("stop") and self.it.core.on_stop():
            self.it.stream.writable()

    def reset(self) -> None:
        if self.it.core.reason is None and self._once("reset"):
            self.it.core.on_reset(Reset(TUNNEL, 1, 1, Reason.RESET, ""))
            self.it.stream.writable()
            self.it.stream.readable()

    def credit(self, room: int = 70_000) -> None:
        self.took += taken(self.it)
        if self.it.core.reason is None and "stop" not in self.done:
            self.limit = max(self.limit, len(self.took) + self.rng.choice((1, 1000, room)))
            credit(self.it, len(self.took), self.limit)

    # -- the user

    def user_sends(self) -> None:
        if not self.done & {"user ends", "user resets"}:
            with self._told():
                data = self.rng.randbytes(self.rng.choice((1, 50_000)))
                self.sent += data[: self.user.send(data)]

    def user_reads(self) -> None:
        with self._told():
            if not self.saw and "user resets" not in self.done:
                data = self.user.recv(200_000)
                self.read += data
                self.saw = "" if data else "end"

    def user_ends(self) -> None:
        if "user resets" not in self.done and self._once("user ends"):
            with self._told():
                self.user.shutdown(socket.SHUT_WR)

    def user_resets(self) -> None:
        if self._once("user resets"):
            reset_socket(self.it.far)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """The kernel tells of a reset once, to whoever asks first."""
        try:
            yield
        except BlockingIOError:
            pass
        except OSError:
            self.saw = self.saw or "reset"

    # -- and then

    async def finish(self) -> None:
        """Whatever is open ends as it should; then it is over."""
        self.end()
        self.user_ends()
        while not (self.it.over.is_set() and (self.saw or "user resets" in self.done)):
            self.credit(300_000)
            self.user_reads()
            await trio.lowlevel.checkpoint()
        self.took += taken(self.it)

    def check(self) -> None:
        assert self.said.startswith(self.read)
        assert self.sent.startswith(self.took)
        broken = bool(self.done & {"reset", "cancel"})
        if self.saw == "end":
            assert self.read == self.said and "end" in self.done, "a cut that looks like an end"
        elif self.saw:  # who is stopped may have sent what nobody reads: so the kernel resets, too
            assert broken or "stop" in self.done, "an end that looks like a cut"
        out = self.it.core.outgoing
        if self.it.core.reason is None and out.ended and "stop" not in self.done:
            assert "user ends" in self.done, "a cut that looks like an end"
            assert self.took == self.sent


Verb = Callable[[Story], None]
_TURNS = (None, None, None)
_OFTEN: tuple[Verb | None, ...] = (
    *(Story.say,) * 6, Story.credit, Story.user_sends, Story.user_reads, Story.user_sends,
    Story.end, Story.user_ends, *_TURNS,
)  # fmt: skip
_SELDOM: tuple[tuple[Verb, ...], ...] = ((), (Story.reset,), (Story.stop,), (Story.user_resets,))


@pytest.mark.parametrize("reactor", ["1", "0"])
async def test_an_end_is_an_end_and_a_cut_is_a_cut(
    reactor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order, also at the same moment; nothing is lost, and nothing hangs."""
    monkeypatch.setenv("EDGE_TUNNEL_REACTOR", reactor)
    for seed in range(120):
        rng = random.Random(seed)
        verbs = _OFTEN + rng.choice(_SELDOM)
        async with poured() as it:
            story = Story(it, rng)
            for _ in range(rng.randrange(3, 40)):
                verb = rng.choice(verbs)
                if verb is None:
                    await trio.lowlevel.checkpoint()
                else:
                    with batch() if rng.random() < 0.5 else contextlib.nullcontext():
                        verb(story)
                if rng.random() < 0.005:
                    story.done.add("cancel")
                    it.splice.cancel()
            await story.finish()
            story.check()
