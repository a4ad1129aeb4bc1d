"""The sending half: its table row by row, and what CREDIT and a resume do to it."""

from __future__ import annotations

import pytest

from edge_tunnel.errors import LocalProtocolError, RemoteProtocolError
from edge_tunnel.protocol.frames import MAX_DATA
from edge_tunnel.protocol.pacing import FULL_FRAME, Pace
from edge_tunnel.protocol.sending import SENDING_TABLE, SendHalf, SendState
from edge_tunnel.protocol.window import MAX_WINDOW

EVENTS = ("end", "stop", "acked", "reset")


def half(state: SendState) -> SendHalf:
    """A half that wrote and sent 10 bytes and then came into this state by its public verbs."""
    made = SendHalf(100, Pace())
    made.write(bytes(10))
    made.take()
    if state is SendState.BROKEN:
        made.reset()
    elif state is SendState.STOPPED:
        made.stop()
    elif state is not SendState.OPEN:
        made.end()
    if state is SendState.DONE:
        made.take_end()
        made.credit(11, 100)
    assert made.state is state
    return made


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", SendState)
def test_every_pair_is_in_the_table_or_refused(state: SendState, event: str) -> None:
    """Each state meets each event: the table's row, or LocalProtocolError and no change."""
    subject = half(state)
    wanted = SENDING_TABLE.get((state, event))
    if wanted is not None:
        subject._turn(event)
        assert subject.state is wanted
    else:
        with pytest.raises(LocalProtocolError, match=event):
            subject._turn(event)
        assert subject.state is state


def test_the_table_names_no_other_event() -> None:
    """The parametrisation above covers every row."""
    assert {event for _, event in SENDING_TABLE} == set(EVENTS)


@pytest.mark.parametrize("state", SendState)
def test_only_an_open_half_has_room(state: SendState) -> None:
    """Where nothing may be written there is no room, so no writer waits for it in vain."""
    subject = half(state)
    assert subject.room == (90 if state is SendState.OPEN else 0)
    with pytest.raises(LocalProtocolError):
        subject.write(bytes(91))


def test_no_limit_makes_us_keep_more_than_the_largest_window() -> None:
    """A far end that names a huge limit and delivers nothing cannot fill our memory."""
    subject = SendHalf(0, Pace())
    assert subject.credit(0, 2**62)
    assert subject.room == MAX_WINDOW
    subject.write(bytes(MAX_WINDOW))
    assert subject.room == 0
    taken = 0
    while taken < MAX_DATA:  # less is not worth filling
        taken += len(subject.take()[1])
    assert subject.credit(taken, 2**62)
    assert subject.room == taken


def test_little_room_is_not_worth_filling() -> None:
    """While more credit is to come; else frames become as small as the credit for each of them."""
    subject = SendHalf(4 * MAX_DATA, Pace())
    subject.write(bytes(4 * MAX_DATA - 1000))
    while subject.take()[1]:
        pass
    assert (subject.room, subject.usable) == (1000, 0)
    assert not subject.credit(1000, 4 * MAX_DATA + 1000)
    assert not subject.usable
    assert subject.credit(MAX_DATA, 5 * MAX_DATA)
    assert subject.usable
    assert not subject.credit(2 * MAX_DATA, 6 * MAX_DATA)  # it was roomy before
    subject.write(bytes(3))  # whoever has no more than that need not wait


@pytest.mark.parametrize("window", [1, 2, 1000, MAX_DATA, MAX_WINDOW])
def test_a_window_of_any_size_is_filled(window: int) -> None:
    """Half of a small one is worth it, and whatever there is when nothing is on its way."""
    subject = SendHalf(0, Pace())
    assert not subject.usable
    assert subject.credit(0, window)
    subject.write(bytes(window))
    assert not subject.usable
    while subject.take()[1]:
        pass
    half_of_it = (window + 1) // 2
    assert subject.credit(half_of_it, half_of_it + window)
    subject.write(bytes(subject.room))
    while subject.take()[1]:
        pass
    assert subject.credit(half_of_it + window, half_of_it + window + 1)
    assert subject.room == 1


def test_end_comes_after_the_last_byte() -> None:
    """END is given out once, and only when all bytes were taken."""
    subject = SendHalf(100, Pace())
    subject.write(b"abc")
    subject.end()
    assert subject.take_end() is None
    assert subject.pending
    subject.take()
    assert subject.pending
    assert subject.take_end() == 3
    assert subject.take_end() is None
    assert not subject.pending


def test_the_last_credit_makes_it_done() -> None:
    """END takes one offset, so the CREDIT behind it says that END was delivered."""
    subject = half(SendState.ENDING)
    subject.take_end()
    states = []
    for delivered in (10, 11):
        subject.credit(delivered, 100)
        states.append(subject.state)
    assert states == [SendState.ENDING, SendState.DONE]


@pytest.mark.parametrize("ended", [False, True])
def test_what_was_never_sent_cannot_be_delivered(ended: bool) -> None:
    """A CREDIT ahead of what went out is a lie, also if the bytes or END wait to go."""
    subject = SendHalf(100, Pace())
    subject.write(bytes(10))
    if ended:
        subject.take()
        subject.end()
    with pytest.raises(RemoteProtocolError, match="never sent"):
        subject.credit(11 if ended else 1, 100)


