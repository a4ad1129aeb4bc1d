"""Where links meet that belong together."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.proxy.meeting import better_places

WORKERS = [f"a-{number}" for number in range(1, 5)]
things = st.text(min_size=1, max_size=20)


def place(thing: str, bound_at: str | None, me: str, alive: set[str]) -> str:
    """Where a link stays that came to `me`."""
    return next(iter(w for w in better_places(thing, bound_at, me, WORKERS) if w in alive), me)


@given(things, st.sets(st.sampled_from(WORKERS), min_size=1))
def test_all_that_live_agree_on_one_of_them(thing: str, alive: set[str]) -> None:
    places = {place(thing, None, me, alive) for me in alive}
    assert len(places) == 1 and places <= alive


@given(things, st.sampled_from(WORKERS), st.sampled_from(WORKERS))
def test_where_the_thing_is_its_links_go(thing: str, bound_at: str, me: str) -> None:
    assert place(thing, bound_at, me, set(WORKERS)) == bound_at


@given(things, st.sampled_from(WORKERS), st.sets(st.sampled_from(WORKERS), min_size=1))
def test_a_bind_that_is_left_behind_keeps_nobody_apart(
    thing: str, bound_at: str, alive: set[str]
) -> None:
    """The worker where it was is gone: whoever comes back meets, wherever he landed."""
    alive = alive - {bound_at}
    assert len({place(thing, bound_at, me, alive) for me in alive}) <= 1


@given(things, st.sampled_from(WORKERS))
def test_what_is_on_another_machine_stays(thing: str, me: str) -> None:
    assert better_places(thing, "b", me, WORKERS) == []
    assert better_places("", None, me, WORKERS) == []


@given(things, st.none() | st.sampled_from([*WORKERS, "b"]), st.sampled_from(WORKERS))
def test_nobody_passes_to_himself_or_twice(thing: str, bound_at: str | None, me: str) -> None:
    better = better_places(thing, bound_at, me, WORKERS)
    assert me not in better and len(set(better)) == len(better)


def test_things_are_spread_and_those_of_a_dead_worker_too() -> None:
    names = [f"thing-{number}" for number in range(2000)]
    before = {thing: place(thing, None, "a-1", set(WORKERS)) for thing in names}
    assert all(400 < count < 600 for count in Counter(before.values()).values())
    after = {thing: place(thing, None, "a-1", {"a-1", "a-2", "a-4"}) for thing in names}
    moved = [thing for thing in names if before[thing] != after[thing]]
    assert all(before[thing] == "a-3" for thing in moved)
    assert all(count > 120 for count in Counter(after[thing] for thing in moved).values())
