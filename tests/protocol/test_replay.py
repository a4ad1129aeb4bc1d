"""ReplayBuffer against a plain bytearray."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from edge_tunnel.protocol.replay import ReplayBuffer

SIZES = (0, 1, 10, 1000, 4095, 4096, 4097, 9000)


def content(offset: int, size: int) -> bytes:
    return (bytes(range(251)) * (2 + size // 251))[offset % 251 : offset % 251 + size]


class Plain:
    """The buffer and what it should be: every byte ever appended, and three numbers."""

    def __init__(self) -> None:
        self.buffer = ReplayBuffer()
        self.base = self.next = self.end = 0

    def append(self, size: int, kind: type[bytes | bytearray | memoryview] = bytes) -> None:
        source = bytearray(content(self.end, size))
        self.buffer.append(kind(source))
        if kind is not memoryview:
            source[:] = bytes(size)  # the caller may use its buffer again
        self.end += size

    def take(self, most: int) -> None:
        offset, data = self.buffer.take(most)
        assert offset == self.next
        assert len(data) <= most
        assert (len(data) == 0) == (self.next == self.end)
        assert bytes(data) == content(offset, len(data))
        self.next += len(data)

    def release(self, share: float) -> None:
        self.base += int((self.next - self.base) * share)
        self.buffer.release(self.base)

    def rewind(self, share: float) -> None:
        self.next = self.base + int((self.end - self.base) * share)
        self.buffer.rewind(self.next)

    def clear(self) -> None:
        self.buffer.clear()
        self.base = self.next = self.end

    def check(self) -> None:
        buffer = self.buffer
        assert (buffer.base, buffer.next, buffer.end) == (self.base, self.next, self.end)
        kept = sum(map(len, buffer._blocks))
        assert self.end - self.base <= kept <= self.end - self.base + 9000, "bytes are not freed"


OPERATIONS = st.one_of(
    st.tuples(
        st.just("append"), st.sampled_from(SIZES), st.sampled_from((bytes, bytearray, memoryview))
    ),
    st.tuples(st.just("take"), st.sampled_from((1, 100, 4096, 65536))),
    st.tuples(st.just("release"), st.sampled_from((0.0, 0.3, 1.0))),
    st.tuples(st.just("rewind"), st.sampled_from((0.0, 0.5, 1.0))),
    st.tuples(st.just("clear")),
)


@given(st.lists(OPERATIONS, max_size=40))
def test_behaves_as_a_bytearray_with_three_numbers(
    operations: list[tuple[str, object]],
) -> None:
    """Any order of append, take, release, rewind and clear gives the right bytes at each offset."""
    plain = Plain()
    for name, *arguments in operations:
        getattr(plain, name)(*arguments)
        plain.check()
    while plain.next < plain.end:
        plain.take(65536)


@pytest.mark.parametrize("seed", range(20))
def test_long_histories(seed: int) -> None:
    """The same over thousands of steps, where blocks come and go."""
    rng = random.Random(seed)
    plain = Plain()
    for _ in range(1500):
        dice = rng.random()
        if dice < 0.4:
            plain.append(rng.choice(SIZES))
        elif dice < 0.8:
            plain.take(rng.choice((1, 100, 5000, 65536)))
        elif dice < 0.95:
            plain.release(rng.random())
        else:
            plain.rewind(rng.random())
        plain.check()


def test_large_blocks_are_not_copied() -> None:
    """A block that fits one frame leaves as the object that came."""
    buffer = ReplayBuffer()
    block = bytes(10_000)
    buffer.append(block)
    assert buffer.take(65536)[1] is block


def test_small_writes_are_joined() -> None:
    """One-byte writes share blocks, or their objects would weigh fifty times the bytes."""
    buffer = ReplayBuffer()
    for _ in range(10_000):
        buffer.append(b"x")
    assert len(buffer._blocks) == 3
    assert repr(buffer) == "<ReplayBuffer base=0 next=0 end=10000>"


def test_the_tail_grows_behind_the_cursor() -> None:
    """A block that was sent to its end and then grew is sent from there on."""
    buffer = ReplayBuffer()
    buffer.append(b"abc")
    assert bytes(buffer.take(100)[1]) == b"abc"
    assert bytes(buffer.take(100)[1]) == b""
    buffer.append(b"def")
    assert buffer.take(100) == (3, b"def")
