"""The order in which a link sends."""

from __future__ import annotations

from collections import deque

from edge_tunnel.protocol.outlet import Outlet


class Queue:
    """A source with messages in it."""

    def __init__(self, name: str, count: int) -> None:
        self.messages = deque(f"{name}{number}".encode() for number in range(count))

    @property
    def pending(self) -> bool:
        return bool(self.messages)

    def next_message(self) -> bytes | None:
        return self.messages.popleft() if self.messages else None


def drain(outlet: Outlet) -> list[bytes]:
    return list(iter(outlet.next_message, None))


def test_sources_take_turns() -> None:
    """A bulk transfer delays a keystroke by one frame."""
    outlet = Outlet()
    outlet.ready(Queue("bulk", 4))
    outlet.ready(Queue("key", 1))
    assert drain(outlet) == [b"bulk0", b"key0", b"bulk1", b"bulk2", b"bulk3"]


def test_urgent_first_in_order() -> None:
    """Control frames go ahead of data, first in, first out, and their bytes are counted."""
    outlet = Outlet()
    outlet.ready(Queue("data", 1))
    outlet.push(b"one")
    outlet.push(b"two")
    assert outlet.urgent_size == 6
    assert drain(outlet) == [b"one", b"two", b"data0"]
    assert outlet.urgent_size == 0


def test_ready_twice_is_one_turn() -> None:
    """A source keeps its place; saying it again gives it no second one."""
    outlet = Outlet()
    greedy, other = Queue("a", 2), Queue("b", 2)
    for source in (greedy, greedy, other, greedy):
        outlet.ready(source)
    assert drain(outlet) == [b"a0", b"b0", b"a1", b"b1"]


def test_a_source_that_ran_dry_comes_back() -> None:
    """None means: ask again after `ready`."""
    outlet = Outlet()
    source = Queue("a", 1)
    outlet.ready(source)
    assert drain(outlet) == [b"a0"]
    source.messages.append(b"later")
    assert outlet.next_message() is None
    outlet.ready(source)
    assert drain(outlet) == [b"later"]


def test_a_discarded_source_is_not_asked() -> None:
    """A stream that left the link sends nothing by it; discarding twice is harmless."""
    outlet = Outlet()
    source = Queue("a", 1)
    outlet.ready(source)
    outlet.discard(source)
    outlet.discard(source)
    assert outlet.next_message() is None


def test_the_writer_is_woken() -> None:
    """`on_ready` is called for each push and for each source that is new."""
    outlet = Outlet()
    calls: list[str] = []
    outlet.on_ready = lambda: calls.append(repr(outlet))
    source = Queue("a", 1)
    outlet.push(b"x")
    outlet.ready(source)
    outlet.ready(source)
    assert calls == ["<Outlet urgent=1 sources=0>", "<Outlet urgent=1 sources=1>"]


def test_a_source_that_thought_it_had_something() -> None:
    """It is asked once, and again after it says so."""

    class Hopeful(Queue):
        pending = True

        def next_message(self) -> bytes | None:
            self.asked += 1
            assert self.asked < 10
            return super().next_message()

        asked = 0

    outlet = Outlet()
    source = Hopeful("a", 1)
    outlet.ready(source)
    assert drain(outlet) == [b"a0"]
    assert source.asked == 2
    assert outlet.next_message() is None
    outlet.ready(source)
    assert (drain(outlet), source.asked) == ([], 3)


def test_groups() -> None:
    """Small messages go out together, until they are large enough; a large one is alone."""
    outlet = Outlet()
    outlet.push(b"urgent")
    outlet.ready(Queue("data", 3))
    assert outlet.next_group(10) == [b"urgent", b"data0"]
    assert not outlet.is_empty
    assert outlet.next_group(0) == [b"data1"]
    assert outlet.next_group(1000) == [b"data2"]
    assert outlet.is_empty and outlet.next_group(1000) == []


def test_a_message_that_need_not_wait() -> None:
    """It needs no source; what is urgent still goes first, and nothing else is overtaken."""
    outlet, ready = Outlet(), []
    outlet.on_ready = lambda: ready.append(outlet.urgent_size)
    assert outlet.pass_on(b"first") and ready == [5]
    assert not outlet.is_empty
    assert not outlet.pass_on(b"second")
    outlet.ready(Queue("waiting", 2))
    outlet.push(b"urgent")
    assert outlet.next_group(1) == [b"urgent"]
    assert outlet.next_group(1) == [b"first"] and outlet.urgent_size == 0
    assert not outlet.pass_on(b"third")
    assert drain(outlet) == [b"waiting0", b"waiting1"]
    outlet.push(b"urgent")
    assert not outlet.pass_on(b"fourth")
