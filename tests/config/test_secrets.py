"""No secret shows: not in findings, not in reports, reprs, errors or tracebacks."""

from __future__ import annotations

import argparse
import json
import traceback
from pathlib import Path

import pytest

from edge_tunnel.cli import check_config, convert_config
from edge_tunnel.config import ConfigFileError, Inspection, inspect_config, load_config, to_toml
from edge_tunnel.config.report import report
from tests.config.conftest import Inspect

PLANTED = "pl4nted"
FULL = """{
  "ws_servers": [{"host": "h", "port": 443}],
  "appKey": "pl4nted-1",
  "http_server": {"port": "x", "user": "u", "passphrase": "pl4nted-2", "password": "pl4nted-3"},
  "proxy": {"host": "p", "user": "u", "password": "pl4nted-4", "port": 99999},
  "certificates": {"validate": "x", "key_passphrase": "pl4nted-5", "client_cert": 5},
  "auto_bind": [{"name": 7, "user": "u", "password": "pl4nted-6", "port": "x"}],
  "data_security": {"key_hash": "pl4nted-7"}, "logger": 5
}"""

BROKEN = [
    # Each line below breaks a file that holds a secret in another way.
    FULL.replace('"appKey"', "\u201cappKey\u201d"),
    FULL.replace('"appKey": "pl4nted-1"', "\u201cappKey\u201d: \u201cpl4nted-1\u201d"),
    FULL.replace('"appKey": "pl4nted-1"', "'appKey': 'pl4nted-1'"),
    FULL.replace('"appKey": "pl4nted-1"', "appKey: pl4nted-1"),
    FULL.replace('"appKey": "pl4nted-1"', '"appKey" "pl4nted-1"'),
    FULL.replace('"appKey": "pl4nted-1"', '"appKey" = pl4nted-1'),
    FULL.replace('"appKey": "pl4nted-1"', '"appKey", "pl4nted-1"'),
    FULL.replace('"appKey": "pl4nted-1"', '"appKey":\n  pl4nted-1\n'),
    FULL.replace('"appKey": "pl4nted-1"', '"appKey":\n  "pl4nted-1'),
    FULL.replace('"pl4nted-1"', '"x\npl4nted-1"'),
    FULL.replace('"pl4nted-1",', '"pl4nted-1"'),
    FULL.replace('"pl4nted-1"', '"p"a,pl4nted-1"'),
    FULL.replace('"pl4nted-1"', '"p", pl4nted-1"'),
    FULL.replace('"pl4nted-1"', "pl4nted-1"),
    FULL.replace('"pl4nted-1"', '"a\\"pl4nted-1" x'),
    FULL.replace('"pl4nted-1"', '{"pl4nted-1": 1}'),
    FULL.replace('"pl4nted-1"', '["pl4nted-1"]'),
    FULL.replace('"pl4nted-1"', "[[1, 2], pl4nted-1]"),
    FULL.replace('"appKey"', '"appKeey"'),
    FULL.replace('"appKey"', '"aplicationKey"'),
    FULL.replace('"appKey"', '"myown"'),
    FULL.replace('"appKey"', '"appKey": "one", "appkey"'),
    FULL.replace('"appKey": "pl4nted-1"', '"ws_connection": {"passwort": "pl4nted-1"}'),
    FULL.replace('"pl4nted-1",', '"x", // formerly pl4nted-1'),
    FULL.replace('"pl4nted-1",', '"x", /* formerly\n pl4nted-1 */'),
    FULL.replace('"pl4nted-1",', '"x", # formerly pl4nted-1'),
    FULL + ' "appKey": "pl4nted-8"',
    FULL + " } pl4nted-8",
    FULL.replace("\n", ""),
    FULL.replace("\n", "").replace('"user"', "'user'"),
    FULL.replace("\n", "").replace('"proxy":', '"proxy"'),
    FULL.replace('"pl4nted-1"', '"AES:pl4nted"'),
    FULL.replace('"proxy": {"host": "p"', '"proxy": {"host": "http://u:pl4nted@p:1/"'),
    FULL.replace('"proxy": {', '"proxy": "http://u:pl4nted@p", "x": {'),
    "// pl4nted-8\n" + FULL,
    FULL.replace('"logger": 5', '"logger": 5 // pl4nted-8'),
    FULL.replace('"passphrase"', '"passphras{"'),
    FULL.replace('"password": "pl4nted-4"', 'trueword": "pl4nted-4"'),
    FULL.replace('"password": "pl4nted-4"', '}word": "pl4nted-4"'),
    FULL.replace('"appKey": "pl4nted-1"', '"myown" "pl4nted-1"'),
    *[FULL[:length] for length in range(0, len(FULL), 5)],
    *[FULL.replace(str(number), f'{number}", x', 1) for number in range(1, 8)],
    *[FULL.replace(f'"pl4nted-{number}"', f'pl4nted-{number}"') for number in range(1, 8)],
    *[FULL.replace(f'"pl4nted-{number}"', f'"pl4nted-{number}') for number in range(1, 8)],
]

