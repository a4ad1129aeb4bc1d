"""proxy/gather.py: pages of a list, pulled from this node and from the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import count

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import MAX_MESSAGE, Ask, Page
from edge_tunnel.protocol.listing import MAX_MISSING, MAX_ROWS, List, Missing, NodeRow, ThingRow
from edge_tunnel.proxy.gather import MAX_DUE, PATIENCE, Gather

PAGES = st.lists(st.integers(0, 3), min_size=1, max_size=5)
"""How many rows each page of a node has."""

ASK = Ask(7, 0, List.THINGS, "")


def thing(name: str, node: str = "a") -> ThingRow:
    return ThingRow(name, node, 1, True, 0, "", (), 0, 0, 0, 0)


def things(number: int, node: str = "a") -> list[ThingRow]:
    return [thing(f"{node}-{each}", node) for each in range(number)]


def page(number: int, rows: Sequence[ThingRow], *, more: bool) -> Page:
    return Page(1, number, List.THINGS, tuple(rows), (), more)


class Bench:
    """A gather, and what it asked of other nodes."""

    def __init__(
        self, own: Sequence[ThingRow] = (), nodes: Collection[str] = (), now: float = 0.0
    ) -> None:
        self.pulled: list[tuple[str, int]] = []
        self.silent: Collection[str] = ()
        self.gather = Gather(
            ASK,
            iter(own),
            nodes,
            now=now,
            pull=lambda node, page: self.pulled.append((node, page)),
            about=self.about,
        )
        self.gather.start()
        self.asked = count()

    def about(self, silent: Collection[str]) -> Iterator[ThingRow]:
        self.silent = list(silent)
        return (thing(f"{node}-of-map"[-256:], node) for node in self.silent)

    def next(self, now: float = 0.0) -> Page | None:
        self.gather.want(ASK._replace(page=next(self.asked)))
        return self.gather.next_page(now)

    def rest(self, now: float = 0.0) -> list[Page]:
        """Pages until the last, or until none is known yet."""
        pages = []
        while not self.gather.finished:
            made = self.next(now)
            if made is None:
                break
            pages.append(made)
        return pages


def names(pages: Sequence[Page]) -> list[str]:
    return [str(row[0]) for each in pages for row in each.rows]


def test_a_node_that_is_alone() -> None:
    """All rows, in pages; only the last one says that there is no more."""
    pages = Bench(things(600)).rest()
    assert names(pages) == names([page(0, things(600), more=False)])
    assert [len(each.rows) for each in pages] == [256, 256, 88, 0]
    assert [each.page for each in pages] == [0, 1, 2, 3]
    assert [each.more for each in pages] == [True, True, True, False]


def test_nothing_is_made_before_it_is_asked_for() -> None:
    """A reader that does not read costs one iterator."""
    made = []

    def rows() -> Iterator[ThingRow]:
        for row in things(1000):
            made.append(row)
            yield row

    gather = Gather(ASK, rows())
    assert gather.next_page(0) is None and not made
    gather.want(ASK)
    assert gather.next_page(0) is not None and len(made) == MAX_ROWS
    assert gather.next_page(0) is None and len(made) == MAX_ROWS


def test_the_largest_rows_are_messages() -> None:
    """Names of 256 letters of four bytes, 64 services, and sixteen nodes with long excuses."""
    long = "\U00010300" * 256
    row = ThingRow(long, long, 2**63 - 1, True, 2**63 - 1, long * 4, (long,) * 64, 1, 1, 1, 1)
    nodes = [f"{long[:-2]}{each:02}" for each in range(40)]
    bench = Bench([row] * 5, nodes)
    for node in nodes:
        bench.gather.missed(node, "\U00010300" * 5000)
    pages = bench.rest()
    for each in pages:
        message = encode(each)
        assert len(message) <= MAX_MESSAGE
        assert decode(message) == each
    assert sum(each.rows.count(row) for each in pages) == 5
    assert [len(each.missing) for each in pages][:3] == [MAX_MISSING, MAX_MISSING, 8]


def test_small_rows_fill_a_page() -> None:
    """By their number, not by their bytes."""
    row = NodeRow("n" * 20, True, "10.0.0.1:9101", "edge_tunnel/0.1.0", 1, False, 1, 1, 1, 1)
    gather = Gather(ASK._replace(list=List.NODES), iter([row] * 300))
    gather.want(ASK._replace(list=List.NODES))
    made = gather.next_page(0)
    assert made is not None and len(made.rows) == MAX_ROWS


def test_other_nodes_are_asked_at_once_and_pulled_one_page_ahead() -> None:
    """However slow the reader is, one page of each node is held."""
    bench = Bench(things(1), ["b", "c"])
    assert bench.pulled == [("b", 0), ("c", 0)]
    bench.gather.answered("b", page(0, things(2, "b"), more=True))
    bench.gather.answered("c", page(0, things(1, "c"), more=False))
    assert bench.pulled == [("b", 0), ("c", 0)]
    assert names(bench.rest()) == ["a-0", "b-0", "b-1", "c-0"]
    assert bench.pulled == [("b", 0), ("c", 0), ("b", 1)]
    assert not bench.gather.finished
    bench.gather.answered("b", page(1, [], more=False))
    assert [bench.gather.next_page(0) is not None for _ in range(3)] == [True, False, False]
    assert [each.more for each in bench.rest()] == [False]
    assert bench.silent == []


def test_a_silent_node_is_named_and_the_map_speaks_for_it() -> None:
    """After its patience, not before; the others' rows do not wait for it."""
    bench = Bench(things(1), ["b", "c"], now=100)
    bench.gather.answered("c", page(0, things(1, "c"), more=False))
    assert names(bench.rest(100)) == ["a-0", "c-0"]
    assert bench.gather.deadline == 100 + PATIENCE
    bench.gather.expire(100 + PATIENCE - 0.01)
    assert bench.gather.next_page(101) is None
    bench.gather.expire(100 + PATIENCE)
    made = bench.gather.next_page(102)
    assert made is not None and made.missing == (Missing("b", "did not answer within 2 s"),)
    pages = [made, *bench.rest()]
    assert names(pages) == ["b-of-map"] and pages[-1].more is False
    assert bench.silent == ["b"]


