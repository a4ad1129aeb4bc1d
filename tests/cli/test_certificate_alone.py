"""A client certificate takes the place of a key (docs/access.md): also for our own commands."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from edge_tunnel.cli.access import add_access, read_access
from edge_tunnel.cli.exits import CommandFailed
from edge_tunnel.config import load_config

ANNA = ["--proxy", "wss://h", "--cert", "anna.pem"]


def access(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_access(parser)
    return parser.parse_args(words)


def test_of_a_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is asked for; one that is there is shown, and counts; the API knows keys alone."""
    monkeypatch.delenv("EDGE_TUNNEL_KEY", raising=False)
    assert read_access(access(*ANNA)).key.reveal() == ""
    with pytest.raises(CommandFailed, match="no key"):
        read_access(access(*ANNA), web=True)
    with pytest.raises(CommandFailed, match="no key"):
        read_access(access("--proxy", "wss://h"))
    monkeypatch.setenv("EDGE_TUNNEL_KEY", "k")
    assert read_access(access(*ANNA)).key.reveal() == "k"


def test_of_a_device(tmp_path: Path) -> None:
    """Its file needs no appKey."""
    path = tmp_path / "config.json"
    path.write_text(
        '{"ws_servers": [{"host": "h", "port": 443}], "auto_bind": [{"name": "d"}],'
        ' "certificates": {"client_cert": "d.pem", "key_file": "d.key"}}'
    )
    loaded = load_config(path, environ={})
    assert loaded.config.app_key.reveal() == ""
    assert not [each for each in loaded.settings if each.key == "appKey"]
