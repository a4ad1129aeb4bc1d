"""JSON as people write it: what is understood, and what is said about it."""

from __future__ import annotations

import pytest

from edge_tunnel.config import Inspection, Severity
from tests.config.conftest import Inspect

SERVERS = '"ws_servers": [{"host": "h", "port": 443}]'
GOOD = SERVERS + ', "appKey": "k"'


def told(found: Inspection) -> list[str]:
    return [f"{f.line}:{f.column} {f.message}; {f.hint}" for f in found.findings]


HERE = "\u00a7"
"""Marks the place of a finding in a text; it is taken out before the text is read."""


def told_at(text: str, inspect: Inspect) -> tuple[Inspection, list[str]]:
    """What was said about the marked place."""
    before = text.partition(HERE)[0]
    place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))} "
    found = inspect(text.replace(HERE, ""))
    return found, [one for one in told(found) if one.startswith(place)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("§// c\n{" + GOOD + "}", "comment"),
        ("{" + GOOD + " §/* c */}", "comment"),
        ("{" + GOOD + "§,\n}", "a comma after the last element"),
        ("{" + GOOD + ', "auto_bind": [{"name": "n"}§,]}', "a comma after the last"),
        ("§\ufeff{" + GOOD + "}", "byte order mark"),
        ("{" + GOOD + '}\n§}"', "one } too many"),
        ("{" + GOOD + '}§, "logger": §}', "closes the configuration too early"),
        ("{" + GOOD + ', "resource": "/a§\\sb"}', "single backslash"),
        ("{" + GOOD + ', "certificates": {"client_cert": "§\\u12"}}', "single backslash"),
        ("{" + GOOD + ', "http_server": {"port": §08000}}', "leading zero"),
        ("{" + GOOD + ',\n"x": "a§\nb"}', "a line break inside a string"),
    ],
)
def test_what_is_borne(text: str, words: str, inspect: Inspect) -> None:
    """The file is used, and its owner is told where it is not as EMS wants it."""
    found, here = told_at(text, inspect)
    assert found.config is not None
    assert [one for one in here if words in one], told(found)


def test_latin_1_is_borne(inspect: Inspect) -> None:
    """What is not UTF-8 is read all the same, with the place of the first wrong byte."""
    found = inspect(b"{" + GOOD.encode() + b',\n"auto_bind": [{"name": "\xfc"}]}')
    assert found.config is not None
    assert found.config.things == ("\u00fc",)
    assert [one for one in told(found) if one.startswith("2:25 this is not UTF-8")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"ws_servers": [{"host": "h"§ "port": 443}], "appKey": "k"}', "no comma"),
        ('{"ws_servers": [{"host": "h"§\n"port": 443}], "appKey": "k"}', "end of this line"),
        ("{" + SERVERS + '§\n"appKey": "k"}', "end of this line"),
        ("{§\u201cappKey\u201d: \u201ck\u201d, " + SERVERS + "}", "typographic quotes (2"),
        ("{§'appKey': 'k', " + SERVERS + "}", "single quotes (2 times"),
        ("{§appKey: 'k', " + SERVERS + "}", "a key without quotes"),
        ("{" + GOOD + "§", "ends before the } that closes line 1"),
        ("{" + SERVERS[:-1] + "§", "ends before the ] that closes line 1"),
        ("{" + SERVERS[:-2] + "§", "ends before the } that closes line 1"),
        ("{" + GOOD + ', §"logger"', "a key without a value"),
        ("{" + GOOD + ', "logger":§', "ends where a value"),
        ("{" + GOOD + "§]", "] closes what line 1 opened, which needs }"),
        ('{"appKey" §"k", ' + SERVERS + "}", "no colon"),
        ('{"appKey" §= "k", ' + SERVERS + "}", "write a colon"),
        ('{"appKey": "k"§; ' + SERVERS + "}", "a semicolon"),
        ('{"appKey": "k"§,, ' + SERVERS + "}", "an extra comma"),
        ('{§, "appKey": "k", ' + SERVERS + "}", "an extra comma"),
        ('{"appKey": §"k,\n' + SERVERS + "}", "without its closing quote"),
        ("§" + GOOD, "does not begin with {"),
        ("§[]", "the file holds a list"),
        ("§", "the file is empty"),
        ("  \n§", "the file is empty"),
        ("§<xml/>", "XML"),
        ("§port = 3\n", "name the file .toml"),
        ("§[logger]\nlevel = 1", "name the file .toml"),
        ("§# c\n{" + GOOD + "}", "write // instead"),
        ("{" + GOOD + ', "logger": {"auto_flush": §true/false}}', "placeholder"),
        ("{" + GOOD + ', "logger": {"auto_flush": §TRUE}}', "lower case"),
        ("{" + GOOD + ', "logger": {"auto_flush": §yes}}', "write true or false"),
        ("{" + GOOD + ', "ws_connection": {"ping_rate": §+5}}', "not a number as JSON"),
        ("{" + GOOD + ', "ws_connection": {"ping_rate": §10s}}', "no unit"),
        ("{" + GOOD + ', "logger": {"level": §INFO}}', "text without quotes"),
        ("{" + GOOD + " §/* }", "a comment that never ends"),
        ("{" + GOOD + " §/ }", "a single slash"),
        ("§{\0" + GOOD, "not text"),
    ],
)
def test_what_cannot_be_read(text: str, words: str, inspect: Inspect) -> None:
    """Line, column, and a guess at the cause."""
    found, here = told_at(text, inspect)
    assert found.unreadable and found.config is None
    assert [one for one in here if words in one], told(found)