def test_a_node_that_falls_silent_in_the_middle() -> None:
    """Its next page has a deadline of its own."""
    bench = Bench([], ["b"])
    bench.gather.answered("b", page(0, things(1, "b"), more=True))
    assert names(bench.rest(50)) == ["b-0"]
    assert bench.gather.deadline == 50 + PATIENCE
    bench.gather.expire(50 + PATIENCE)
    assert names(bench.rest(52)) == ["b-of-map"]


@pytest.mark.parametrize("wrong", [page(1, things(1), more=True), page(5, things(1), more=True)])
def test_pages_that_nobody_waits_for(wrong: Page) -> None:
    """Of another number, a second time, after the deadline, or of a stranger: dropped."""
    bench = Bench([], ["b"])
    bench.gather.answered("b", wrong)
    bench.gather.answered("z", page(0, things(1, "z"), more=False))
    bench.gather.answered("b", page(0, things(1, "b"), more=False))
    bench.gather.answered("b", page(0, things(1, "b"), more=False))
    assert names(bench.rest()) == ["b-0"]
    late = Bench([], ["b"])
    late.gather.expire(PATIENCE)
    late.gather.answered("b", page(0, things(1, "b"), more=False))
    assert names(late.rest()) == ["b-of-map"]


def test_asking_out_of_order() -> None:
    """Pages are asked for one after the other, of one list, and not all at once."""
    for wrong in (ASK._replace(page=1), ASK._replace(list=List.NODES)):
        with pytest.raises(RemoteProtocolError, match="page 0 of list 7 comes next"):
            Gather(ASK, iter(())).want(wrong)
    gather = Gather(ASK, iter(()))
    for number in range(MAX_DUE):
        gather.want(ASK._replace(page=number))
    with pytest.raises(RemoteProtocolError, match="at once"):
        gather.want(ASK._replace(page=MAX_DUE))


def test_asks_behind_the_end_are_not_answered() -> None:
    """Whoever asks ahead cannot know where the end is."""
    bench = Bench(things(1))
    bench.rest()
    for _ in range(2 * MAX_DUE):
        assert bench.next() is None


def test_a_list_that_is_dropped() -> None:
    """Nothing more is made."""
    bench = Bench(things(1), ["b"])
    bench.gather.drop()
    assert bench.next() is None and bench.gather.finished


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("bcd"), PAGES, max_size=3),
    st.integers(0, 600),
    st.lists(st.sampled_from(["read", "b", "c", "d", "b dies", "c dies"]), max_size=60),
)
def test_every_row_once(nodes: dict[str, list[int]], own: int, steps: list[str]) -> None:
    """Answers, readers and deaths in any order: every page that came is passed on, none twice."""
    bench = Bench(things(own), nodes)
    sent = dict.fromkeys(nodes, 0)
    expected = {row.thing for row in things(own)}
    dead: set[str] = set()
    got: list[Page] = []

    def answer(node: str) -> None:
        number, sizes = sent[node], nodes[node]
        if (node, number) not in bench.pulled or number >= len(sizes) or node in dead:
            return
        rows = [thing(f"{node}-{number}-{each}", node) for each in range(sizes[number])]
        expected.update(row.thing for row in rows)
        bench.gather.answered(node, page(number, rows, more=number + 1 < len(sizes)))
        sent[node] += 1

    def read() -> None:
        if not bench.gather.finished and bench.gather._asked - bench.gather._page < MAX_DUE:
            made = bench.next()
            got.extend([] if made is None else [made])

    for step in steps:
        if step == "read":
            read()
        elif step in nodes:
            answer(step)
        elif step[0] in nodes and step[0] in bench.gather._parts:
            dead.add(step[0])
            bench.gather.missed(step[0], "died")
    for _ in range(40):
        for node in nodes:
            answer(node)
        read()
        while (made := bench.gather.next_page(0)) is not None:
            got.append(made)
    assert bench.gather.finished and got[-1].more is False
    assert sorted(names(got)) == sorted({*expected, *(f"{node}-of-map" for node in dead)})
    assert {each.node for made in got for each in made.missing} == dead
