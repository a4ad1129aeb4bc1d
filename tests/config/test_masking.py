"""Each layer that hides secrets, alone: in whole files they cover for each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tunnel.config.ems_ignored import EMS
from edge_tunnel.config.masking import secret_spans
from edge_tunnel.config.source import Source

PLANTED = "pl4nted"


def without_secrets(text: str) -> str:
    kept, at = "", 0
    for start, end in secret_spans(text):
        kept += text[at : max(start, at)]
        at = max(at, end)
    return kept + text[at:]


@pytest.mark.parametrize(
    "text",
    [
        '"appKey": "pl4nted", "x": 1',
        '"appKey" "pl4nted"',
        "appKey pl4nted",
        "app_key = pl4nted",
        "APPKEY: 'pl4nted'",
        "\u201cappKey\u201d: \u201cpl4nted\u201d",
        '"appKey":\n\n   "pl4nted"',
        '"appKey": "a\nb\npl4nted\n"',
        '"appKey": "\u201cpl4nted"',
        '"appKey": "a"b pl4nted"',
        '"appKey": "a", pl4nted",',
        '"appKey": "a\\"pl4nted"',
        '"appKey": "pl4nted',
        'appKey = """\na"b\n""pl4nted"""',
        "appKey = '''\na'b\npl4nted'''",
        '"proxy password": "pl4nted"',
        '"passwort": "pl4nted"',
        '"aplicationKey": "pl4nted"',
        "dev_key: pl4nted",
        "a AES:pl4nted+/== b",
        "see http://user:pl4nted@host/",
        "id 01234567-89ab-cdef-0123-456789abcdef",
    ],
)
def test_a_secret_is_hidden_by_the_text_alone(text: str) -> None:
    """Whatever the syntax is, from the name on all is hidden to where the value surely ended."""
    shown = without_secrets(text)
    assert PLANTED not in shown and "89ab" not in shown


@pytest.mark.parametrize(
    "text",
    [
        '{"appKey": "k", "shown": 1}',
        '"appKey": "k"} shown',
        '"appKey": "k",\n"shown": 1',
        '"key_file": "shown"',
        'appKey_file = "shown"',
        '"host": "monkey.shown"',
    ],
)
def test_the_rest_of_the_line_is_shown_where_the_value_surely_ended(text: str) -> None:
    assert "shown" in without_secrets(text)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('"host": "example.com" "port": 443', '"host": "example.com" "port": 443'),
        ('"hots": "example.com", "port": 443', '***: ***, "port": 443'),
        ('"host": "a" "pl4nted"', '"host": "a" ***'),
        ('myown = ""pl4nted"', '*** = ""***"'),
        ("word: pl4nted, level: LOUD", "***: ***, level: LOUD"),
        ('"logger": {"pl4nted', '"logger": {***'),
        ("port 1234567", "port 1234567"),
        ("1234567 true 12345", "*** true 12345"),
    ],
)
def test_a_broken_line_shows_familiar_words_only(line: str, shown: str) -> None:
    """Known names, the one value after a harmless one, short numbers and punctuation."""
    source = Source(Path("f"), line)
    source.only_show(EMS.familiar())
    assert source.excerpt(0)[0] == shown


@pytest.mark.parametrize(
    ("text", "at", "shown", "caret"),
    [
        ("  ab\n", 3, "ab", 1),
        ("  ab\n", 0, "  ab", 0),
        ("a\nbcd", 4, "bcd", 2),
        ("a HIDE b", 0, "a *** b", 0),
        ("a HIDE b", 3, "a *** b", 2),
        ("a HIDE b", 7, "a *** b", 6),
        ("a HIDE", 6, "a ***", 5),
        ("", 0, "", 0),
    ],
)
def test_the_caret_keeps_its_place_beside_masks(text: str, at: int, shown: str, caret: int) -> None:
    source = Source(Path("f"), text)
    if "HIDE" in text:
        source.hide([(text.index("HIDE"), text.index("HIDE") + 4)])
    assert source.excerpt(at) == (shown, caret)


def test_a_text_does_not_show_itself() -> None:
    assert PLANTED not in repr(Source(Path("f"), PLANTED))
