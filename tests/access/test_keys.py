"""access/keys.py: what is kept of a key, and which key fits."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tunnel.access.keys import (
    BadKey,
    KeyRecord,
    find,
    generate,
    read_row,
    record_of,
    replaced,
    row_of,
)

SIGNS = "".join(chr(number) for number in range(33, 0x250) if chr(number).isprintable())
KEYS = st.text(SIGNS, min_size=16, max_size=40)
UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def kept(*records: KeyRecord) -> dict[str, KeyRecord]:
    return {record.id: record for record in records}


def edge(key: str, **more: object) -> KeyRecord:
    return record_of(key, role="edge", name="device-7", created=0.0, **more)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(KEYS, KEYS)
def test_a_key_opens_its_own_record_only(one: str, other: str) -> None:
    """Any string may be a key; found by its id, compared as a whole, and back from its row."""
    record = read_row(row_of(edge(one)))
    assert record is not None and record == read_row(row_of(record))
    records = kept(record)
    assert find(one, records.get, 1.0) == record
    assert (find(other, records.get, 1.0) is None) == (one != other)


def test_nothing_of_a_key_is_kept_or_shown() -> None:
    """Neither row nor repr nor list has the key; two records of one key have different hashes."""
    key = generate()
    record, again = edge(key), edge(key)
    assert len(key) == len("etk_") + 43 and key.startswith("etk_")
    assert key not in row_of(record) + repr(record)
    assert key[4:] not in row_of(record)
    assert record.hash != again.hash and record.salt != again.salt
    assert not {"salt", "hash"} & record.shown().keys()


def test_an_imported_uuid_is_a_key_and_a_short_word_is_not() -> None:
    """An application key of ThingWorx goes on; what can be tried out does not."""
    assert find(UUID, kept(edge(UUID)).get, 1.0) is not None
    for bad in (
        "",
        "short",
        "fifteen-letters",
        "a key with blanks in it",
        "k" * 1025,
        "n" * 20 + "\n",
    ):
        with pytest.raises(BadKey, match="16 to 1024") as caught:
            edge(bad)
        assert not bad or bad not in str(caught.value)


@pytest.mark.parametrize("begin", ["ett_", "ets_"])
def test_what_a_link_takes_for_a_ticket_is_no_key(begin: str) -> None:
    """It would open the API alone: at a link such a text is never looked up as a key."""
    with pytest.raises(BadKey, match="ticket") as caught:
        edge(begin + "x" * 40)
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["unknown", "expired", "wrong with its id"])
def test_all_wrong_keys_take_one_path(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown, expired and wrong: one hash and one comparison of the same length, and None."""
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    records = {
        "unknown": {},
        "expired": kept(edge(UUID, expires=10.0)),
        "wrong with its id": kept(replace(edge(UUID), hash="0" * 64)),
    }[wrong]
    assert find(UUID, records.get, 10.0) is None
    assert [(len(one), len(other)) for one, other in compared] == [(64, 64)]


def test_an_edge_binds_its_own_name_unless_told() -> None:
    """Without patterns exactly the name, also if it looks like one."""
    assert edge(UUID).things == ("device-7",)
    assert record_of(UUID, role="edge", name="d*", created=0).things == ("d[*]",)
    assert edge(UUID, things=("line-3-*",)).things == ("line-3-*",)
    assert record_of(UUID, role="remote", name="anna", created=0).things == ()


@pytest.mark.parametrize(
    ("role", "name", "things"),
    [
        ("root", "a", ()),
        ("remote", "a", ("x",)),
        ("edge", "", ()),
        ("edge", "@a", ()),
        ("edge", "a", ("x\n",)),
    ],
)
def test_records_that_cannot_be(role: str, name: str, things: tuple[str, ...]) -> None:
    """Unknown roles and impossible names are refused."""
    with pytest.raises(BadKey):
        record_of(UUID, role=role, name=name, things=things, created=0)


def test_rotation_never_makes_a_key_live_longer() -> None:
    """The overlap ends an old key; it does not extend it."""
    assert replaced(edge(UUID), "new", 50.0).expires == 50.0
    assert replaced(edge(UUID, expires=20.0), "new", 50.0).expires == 20.0
    assert replaced(edge(UUID), "new", 50.0).replaced_by == "new"


def test_rows_that_are_not_understood_are_no_keys() -> None:
    """A damaged row, or one with a field that a newer program added, lets nobody in."""
    row = json.loads(row_of(edge(UUID)))
    for change in ({"scope": "x"}, {"salt": "zz"}, {"hash": ""}, {"things": [1]}, {"expires": "x"}):
        assert read_row(json.dumps({**row, **change})) is None
    for text in ("", "[]", "null", json.dumps({})):
        assert read_row(text) is None
