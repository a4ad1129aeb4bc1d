"""proxy/budget.py: who is cut, in which order, and how far."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.proxy.budget import Budget, whom_to_cut

tables = st.dictionaries(
    st.integers(0, 5), st.dictionaries(st.integers(0, 9), st.integers(1, 1000), min_size=1)
)


def test_the_port_with_the_most_comes_first_and_its_biggest() -> None:
    """Many of a middle size, all for one who does not read, are cut before a single big one."""
    held = {"slow": {"a": 40, "b": 50, "c": 45}, "busy": {"d": 100}, "small": {"e": 1}}
    assert list(whom_to_cut(held, 1)) == ["b"]
    assert list(whom_to_cut(held, 51)) == ["b", "d"]  # then 85 are left of slow's
    assert list(whom_to_cut(held, 10_000)) == ["b", "d", "c", "a", "e"]
    assert list(whom_to_cut(held, 0)) == []


@given(tables, st.integers(0, 5000))
def test_enough_is_freed_and_no_more_than_needed(
    held: dict[int, dict[int, int]], excess: int
) -> None:
    """Without the last one it would not have been enough; nothing is named twice."""
    ended = list(whom_to_cut(held, excess))
    assert len(set(ended)) == len(ended)
    whole = sum(sum(each.values()) for each in held.values())

    def freed(items: list[int]) -> int:
        return sum(size for each in held.values() for item, size in each.items() if item in items)

    assert freed(ended) >= min(excess, whole)
    if ended and len({item for each in held.values() for item in each}) == sum(
        map(len, held.values())
    ):
        assert freed(ended[:-1]) < excess


def test_the_limit() -> None:
    """It is over when it is above; cutting leaves an eighth of room; 0 is no limit."""
    budget = Budget(800)
    budget.held, budget.others = 700, 100
    assert not budget.is_over
    budget.others += 1
    assert budget.is_over
    assert budget.excess == 101
    assert not Budget(0).is_over