TOML = """appKey = "pl4nted-1"
resource = 5
[[ws_servers]]
host = "h"
port = "x"
[proxy]
host = 1
password = '''
pl4nted-2
'''
[certificates]
key_passphrase = 'pl4nted-3' # and pl4nted-4
validate = 2
myown = "pl4nted-5"
"""
BROKEN_TOML = [
    TOML,
    TOML.replace('"pl4nted-1"', "pl4nted-1"),
    TOML.replace('"pl4nted-1"', '"pl4nted-1'),
    TOML.replace('"pl4nted-1"', '"a\\sb pl4nted-1"'),
    TOML.replace('"pl4nted-1"', '"""\na\npl4nted-1'),
    TOML.replace("appKey =", "appKey"),
    TOML.replace("appKey =", "appKey ="),
    TOML + 'appKey = "pl4nted-6"',
    TOML + "logger = 5 # pl4nted-6",
    TOML + "# pl4nted-6 \x00",
    TOML.replace("resource = 5", "resource = 5 # pl4nted-6"),
    TOML.replace('"pl4nted-5"', '""pl4nted-5"'),
    TOML + 'key_passphrase = "pl4nted-6"',
    # Not to its end: a key that nobody knows is only recognised in a text that can be read.
    *[TOML[:length] for length in range(0, TOML.index("myown"), 5)],
]


def everything(found: Inspection) -> str:
    """All that anyone could see of a result."""
    return "\n".join(
        [
            repr(found),
            *map(str, found.findings),
            *(f.excerpt for f in found.findings),
            report("f", found.findings, found.settings),
            repr(found.config),
            to_toml(found.config, found.origins) if found.config else "",
        ]
    )


@pytest.mark.parametrize("text", BROKEN)
def test_nothing_planted_in_json_shows(text: str, inspect: Inspect) -> None:
    """Wrong, broken, misspelt, commented out, cut off: findings show no secret."""
    assert PLANTED not in everything(inspect(text))


@pytest.mark.parametrize("text", BROKEN_TOML)
def test_nothing_planted_in_toml_shows(text: str, inspect: Inspect) -> None:
    assert PLANTED not in everything(inspect(text, "config.toml"))


def test_the_plain_test_can_fail(inspect: Inspect) -> None:
    """A value that is no secret does show: the tests above look in the right place."""
    assert PLANTED in everything(
        inspect(FULL.replace('"logger": 5', '"logger": {"level": "pl4nted"}'))
    )


@pytest.mark.parametrize(
    "name", ["ems-5.3.json", "ems-5.4.10-rewritten.json", "config.json.documented"]
)
def test_the_files_keep_their_secrets(files: Path, name: str) -> None:
    assert "planted" not in everything(inspect_config(files / name, environ={}))


def test_neither_error_nor_traceback_shows_a_secret(inspect: Inspect, tmp_path: Path) -> None:
    """Not even a traceback with the local variables of each frame, as error reporters make."""
    for text, name in ((FULL, "config.json"), (TOML, "config.toml"), (BROKEN[3], "broken.json")):
        inspect(text, name)
        with pytest.raises(ConfigFileError) as caught:
            load_config(tmp_path / name, environ={})
        trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        # The first frame is this test, which planted the secrets.
        trace.stack = traceback.StackSummary.from_list(list(trace.stack)[1:])
        shown = "".join(trace.format()) + str(caught.value) + repr(caught.value.args)
        assert PLANTED not in shown


def test_no_command_prints_a_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    good = FULL.replace('"x"', "1").replace("99999", "1").replace(": 7", ': "n"')
    for text in (FULL, good, good.replace(": 5", ": {}"), BROKEN[5]):
        path.write_text(text)
        for as_json in (True, False):
            check_config.run(argparse.Namespace(paths=[str(path)], json=as_json, strict=False))
        convert_config.run(argparse.Namespace(path=str(path), output=None, with_secrets=False))
        shown = capsys.readouterr()
        assert PLANTED not in shown.out + shown.err


def test_findings_as_json_hold_no_secret(inspect: Inspect) -> None:
    found = inspect(FULL)
    assert PLANTED not in json.dumps([vars(f) for f in found.findings], default=str)
