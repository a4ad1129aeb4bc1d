"""cli/table.py and cli/rates.py: what people read."""

from __future__ import annotations

import pytest

from edge_tunnel.cli.rates import NO_RATE, Rate, Rates, moves
from edge_tunnel.cli.table import Column, age, display_width, lay_out, size, speed
from edge_tunnel.protocol.listing import NodeRow, Row, ThingRow, TunnelRow

COLUMNS = (
    Column("NAME", 9),
    Column("A", 1, right=True),
    Column("B", 2),
    Column("C", 1, right=True),
)


def test_columns_line_up() -> None:
    """Numbers at the right, words at the left, no blanks at the end."""
    lines, left_out = lay_out(COLUMNS, [["x", "1", "b", "2"], ["yyyyy", "10", "", "3"]], None)
    assert lines == ["NAME    A  B  C", "x       1  b  2", "yyyyy  10     3"]
    assert left_out == []


def test_what_has_no_room_is_left_out() -> None:
    """The least important first, all of one importance together, and it is said."""
    row = ["x" * 5, "10", "bb", "3"]
    assert lay_out(COLUMNS, [row], 17)[1] == []
    assert lay_out(COLUMNS, [row], 15) == (["NAME   B", "xxxxx  bb"], ["A", "C"])
    assert lay_out(COLUMNS, [row], 5) == (["NAME", "xxxxx"], ["A", "B", "C"])
    assert lay_out(COLUMNS, [row], 4)[0] == ["NAME", "xxx…"]


def test_a_long_cell_does_not_push_the_others_out() -> None:
    """In a terminal; elsewhere nothing is cut."""
    row = ["x" * 100, "1", "b", "2"]
    assert lay_out(COLUMNS, [row], 80)[0][1] == "x" * 39 + "…  1  b  2"
    assert "x" * 100 in lay_out(COLUMNS, [row], None)[0][1]


def test_wide_characters() -> None:
    """They take two columns each, combining ones none."""
    assert [display_width(text) for text in ("abc", "日本", "e\u0301")] == [3, 4, 1]
    lines, _ = lay_out((Column("N", 1), Column("M", 1)), [["日", "1"], ["a", "2"]], 20)
    assert lines == ["N   M", "日  1", "a   2"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (7199, "119m"), (7200, "2h"), (1e6, "11d")],
)
def test_ages(seconds: float, text: str) -> None:
    """One unit; a clock that is ahead of ours reads as now."""
    assert age(seconds) == text


def test_sizes() -> None:
    """Without a blank, because it is one word of a row."""
    assert [size(0), size(1500), speed(None), speed(0.0)] == ["0B", "1.5KB", "-", "0B"]


def thing(sent: int, received: int, since: int = 1, *, known: bool = True) -> ThingRow:
    return ThingRow("t", "a", 1, known, since, "", (), 1, 1, sent, received)


def tunnel(sent: int, edge: str = "e", remote: str = "r") -> TunnelRow:
    return TunnelRow(bytes(16), 1, "t", "s", 1, "a", edge, "b", remote, 1, sent, 0)


def node(passed: int, started: int = 1, *, known: bool = True) -> NodeRow:
    return NodeRow("n", known, "", "", started, False, 0, 1, 0, passed)


@pytest.mark.parametrize(
    ("before", "now", "rate"),
    [
        (thing(100, 10), thing(300, 20), Rate(100.0, 5.0)),
        (node(100), node(200), Rate(50.0, 0.0)),
        (tunnel(0), tunnel(7), Rate(3.5, 0.0)),
        (thing(100, 10), thing(300, 20, since=2), NO_RATE),  # bound anew
        (thing(100, 10), thing(50, 10), NO_RATE),
        (thing(0, 0, known=False), thing(300, 20), NO_RATE),
        (thing(100, 10), thing(0, 0, known=False), NO_RATE),
        (node(100), node(200, started=2), NO_RATE),
        (tunnel(1000, "e", "r"), tunnel(5000, "e", ""), NO_RATE),  # another node counted
    ],
)
def test_rates(before: Row, now: Row, rate: Rate) -> None:
    """Differences of counters that count the same; nothing is made up for the others."""
    rates = Rates()
    rates.take([before], 10.0)
    assert rates.of(before) == NO_RATE
    rates.take([now], 12.0)
    assert rates.of(now) == rate


def test_a_row_that_is_new() -> None:
    """It has no rate before it was seen twice."""
    rates = Rates()
    rates.take([], 1.0)
    rates.take([node(5)], 2.0)
    assert rates.of(node(5)) == NO_RATE


def test_where_bytes_may_pass() -> None:
    """Only then a second look is worth its second."""
    idle = ThingRow("t", "a", 1, True, 1, "", (), 0, 0, 5, 5)
    assert [moves(each) for each in (idle, thing(0, 0), tunnel(0), node(0))] == [
        False,
        True,
        True,
        True,
    ]