def test_utf_16_is_named(inspect: Inspect) -> None:
    found = inspect(b"\xff\xfe" + GOOD.encode("utf-16-le"))
    assert found.unreadable and "UTF-16" in found.findings[0].message


def test_one_run_names_every_mistake(inspect: Inspect) -> None:
    """After a mistake the reader goes on, and settings behind it are checked as well."""
    text = "{" + SERVERS + '\n"appKey": "k",\n"logger": {"level": LOUD},\n"tunnel": 5, "proxy": {}}'
    found = inspect(text)
    errors = [(f.line, f.key) for f in found.findings if f.severity is Severity.ERROR]
    assert errors == [(1, ""), (3, ""), (4, "tunnel")]


def test_nothing_is_called_missing_that_may_not_have_been_read(inspect: Inspect) -> None:
    """A cut-off file is told that it is cut off, not that it lacks what was cut."""
    found = inspect('{"logger": {"level": "INFO"},')
    assert [f.message for f in found.findings if f.severity is Severity.ERROR] == [
        "the file ends before the } that closes line 1"
    ]


def test_the_caret_stands_under_the_mistake(inspect: Inspect) -> None:
    found = inspect('{\n    "ws_servers": [\n        {"host": "h" "port": 443}\n    ]\n}')
    finding = next(f for f in found.findings if f.line == 3)
    assert finding.excerpt == '{"host": "h" "port": 443}'
    assert finding.excerpt[: finding.caret] == '{"host": "h"'


def test_long_lines_are_cut_around_the_place(inspect: Inspect) -> None:
    found = inspect("{" + GOOD + ', "x": [' + "[1, 2, 3]," * 99 + '1], "logger": {"level": LOUD}}')
    finding = next(f for f in found.findings if "without quotes" in f.message)
    assert len(finding.excerpt) < 110
    assert finding.excerpt[finding.caret :].startswith("LOUD")


def test_escapes_make_characters(inspect: Inspect) -> None:
    """Also beyond the basic plane; half of a pair alone becomes the replacement character."""
    names = r'{"name": "\u00fc\ud83d\ude00\/\"\\"}, {"name": "\ud83d"}'
    found = inspect("{" + GOOD + ', "auto_bind": [' + names + "]}")
    assert found.config is not None
    assert found.config.things == ('\u00fc\U0001f600/"\\', "\ufffd")


def test_control_characters_do_not_reach_a_terminal(inspect: Inspect) -> None:
    found = inspect("{" + GOOD + ', "\x1b[31m": "\x07", "logger": 3}')
    assert all(char.isprintable() for f in found.findings for char in str(f) + f.excerpt)
