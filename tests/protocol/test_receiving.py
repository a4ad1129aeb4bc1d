"""The receiving half: its table row by row; order, gaps, ends and credit."""

from __future__ import annotations

import pytest

from edge_tunnel.errors import LocalProtocolError, RemoteProtocolError
from edge_tunnel.protocol.frames import MAX_DATA
from edge_tunnel.protocol.receiving import (
    RECEIVING_TABLE,
    CreditExceeded,
    ReceiveHalf,
    ReceiveState,
)
from edge_tunnel.protocol.window import MAX_WINDOW, MOST_UNTOLD, Budget, Window

EVENTS = ("end", "read", "stop", "reset")


def half(state: ReceiveState = ReceiveState.OPEN, *, size: int = 100) -> ReceiveHalf:
    """A half that got 10 bytes, read 4, and came into this state by its public verbs."""
    made = ReceiveHalf(Window(Budget(), size))
    made.data(0, b"0123456789")
    made.take(4, 0.0, 0.0)
    if state in (ReceiveState.ENDED, ReceiveState.DONE):
        made.end(10)
    if state is ReceiveState.DONE:
        made.take(100, 0.0, 0.0)
        made.take(100, 0.0, 0.0)
    elif state is ReceiveState.STOPPED:
        made.stop()
    elif state is ReceiveState.BROKEN:
        made.reset()
    assert made.state is state
    return made


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", ReceiveState)
def test_every_pair_is_in_the_table_or_refused(state: ReceiveState, event: str) -> None:
    """Each state meets each event: the table's row, or LocalProtocolError and no change."""
    subject = half(state)
    wanted = RECEIVING_TABLE.get((state, event))
    if wanted is not None:
        subject._turn(event)
        assert subject.state is wanted
    else:
        with pytest.raises(LocalProtocolError, match=event):
            subject._turn(event)
        assert subject.state is state


def test_the_table_names_no_other_event() -> None:
    """The parametrisation above covers every row."""
    assert {event for _, event in RECEIVING_TABLE} == set(EVENTS)


def test_a_duplicate_is_trimmed() -> None:
    """Bytes that are here already are dropped, whole frames and the fronts of frames."""
    subject = half()
    assert not subject.data(2, b"2345")
    assert subject.data(8, b"89ab")
    assert b"".join(subject.take(100, 0.0, 0.0) for _ in range(2)) == b"456789ab"
    assert not subject.readable


def test_a_gap_is_the_peers_error() -> None:
    """Bytes after a hole are never delivered."""
    subject = half()
    with pytest.raises(RemoteProtocolError, match="gap"):
        subject.data(11, b"b")
    assert subject.received == 10


def test_past_the_credit() -> None:
    """One byte more than was allowed is an error of its own; the tunnel ends for it."""
    subject = half()
    assert subject.data(10, bytes(90))
    with pytest.raises(CreditExceeded):
        subject.data(100, b"x")


def test_end_needs_every_byte() -> None:
    """END before the last byte, or behind bytes that came, is an error."""
    for offset in (9, 11):
        subject = half()
        with pytest.raises(RemoteProtocolError, match="end at"):
            subject.end(offset)
        assert subject.state is ReceiveState.OPEN


def test_end_twice_must_agree() -> None:
    """A repeated END is fine, another one is not; nor are bytes behind it."""
    subject = half(ReceiveState.ENDED)
    assert not subject.end(10)
    with pytest.raises(RemoteProtocolError):
        subject.end(12)
    with pytest.raises(RemoteProtocolError, match="after the end"):
        subject.data(10, b"xy")


def test_eof_comes_after_the_bytes() -> None:
    """The user reads all bytes first, then b"", and only then END counts as delivered."""
    subject = half(ReceiveState.ENDED)
    assert subject.take(100, 0.0, 0.0) == b"456789"
    assert (subject.delivered, subject.state) == (10, ReceiveState.ENDED)
    assert subject.take(100, 0.0, 0.0) == b""
    assert (subject.delivered, subject.state) == (11, ReceiveState.DONE)
    assert subject.take(100, 0.0, 0.0) == b""


@pytest.mark.parametrize("state", [ReceiveState.STOPPED, ReceiveState.BROKEN])
def test_a_false_eof_is_refused(state: ReceiveState) -> None:
    """take() with nothing readable raises: b"" would look like a clean end."""
    subject = half(state)
    assert not subject.readable
    with pytest.raises(LocalProtocolError):
        subject.take(100, 0.0, 0.0)
    empty = ReceiveHalf(Window(Budget()))
    with pytest.raises(LocalProtocolError):
        empty.take(100, 0.0, 0.0)