def test_a_late_credit_takes_nothing_back() -> None:
    """Neither the limit nor the base goes back."""
    subject = half(SendState.OPEN)
    subject.credit(8, 200)
    subject.credit(5, 150)
    assert subject.limit == 200
    assert subject.buffered == 2


def test_credit_tells_when_room_appears() -> None:
    """The user is woken once: when there was no room and now is."""
    subject = SendHalf(10, Pace())
    subject.write(bytes(10))
    assert not subject.credit(0, 10)
    assert subject.credit(0, 20)
    assert not subject.credit(0, 30)


@pytest.mark.parametrize(
    ("received", "delivered"),
    [(4, 4), (12, 4), (11, 4), (8, 9)],
    ids=["freed already", "never written", "END was never sent", "more delivered than received"],
)
def test_a_position_that_is_not_our_history_is_refused(received: int, delivered: int) -> None:
    """A resume goes on from where the far end can really stand, or not at all."""
    subject = half(SendState.ENDING)
    subject.credit(5, 100)
    with pytest.raises(RemoteProtocolError):
        subject.resume(received, delivered, 100)


def test_bytes_that_never_went_out_cannot_have_arrived() -> None:
    """Written is not sent: a far end that claims such bytes speaks of another history."""
    subject = half(SendState.OPEN)
    subject.write(bytes(5))
    with pytest.raises(RemoteProtocolError):
        subject.resume(11, 0, 100)


def test_resume_sends_again_from_where_the_far_end_stands() -> None:
    """Bytes and END go out again, from the far end's position."""
    subject = SendHalf(100, Pace())
    subject.write(b"0123456789")
    subject.end()
    subject.take()
    subject.take_end()
    subject.resume(7, 5, 100)
    assert subject.take() == (7, b"789")
    assert subject.take_end() == 10
    subject.resume(11, 5, 100)
    assert not subject.pending
    assert subject.buffered == 5


def test_a_stopped_half_resumes_with_end_alone() -> None:
    """What the far end does not want is not sent again; END is, until it has it."""
    subject = half(SendState.STOPPED)
    subject.resume(3, 2, 100)
    assert subject.take() == (10, b"")
    assert subject.take_end() == 10
    subject.resume(3, 2, 100)
    assert subject.take_end() == 10
    subject.resume(11, 11, 100)
    assert subject.state is SendState.DONE


def test_a_stop_that_crosses_end_leaves_it_sent() -> None:
    """The far end may have END already when it stops: its CREDIT for it is no lie."""
    subject = half(SendState.ENDING)
    assert subject.take_end() == 10
    subject.stop()
    assert subject.take_end() is None
    subject.credit(11, 100)
    assert subject.state is SendState.DONE


@pytest.mark.parametrize("state", [SendState.DONE, SendState.BROKEN])
def test_what_is_over_ignores_positions(state: SendState) -> None:
    """Nothing is kept, so nothing can be wrong."""
    subject = half(state)
    subject.resume(77, 99, 100)
    assert subject.state is state
    assert not subject.pending


def test_finish_is_for_a_lost_last_credit() -> None:
    """An ended half can be told that all was delivered; an open one cannot."""
    subject = half(SendState.ENDING)
    subject.finish()
    subject.finish()
    assert subject.state is SendState.DONE
    with pytest.raises(LocalProtocolError):
        half(SendState.OPEN).finish()


def test_writes_are_cut_into_frames() -> None:
    """One take gives a frame's worth: little at first, and the largest on a fast path."""
    subject = SendHalf(400_000, Pace())
    subject.write(bytes(400_000))
    first = len(subject.take()[1])
    assert subject.sent == first < FULL_FRAME
    while subject.sent < 200_000:
        subject.take()
    subject.credit(50_000, 400_000, 1.0)
    subject.credit(150_000, 400_000, 1.001)
    assert len(subject.take()[1]) == FULL_FRAME
    assert repr(subject).startswith("<SendHalf open")


def test_no_splinter_is_left_of_a_write() -> None:
    """An application that writes 64 KiB at a time gets a frame for each; more is divided."""
    pace = Pace()
    pace.size = FULL_FRAME
    subject = SendHalf(400_000, pace)
    for size in (MAX_DATA, MAX_DATA + 1):
        subject.write(bytes(size))
    assert [len(subject.take()[1]) for _ in range(3)] == [MAX_DATA, FULL_FRAME, 1025]


def test_an_outage_is_not_the_path() -> None:
    """The first CREDIT after a resume says how long the link was away, and not how fast it is."""
    pace = Pace()
    subject = SendHalf(10**6, pace)
    subject.write(bytes(10**6))
    while subject.take()[1]:
        pass
    subject.credit(100_000, 10**6, 1.0)
    subject.credit(200_000, 10**6, 1.001)
    subject.resume(200_000, 200_000, 10**6)
    while subject.take()[1]:
        pass
    subject.credit(300_000, 10**6, 61.0)
    assert pace.size == FULL_FRAME
    subject.credit(400_000, 10**6, 61.04)
    assert pace.size == pytest.approx(25_000)
