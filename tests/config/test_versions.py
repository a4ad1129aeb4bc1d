"""config/versions.py: which version is older."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.config.versions import is_older, is_version

RELEASES = st.lists(st.integers(0, 10_000), min_size=1, max_size=4)
ENDINGS = st.sampled_from(["", ".dev1", "a1", "b2", "rc1", ".post1"])


@st.composite
def versions(draw: st.DrawFn) -> str:
    return ".".join(map(str, draw(RELEASES))) + draw(ENDINGS)


@pytest.mark.parametrize(
    "ascending",
    [
        ["0.9.9", "0.10", "0.10.1", "1", "10"],
        ["1.0.dev3", "1.0a1", "1.0b1", "1.0rc1", "1.0rc2", "1.0", "1.0.post1", "1.0.1"],
        ["nonsense", "0"],
        ["", "0.0.0.dev0"],
        ["1.0.", "0.0.1"],
        ["²", "1"],
    ],
)
def test_order(ascending: list[str]) -> None:
    """Numbers count as numbers, what comes before a release is below it, nonsense below all."""
    for place, version in enumerate(ascending):
        for newer in ascending[place + 1 :]:
            assert is_older(version, newer)
            if is_version(version):
                assert not is_older(newer, version)


def test_equal() -> None:
    """Zeros at the end say nothing."""
    for one, other in (("1.0", "1"), ("0.1.0", "0.1"), ("v1.0", "1.0")):
        assert not is_older(one, other)
        assert not is_older(other, one)


@given(RELEASES, RELEASES)
def test_releases_compare_as_their_numbers(one: list[int], other: list[int]) -> None:
    """Number by number; the shorter one is filled with zeros."""
    longest = max(len(one), len(other))
    filled = [numbers + [0] * (longest - len(numbers)) for numbers in (one, other)]
    texts = [".".join(map(str, numbers)) for numbers in (one, other)]
    assert is_older(*texts) == (filled[0] < filled[1])


@given(versions(), versions(), versions())
def test_it_is_an_order(one: str, other: str, third: str) -> None:
    """Nothing is older than itself, of two at most one is, and what is older stays so."""
    assert not is_older(one, one)
    assert not (is_older(one, other) and is_older(other, one))
    if is_older(one, other) and is_older(other, third):
        assert is_older(one, third)


@given(st.text(max_size=256), versions())
def test_whatever_a_peer_says(said: str, wanted: str) -> None:
    """Any text has a place in the order, and none raises."""
    assert is_older(said, wanted) in (True, False)
    if not is_version(said):
        assert is_older(said, wanted)