@pytest.mark.parametrize(
    "state", [ReceiveState.STOPPED, ReceiveState.DONE, ReceiveState.BROKEN], ids=lambda s: s.value
)
def test_bytes_that_nobody_wants_are_dropped(state: ReceiveState) -> None:
    """They may still be under way, and cost nothing."""
    subject = half(state)
    assert not subject.data(10, b"more")
    assert not subject._chunks


def test_a_stopped_half_is_done_when_end_comes() -> None:
    """Bytes that are missing before that END were not wanted; it is delivered at once."""
    subject = half(ReceiveState.STOPPED)
    assert not subject.end(50)
    assert (subject.state, subject.delivered, subject.told) == (ReceiveState.DONE, 51, False)


@pytest.mark.parametrize("offset", [9, 101, 2**63 - 1])
def test_a_stopped_half_knows_where_end_can_be(offset: int) -> None:
    """Not before what arrived and not beyond the credit."""
    subject = half(ReceiveState.STOPPED)
    with pytest.raises(RemoteProtocolError, match="end at"):
        subject.end(offset)


def test_stop_after_end_delivers_it() -> None:
    """Who stops reading when END is here already has all that there was."""
    subject = half(ReceiveState.ENDED)
    subject.stop()
    assert (subject.state, subject.delivered) == (ReceiveState.DONE, 11)


def test_credit_is_due_after_half_a_window() -> None:
    """A frame of credit for every byte would double the traffic."""
    subject = ReceiveHalf(Window(Budget(), 100))
    subject.data(0, bytes(100))
    subject.take(49, 0.0, 0.0)
    assert not subject.credit_due()
    subject.take(1, 0.0, 0.0)
    assert subject.credit_due()
    assert subject.take_credit() == (50, 150)
    assert not subject.credit_due()
    assert subject.told


def test_credit_is_due_after_a_mebibyte() -> None:
    """A long path would be empty while its sender waits for half of a large window."""
    subject = ReceiveHalf(Window(Budget(), MAX_WINDOW))
    for start in range(0, MOST_UNTOLD, MAX_DATA):
        assert not subject.credit_due()
        subject.data(start, bytes(MAX_DATA))
        subject.take(MAX_DATA, 1000.0, 0.1)
    assert subject.credit_due()
    assert subject.take_credit() == (MOST_UNTOLD, MAX_WINDOW + MOST_UNTOLD)
    assert not subject.credit_due()


def test_credit_is_due_at_the_end() -> None:
    """However few bytes there were, the far end wants to know that it may forget."""
    subject = half(ReceiveState.DONE)
    assert subject.credit_due()
    assert subject.take_credit() == (11, 100)
    assert not subject.credit_due()


def test_small_arrivals_are_joined() -> None:
    """A flood of one-byte frames costs bytes, not objects."""
    subject = ReceiveHalf(Window(Budget(), 100_000))
    for offset in range(10_000):
        subject.data(offset, b"x")
    assert len(subject._chunks) <= 4
    assert b"".join(subject.take(100_000, 0.0, 0.0) for _ in range(4)) == b"x" * 10_000
    assert repr(subject) == "<ReceiveHalf open received=10000 delivered=10000 limit=100000>"


def fill(half: ReceiveHalf) -> None:
    """The far end sends what it may."""
    if half.received < half.limit:
        half.data(half.received, bytes(half.limit - half.received))


def test_what_was_promised_stays_in_the_budget() -> None:
    """A reader that has become slow gives its window back as it reads. Else others would grow by
    what its far end may still send: each stream would hold the largest window in the end."""
    total, now = 100_000, 1000.0
    budget = Budget(total)
    halves = [ReceiveHalf(Window(budget, 1000)) for _ in range(10)]
    for each in halves:
        for _ in range(20):  # it reads all that comes, and grows
            fill(each)
            now += 0.1
            while each.readable:
                each.take(10**6, now, 0.1)
            each.take_credit()
        fill(each)  # and then nearly nothing
        for _ in range(3):
            now += 10
            each.take(1, now, 0.1)
            each.take_credit()
        promised = sum(half.limit - half.delivered for half in halves)
        assert promised <= len(halves) * 1000 + total
        assert sum(half.window.held - 1000 for half in halves) == total - budget.left
    assert budget.is_short
    while halves[0].readable:
        now += 1
        halves[0].take(500, now, 0.1)
        halves[0].take_credit()
    assert not budget.is_short


def test_few_bytes_alone_are_thin() -> None:
    """A keystroke is; a few bytes in front of others, and a whole frame, are not."""
    budget = Budget()
    subject, other = ReceiveHalf(Window(budget, 10_000)), Window(budget)
    subject.data(0, bytes(5000))
    subject.take(10, 1.0, 0.0)
    subject.take(5000, 2.0, 0.0)
    assert budget.thin.but(other) < 0
    subject.data(5000, b"k")
    subject.take(100, 3.0, 0.0)
    assert budget.thin.but(other) == 3.0
