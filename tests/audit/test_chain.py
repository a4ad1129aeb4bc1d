"""Any change of a log is found; a log that nobody changed is not accused."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_tunnel.audit.chain import Chain, Seal, Unsound
from edge_tunnel.audit.records import Event, Kind
from tests.audit.logs import KEY, head_of, lines_of, some_lines, verified

TEXTS = st.text(st.characters(), max_size=40)
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(sorted(set(Kind) - {Kind.RECOVERED})),
    time=st.floats(0, 4e9),
    who=TEXTS,
    thing=TEXTS,
    reason=TEXTS,
    code=st.none() | st.integers(0, 2**63 - 1),
    seconds=st.none() | st.floats(0, 1e9),
)
SEALS = st.sampled_from([Seal(), Seal(KEY)])


@settings(max_examples=40)
@given(st.lists(EVENTS, min_size=1, max_size=8), SEALS, st.data())
def test_clean_log_verifies(events: list[Event], seal: Seal, data: st.DataObject) -> None:
    """Any content, cut into files anywhere, under either seal."""
    lines = lines_of(events, seal)
    at = data.draw(st.integers(1, len(lines)))
    files = [b"".join(part) for part in (lines[:at], lines[at:]) if part]
    report = verified(*files, seal=seal, expect_head=head_of(lines[-1], seal))
    assert report.problems == []
    assert (report.records, report.after_expected) == (len(lines), 0)


@settings(max_examples=60)
@given(st.integers(1, 6), SEALS, st.data())
def test_any_changed_byte_is_found(count: int, seal: Seal, data: st.DataObject) -> None:
    """One byte anywhere, the last line's and line ends as well."""
    log = bytearray(b"".join(some_lines(count, seal)))
    at = data.draw(st.integers(0, len(log) - 1))
    log[at] ^= data.draw(st.integers(1, 255))
    assert verified(bytes(log), seal=seal).problems


@settings(max_examples=60)
@given(st.integers(2, 8), SEALS, st.data())
def test_any_removed_line_is_found(count: int, seal: Seal, data: st.DataObject) -> None:
    """Any run of lines that is not the tail; the tail with the head that was told before."""
    lines = some_lines(count, seal)
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start + 1, count))
    left = lines[:start] + lines[end:]
    assume(left)
    report = verified(b"".join(left), seal=seal, expect_head=head_of(lines[-1], seal))
    if start == 0:  # the beginning was rotated away, or cut off: it says so
        assert "begins here" in report.notes[0].what
    else:
        assert report.problems


@given(st.permutations(range(6)), SEALS)
def test_any_other_order_is_found(order: list[int], seal: Seal) -> None:
    """All orders but the right one."""
    assume(order != sorted(order))
    lines = some_lines(6, seal)
    assert verified(b"".join(lines[at] for at in order), seal=seal).problems


@settings(max_examples=60)
@given(st.integers(1, 6), SEALS, st.data())
def test_anything_put_in_is_found(count: int, seal: Seal, data: st.DataObject) -> None:
    """A line again, somebody's own record, or garbage, at any place."""
    lines = some_lines(count, seal)
    forged = lines_of([Event(kind=Kind.BOUND, thing="forged")], Seal())[0]
    chained = lines_of([Event(kind=Kind.BOUND)], Seal(), Chain(count, head_of(lines[-1], seal)))[0]
    new = data.draw(st.sampled_from([*lines, forged, b"\n", b"garbage\n", b"{}\n"]))
    at = data.draw(st.integers(0, count))
    log = [*lines[:at], new, *lines[at:]]
    assert verified(b"".join(log), seal=seal).problems
    if seal.name == "hmac_sha256":  # without the key nobody can go on with the chain
        assert verified(b"".join([*lines, chained]), seal=seal).problems


@settings(max_examples=60)
@given(st.integers(1, 6), SEALS, st.data())
def test_any_cut_is_found(count: int, seal: Seal, data: st.DataObject) -> None:
    """The end cut off at any byte. At a line's end it takes the head that was told elsewhere."""
    log = b"".join(some_lines(count, seal))
    cut = log[: data.draw(st.integers(0, len(log) - 1))]
    expect = head_of(log.splitlines()[-1], seal)
    assert verified(cut, seal=seal, expect_head=expect).problems
    if cut and not cut.endswith(b"\n"):
        assert "is not whole" in verified(cut, seal=seal).problems[0].what


def test_rewritten_log_needs_the_key() -> None:
    """Without a key a log can be written anew from any line on; with one it cannot."""
    events = [Event(kind=Kind.BOUND, thing="t") for _ in range(4)]
    honest, forged = lines_of(events, Seal(KEY)), lines_of(events[:2], Seal(b"guess" * 4))
    assert not verified(b"".join(lines_of(events[:2]))).problems  # what a plain chain cannot show
    assert verified(b"".join([*honest[:2], *forged]), seal=Seal(KEY)).problems
    unsealed = lines_of(events[2:], Seal(), Chain(2, head_of(honest[1], Seal(KEY))))
    problems = verified(b"".join([*honest[:2], *unsealed]), seal=Seal(KEY)).problems
    assert "without a key" in problems[0].what


@given(st.binary(max_size=300) | TEXTS.map(lambda text: json.dumps({"x": text}).encode()))
def test_any_bytes_are_unsound_or_a_record(line: bytes) -> None:
    """Hostile lines get Unsound, never another error."""
    for check in (Seal().check, Seal.claims):
        with pytest.raises(Unsound):
            check(line)


@pytest.mark.parametrize(
    "fields",
    [
        '{"seq":true,"previous":""',
        '{"seq":1e3,"previous":""',
        '{"seq":-1,"previous":""',
        '{"seq":' + "9" * 5000 + ',"previous":""',
        '{"seq":9223372036854775808,"previous":""',
        '{"previous":""',
        '{"seq":1,"previous":7',
        "[" * 20_000,
        "7",
    ],
)
def test_fields_of_wrong_types(fields: str) -> None:
    """The hash is right, the rest is not."""
    body = fields.encode()
    line = body + b',"sha256":"' + Seal().of(body).encode() + b'"}'
    with pytest.raises(Unsound, match="no audit record"):
        Seal().check(line)


@given(st.integers(1, 5), SEALS)
def test_another_log_spliced_in_is_found(at: int, seal: Seal) -> None:
    """The numbers fit and each line is sound, under the key as well: it is another chain."""
    other = lines_of([Event(kind=Kind.BOUND, thing="other") for _ in range(6)], seal)
    problems = verified(b"".join([*some_lines(6, seal)[:at], *other[at:]]), seal=seal).problems
    assert [(place.line, "does not continue" in place.what) for place in problems] == [
        (at + 1, True)
    ]


def test_number_that_comes_again_is_found() -> None:
    """A forger who chains well and counts badly."""
    lines = some_lines(3)
    again = lines_of([Event(kind=Kind.BOUND)], chain=Chain(1, head_of(lines[2])))
    problems = verified(b"".join([*lines, *again])).problems
    assert "record 2 stands after 3" in problems[0].what
