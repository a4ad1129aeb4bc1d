"""The header that names a thing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.protocol.hint import HEADER, hinted_thing, with_hint


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=80))
def test_what_is_named_is_read(thing: str) -> None:
    value = with_hint(thing)[HEADER]
    assert value.isascii() and value.isprintable() and " " not in value
    assert hinted_thing([value]) == thing


def test_nothing_is_named() -> None:
    assert with_hint("") == {} == with_hint("é" * 256)
    assert hinted_thing([]) == ""


@given(st.lists(st.text(max_size=20) | st.just("x" * 1025), max_size=3))
def test_strangers_may_write_what_they_like(values: list[str]) -> None:
    thing = hinted_thing(values)
    assert len(thing) <= 1024
    if len(values) != 1:
        assert not thing, "of two names nobody knows which one was meant"
