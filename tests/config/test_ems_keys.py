"""Every key that EMS documents has a rule, and the rule checks its type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_tunnel.config import Severity
from edge_tunnel.config.ems_ignored import EMS
from edge_tunnel.config.rules import Rule
from tests.config.conftest import Inspect

KEYS = json.loads(Path(__file__).with_name("files").joinpath("ems-keys.json").read_text())
Row = list[Any]
"""Group, key, type, unit, and whether it is a secret."""

SINGLE = [row for row in KEYS if row[2] != "objects"]
# A key in ThingWorx's own form is plain even beside data_security.key_hash.
KEY = "00112233-4455-6677-8899-aabbccddeeff"
GOOD: dict[str, Any] = {"ws_servers": [{"host": "h", "port": 443}], "appKey": KEY}

START = '"ws_servers": [{"host": "h", "port": 443}], "appKey": "k",\n'

# What fits each key where the type alone does not say it.
VALUES = {
    "resource": "/r",
    "restart": "any",
    "level": "INFO",
    "publish_level": "INFO",
    "encryption": "ssl",
    "protocol": "http",
    "cipher_suite": "ALL",
    "fingerprint_whitelist": ["ab" * 32],
    "fingerprint_allowlist": ["ab" * 32],
    "virtual_dirs": [{"tw": "/"}],
    "max_msg_size": 1048576,
    "idle_timeout": 300000,
}
BY_TYPE = {"string": "x", "integer": 50, "boolean": True, "array": ["x"]}
BY_UNIT = {"ms": 10000, "bytes": 65536}
WRONG = {"string": True, "integer": [1], "boolean": "perhaps", "array": True}


def named(row: Row) -> str:
    return f"{row[0]}.{row[1]}"


def document(group: str, key: str, value: object) -> str:
    """A file that is fine, with one key set to a value."""
    root: dict[str, Any] = json.loads(json.dumps(GOOD))
    place = root
    for part in filter(None, group.split(".")):
        if part.endswith("[]"):
            place = root.setdefault(part[:-2], [{"name": "n"}])[0]
        else:
            place = place.setdefault(part, {})
    place[key] = value
    return json.dumps(root)


@pytest.mark.parametrize("row", KEYS, ids=named)
def test_no_key_without_a_rule(row: Row) -> None:
    """Each has an effect or a reason why not, and a secret is known to be one."""
    group, key, _, _, secret = row
    entry = EMS.find(group, key)
    assert entry is not None
    if isinstance(entry, Rule):
        assert bool(entry.target) is not bool(entry.why)
        assert entry.secret is secret


@pytest.mark.parametrize("row", SINGLE, ids=named)
def test_a_right_value_is_taken(row: Row, inspect: Inspect) -> None:
    """No documented key is unknown, and none is refused with a value of its type."""
    group, key, kind, unit, _ = row
    value = VALUES.get(key, BY_UNIT.get(unit, BY_TYPE[kind]))
    found = inspect(document(group, key, value))
    assert found.config is not None, found.findings
    assert not [f for f in found.findings if "unknown" in f.message or "must be" in f.message]


@pytest.mark.parametrize("row", SINGLE, ids=named)
def test_a_value_of_the_wrong_type_is_found(row: Row, inspect: Inspect) -> None:
    """An error where the key has an effect, a warning where it has none."""
    group, key, kind, _, _ = row
    if key == "virtual_dirs":
        pytest.skip("its keys are the user's own")
    found = inspect(document(group, key, WRONG[kind]))
    entry = EMS.find(group, key)
    assert isinstance(entry, Rule)
    expected = Severity.ERROR if entry.target or entry.strict else Severity.WARNING
    told = [f for f in found.findings if f.key.endswith(key) and f.severity is expected]
    assert told, found.findings


@pytest.mark.parametrize("spelling", ["appKey", "appkey", "APPKEY", "app_key"])
def test_the_spellings_of_app_key(spelling: str, inspect: Inspect) -> None:
    text = '{"ws_servers": [{"host": "h", "port": 443}], "appKey": "k"}'
    assert inspect(text.replace("appKey", spelling)).config is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"ws_connection": {"ping_rate": 55}', "did you mean 55000?"),
        ('"ws_connection": {"encryption": "tsl"}', "did you mean ssl?"),
        ('"ws_connection": {"ping_rat": 1}', "did you mean ping_rate?"),
        ('"ping_rate": 1', "belongs in ws_connection"),
        ('"certificates": {"fingerprint_whitelist": []}', "is empty"),
        ('"certificates": {"fingerprint_allowlist": ["xyz"]}', "64 hex digits"),
        ('"certificates": {"key_file": "a.p12"}', "PKCS#12"),
        ('"certificates": {"cipher_suite": "NONSENSE"}', "no cipher"),
        ('"certificates": {"cert_chain": "c:\\new.pem"}', "holds a line break"),
        ('"proxy": {"host": "p", "user": "CORP\\\\user"}', "NTLM"),
        ('"proxy": {"host": "p", "user": "CORP\\user"}', "NTLM"),
        ('"proxy": {"host": "http://p:3128"}', "not a URL"),
        ('"proxy": {"host": "p:3128"}', "port as a key of its own"),
        ('"proxy": {"user": "u"}', "no effect without proxy.host"),
        ('"certificates": {"key_file": "k"}', "no effect without client_cert"),
        ('"certificates": {"validate": false}', "not validated"),
        ('"certificates": {"disable_hostname_validation": true}', "host names are not"),
        ('"ws_connection": {"encryption": "none"}', "not encrypted"),
        ('"ws_connection": {"encryption": "fips"}', "FIPS"),
        ('"ws_connection": {"verbose": "true"}', "a string taken as true"),
        ('"ws_connection": {"ping_rate": "5000"}', "a number written as a string"),
        ('"ws_connection": {"ping_rate": 1e99999999999999999999}', "must be a number"),
        ('"ws_connection": {"connect_retries": 1.5}', "whole number"),
        ('"ws_connection": {"max_msg_size": 32768}', "one message cannot hold"),
        ('"ws_connection": {"ping_rate": 5000, "PING_RATE": 6000}', "line 2 counts"),
        ('"auto_bind": {"name": "n"}', "binds nothing"),
        ('"auto-bind": [{"name": "n"}]', "a hyphen"),
        ('"auto_bind": [{"name": "n"}, {"name": "n"}]', "binds a name again"),
        ('"auto_bind": [{}]', "has no name"),
        ('"auto_bind": "n"', "a list of objects"),
        (
            '"auto_bind": [{"name": "pump\u00a07"}]',
            "holds a character that cannot be seen (U+00A0)",
        ),
        ('"auto_bind": [{"name": "' + "n" * 257 + '"}]', "at most 256 characters"),
        (
            '"edge_tunnel": {"services": [{"name": "a\u200b", "port": 1}]}',
            "holds a character that cannot be seen (U+200B)",
        ),
        ('"http_server": {"ssl ": true}', "blanks in the key"),
        ('"http_server": 5', "a group of keys"),
        ('"tunnel": {"idle_timeout": 300000}', "EMS never honoured"),
        ('"edge_tunnel": {"services": [{"name": "a"}]}', "has no port"),
        ('"edge_tunnel": {"ping_interval": 0}', "0 is out of range: 0.1 to 86400 s"),
        ('"edge_tunnel": {"idle_ping_interval": 0.05}', "0.05 is out of range: 0.1 to 86400 s"),
        ('"ws_connection": {"ping_rate": 99}', "99 is out of range: 100 to 86400000 ms"),
        ('"edge_tunnel": {"ping_interval": 2}, "ws_connection": {"ping_rate": 9000}', "wins"),
        (
            '"edge_tunnel": {"services": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}',
            "already there",
        ),
    ],
)
def test_what_is_said(text: str, words: str, inspect: Inspect) -> None:
    """Each oddity is named, with what to do."""
    found = inspect("{" + START + text + "}")
    assert [f for f in found.findings if words in f"{f.message}; {f.hint}"], found.findings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"tunnel": {"read_timeout": 5000}', ("tunnel.read_timeout", 5.0)),
        ('"tunnel": {"idle_timeout": 0}', ("tunnel.idle_timeout", None)),
        ('"tunnel": {"chunk_size": 4096}', ("tunnel.buffer_size", 4096)),
        ('"ws_connection": {"connect_retries": 3}', ("link.retries", 3)),
        ('"ws_connection": {"connect_retries": -1}', ("link.retries", None)),
        ('"ws_connection": {"ping_rate": 0x}', None),
        ('"ws_connection": {"encryption": "NONE"}', ("link.encrypted", False)),
        ('"ws_connection": {"PING_RATE": 5000, "ping_rate": 6000}', ("link.ping_interval", 5.0)),
        ('"certificates": {"client_key": "k", "client_cert": "c"}', ("tls.client_key", "k")),
        ('"certificates": {"allow_self_signed": 1}', ("tls.allow_self_signed", True)),
        ('"logger": {"level": "AUDIT"}', ("log_level", "CRITICAL")),
        ('"resource": "Thingworx/WS"', ("resource", "/Thingworx/WS")),
        ('"auto_bind": {"name": "n"}', ("things", ("n",))),
        ('"ws_connection": {"ping_rate": null}', ("link.ping_interval", 5.0)),
        ('"edge_tunnel": {"ping_interval": 2.5}', ("link.ping_interval", 2.5)),
        ('"resource": "/x"', ("link.resting_ping_interval", 30.0)),
        ('"edge_tunnel": {"ping_interval": 2.5}', ("link.resting_ping_interval", 2.5)),
        ('"edge_tunnel": {"ping_interval": 5}', ("link.resting_ping_interval", 5.0)),
        ('"ws_connection": {"ping_rate": 55000}', ("link.resting_ping_interval", 55.0)),
        ('"edge_tunnel": {"idle_ping_interval": 50}', ("link.resting_ping_interval", 50.0)),
    ],
)
def test_what_takes_effect(
    text: str, expected: tuple[str, object] | None, inspect: Inspect
) -> None:
    found = inspect("{" + START + text + "}")
    if expected is None:
        assert found.config is None
        return
    value: object = found.config
    for name in expected[0].split("."):
        value = getattr(value, name)
    assert value == expected[1]
