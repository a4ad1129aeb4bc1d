"""Any text gives a configuration or a ConfigError, within a second, and no other exception."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_tunnel.config import ConfigFileError, load_config, load_proxy_config
from edge_tunnel.config.json_reader import MAX_DEPTH
from tests.config.conftest import Inspect

MIB = 1024 * 1024
FRAGMENTS = [
    *"{}[]:,\"'\\/#=\n\t .-+*",
    *("true", "null", "1", "0x", "1e9", '"a"', '"appKey"', '"ws_servers"', "host", "port"),
    *("//", "/*", "*/", '"""', "'''", "[[", "]]", "edge_tunnel", "services", "auto_bind", "\ufeff"),
    *("\x00", "\ud800".encode("utf-16-le", "surrogatepass").decode("latin-1"), "\u201c", "\u201d"),
]
texts = st.text(max_size=200) | st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join)
KEYS = ["ws_servers", "host", "port", "appKey", "auto_bind", "name", "edge_tunnel", "services"]
KEYS += ["tunnel", "read_timeout", "certificates", "cert_chain", "logger", "level", "limits"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
RELAXED = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _load_both(tmp_path: Path, data: bytes) -> None:
    for name in ("config.json", "config.toml"):
        path = tmp_path / name
        path.write_bytes(data)
        for load in (load_config, load_proxy_config):
            with contextlib.suppress(ConfigFileError):
                load(path, environ={})


@RELAXED
@given(text=texts)
@example(text='{"a": "\\ud800"}')
@example(text="\x00")
def test_any_text(tmp_path: Path, text: str) -> None:
    _load_both(tmp_path, text.encode("utf-8", "replace"))


@RELAXED
@given(data=st.binary(max_size=100))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    _load_both(tmp_path, data)


@RELAXED
@given(value=values)
def test_any_value_for_any_key(tmp_path: Path, value: object) -> None:
    """Well-formed, with known keys in wrong places and values of any type."""
    _load_both(tmp_path, json.dumps(value).encode())


@RELAXED
@given(data=st.data())
def test_any_damage_to_a_real_file(tmp_path: Path, files: Path, data: st.DataObject) -> None:
    """Cut pieces out of real files, and put others in."""
    name = data.draw(st.sampled_from(["ems-5.4.9.json", "edge.toml", "config.json.documented"]))
    text = (files / name).read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    put = data.draw(st.lists(st.sampled_from(FRAGMENTS), max_size=3).map("".join))
    _load_both(tmp_path, (text[:start] + put + text[end:]).encode("utf-8", "replace"))


@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH + 2, 20_000])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_any_nesting(inspect: Inspect, depth: int, left: str, right: str) -> None:
    """Deep nesting is a finding, never a RecursionError."""
    for name, text in (
        ("config.json", '{"x": ' + left * depth + "1" + right * depth + "}"),
        ("config.json", '{"x": ' + left * depth),
        ("config.toml", "x = " + "[" * depth + "]" * depth),
        ("config.toml", "x = " + "{a = " * depth + "1" + "}" * depth),
        ("config.toml", ".".join("a" * depth) + " = 1"),
        ("config.toml", "[" + ".".join("a" * depth) + "]"),
    ):
        found = inspect(text, name)
        assert found.config is None
        if depth > 2 * MAX_DEPTH:
            assert found.unreadable


MEGABYTES = {
    "blanks": " " * MIB,
    "lines": "\n" * MIB,
    "quotes": '"' * MIB,
    "escaped quotes": '"' + '\\"' * (MIB // 2),
    "lines of escaped quotes": '{"a": "\\"' + '\n\\"' * (MIB // 4),
    "unclosed lines": '{"a": ' + '"x\n' * (MIB // 4),
    "slashes": "{" + "/" * MIB,
    "comments": "{" + "/**/" * (MIB // 4),
    "line comments": "{" + "//\n" * (MIB // 4),
    "open comments": "{" + "/* " * (MIB // 4),
    "unknown keys": "{" + ",".join(f'"ping_rate{i}": 1' for i in range(60_000)) + "}",
    "same keys": "{" + '"appKey": "k",' * (MIB // 16) + "}",
    "numbers": '{"a": [' + "1," * (MIB // 2 - 10),
    "one number": '{"ws_connection": {"ping_rate": ' + "9" * (MIB - 100) + "}}",
    "one word": '{"a": ' + "a" * (MIB - 100),
    "one string": '{"resource": "' + "a" * (MIB - 100) + '"}',
    "backslashes": '{"resource": "' + "\\s" * (MIB // 2 - 100) + '"}',
    "long key": '{"' + "a" * (MIB - 100) + '": 1}',
    "commas": "{" + "," * (MIB - 100),
    "smart quotes": "{" + "\u201ca\u201d:1," * (MIB // 12),
    "secret words": "key" * (MIB // 3),
    "secret keys": '"key":' * (MIB // 6),
    "secret quotes": 'key"' * (MIB // 4),
    "appkeys": "{" + "appKey:" * (MIB // 8),
    "urls": "{" + "://" * (MIB // 3),
    "hex": "{" + "0123abcd-" * (MIB // 9),
    "triple quotes": 'a = """' * (MIB // 7),
    "toml pairs": "".join(f"a{i} = 1\n" for i in range(80_000)),
    "toml tables": "".join(f"[a{i}]\n" for i in range(80_000)),
    "toml lists": "[[a]]\n" * (MIB // 6),
    "toml elements": "a = [" + "1," * (MIB // 2 - 10) + "]",
    "toml empty tables": "a = [" + "{}," * (MIB // 3 - 10) + "]",
    "toml dots": "a" + ".a" * (MIB // 2 - 10) + " = 1",
    "toml one string": 'resource = "' + "a" * (MIB - 100) + '"',
    "toml one number": "resource = " + "9" * (MIB - 100),
    "toml comment": "#" + "a" * (MIB - 100),
    "toml escapes": 'resource = "' + "\\n" * (MIB // 2 - 100) + '"',
}


@pytest.mark.parametrize("name", ["config.json", "config.toml"])
@pytest.mark.parametrize("kind", MEGABYTES)
def test_the_time_grows_with_the_length(inspect: Inspect, kind: str, name: str) -> None:
    """An eighth of a megabyte: what is quadratic takes minutes already here."""
    assert _seconds(inspect, MEGABYTES[kind].encode()[: MIB // 8], name) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "config.toml"])
@pytest.mark.parametrize("kind", MEGABYTES)
def test_a_megabyte_of_anything_takes_less_than_a_second(
    inspect: Inspect, kind: str, name: str
) -> None:
    assert _seconds(inspect, MEGABYTES[kind].encode()[:MIB], name) < 1.0


def _seconds(inspect: Inspect, data: bytes, name: str) -> float:
    start = time.process_time()
    inspect(data, name)
    return time.process_time() - start


def test_more_than_a_megabyte_is_refused(inspect: Inspect) -> None:
    assert "larger than" in inspect(b" " * (MIB + 1)).findings[0].message


def test_errors_are_not_crowded_out(inspect: Inspect) -> None:
    """Few findings of each severity are kept, and the rest is counted."""
    text = "{" + ",".join(f'"k{i}": 1' for i in range(500)) + ', "logger": 5}'
    found = inspect(text)
    assert [f for f in found.findings if f.key == "logger"]
    assert any("more warnings are not shown" in f.message for f in found.findings)
    assert len(found.findings) < 120
