"""config/alwayson.py, and the options that say the same."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from edge_tunnel import ConfigFileError, Service
from edge_tunnel.cli.alwayson import add_alwayson, read_alwayson
from edge_tunnel.cli.exits import CommandFailed
from edge_tunnel.config.alwayson import AlwaysOnSettings, read_service
from edge_tunnel.config.proxy import inspect_proxy_config, load_proxy_config

TOP = 'listen = "127.0.0.1:9100"\ndev_key = "s3cret"\n'


def saved(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "proxy.toml"
    path.write_text(TOP + text)
    path.chmod(0o600)
    return path


def test_off_by_default(tmp_path: Path) -> None:
    """Without the table, with false, and with a table that does not say it (which is told)."""
    assert load_proxy_config(saved(tmp_path, "")).alwayson is None
    assert load_proxy_config(saved(tmp_path, "[alwayson]\nenabled = false\n")).alwayson is None
    found = inspect_proxy_config(saved(tmp_path, "[alwayson]\nsilence = 70\n"))
    assert found.config is not None
    assert found.config.alwayson is None
    assert "has no effect" in str(found.findings[0])


def test_everything_that_can_be_set(tmp_path: Path) -> None:
    text = (
        '[alwayson]\nenabled = true\nservices = ["ssh=127.0.0.1:22", "plc=[fe80::1]:102"]\n'
        "silence = 70\nopen_timeout = 5\nnotify = false\n"
        "max_streams = 7\nmax_streams_per_thing = 3\n"
    )
    assert load_proxy_config(saved(tmp_path, text)).alwayson == AlwaysOnSettings(
        services=(
            Service(name="ssh", host="127.0.0.1", port=22),
            Service(name="plc", host="fe80::1", port=102),
        ),
        silence=70.0,
        open_timeout=5.0,
        max_streams=7,
        max_streams_per_thing=3,
        notify=False,
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('services = ["ssh"]', "is not a service with host and port"),
        ("silence = 50", "silence"),  # C devices ping every 55 s
        ("max_streams = 0", "max_streams"),
        ('enabled = "perhaps"', "enabled"),
    ],
)
def test_what_is_wrong(line: str, words: str, tmp_path: Path) -> None:
    """One line that says what, and where."""
    with pytest.raises(ConfigFileError, match=words):
        load_proxy_config(saved(tmp_path, f"[alwayson]\n{line}\n"))


@pytest.mark.parametrize(
    "text", ["", "ssh", "ssh=", "ssh=22", "=h:22", "ssh=h:", "ssh=h:0", "ssh=h:65536", "ssh=h:٢٢",
             "s\n=h:1", "ssh=:22", "n" * 257 + "=h:1", "ssh=" + "h" * 256 + ":1"],
)  # fmt: skip
def test_what_is_no_service(text: str) -> None:
    assert read_service(text) is None


def read(*words: str, settings: AlwaysOnSettings | None = None) -> AlwaysOnSettings | None:
    parser = argparse.ArgumentParser()
    add_alwayson(parser)
    return read_alwayson(parser.parse_args(words), settings)


def test_options() -> None:
    """They turn it on, and add to what the file says."""
    assert read() is None
    assert read("--alwayson") == AlwaysOnSettings()
    ssh = Service(name="ssh", host="h", port=22)
    assert read("--alwayson", "--alwayson-service", "ssh=h:22") == AlwaysOnSettings(services=(ssh,))
    known = AlwaysOnSettings(services=(ssh,), silence=70)
    more = read("--alwayson-service", "web=h:80", settings=known)
    assert more is not None
    assert [each.name for each in more.services] == ["ssh", "web"]
    assert more.silence == 70


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--alwayson-service", "ssh=h:22"), "needs --alwayson"),
        (("--alwayson", "--alwayson-service", "ssh"), "write it as in ssh=127.0.0.1:22"),
    ],
)
def test_options_that_do_not_fit(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(CommandFailed, match=text):
        read(*words)
