"""Planted secrets, and all that our commands say of them: nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edge_tunnel
from edge_tunnel.access.rights import Credentials
from edge_tunnel.cli.access import Access
from edge_tunnel.cli.main import main
from edge_tunnel.config import HttpProxy, NodeTls, ProxyConfig, Secret, TlsSettings
from edge_tunnel.link.pem import Pair
from edge_tunnel.link.settings import EndpointSettings
from edge_tunnel.protocol.frames import Hello
from edge_tunnel.proxy.hop import HopSettings

PLANTED = "pl4nted"
KEY = f"{PLANTED}-key"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files that hold secrets, all of them leading nowhere."""
    edge = {
        "ws_servers": [{"host": "127.0.0.1", "port": 1}],
        "appKey": KEY,
        "auto_bind": [{"name": "x"}],
        "proxy": {"host": "127.0.0.1", "port": 1, "user": "u", "password": f"{PLANTED}-pw"},
        "certificates": {
            "client_cert": "/nowhere.pem", "key_file": "/nowhere.key", "key_passphrase": PLANTED,
        },
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(edge))
    (tmp_path / "broken.json").write_text(json.dumps(edge)[:-9])
    tls = f'[tls]\ncertificate = "x"\nkey = "y"\nkey_password = "{PLANTED}-tls"\n'
    (tmp_path / "proxy.toml").write_text(f'listen = ":1"\ndev_key = "{KEY}"\n{tls}')
    (tmp_path / "proxy-broken.toml").write_text(f'dev_key = "{KEY}"\n[tls\n{tls}')
    (tmp_path / "key").write_text(KEY)
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    return tmp_path


PROXY = ("--proxy", "wss://127.0.0.1:1", "--connect-timeout", "0.3", "--resume-timeout", "0.3")
COMMANDS = [
    ["proxy", "--config", "proxy.toml"],
    ["proxy", "--config", "proxy-broken.toml"],
    ["proxy", "--config", "proxy.toml", "--json"],
    ["proxy", "--listen", "nonsense", "--dev-key", KEY],
    ["proxy", "--listen", "127.0.0.1:99999", "--dev-key", KEY, "--json"],
    ["proxy", "--listen", "127.0.0.1:0", "--dev-key", KEY, "--tls-cert", "a", "--tls-key", "key"],
    ["proxy", "--listen", "127.0.0.1:0", "--dev-key", KEY, KEY],
    ["edge", "--config", "config.json"],
    ["edge", "--config", "broken.json", "--json"],
    ["connect", "x", "y", "--key", KEY, *PROXY],
    ["connect", "x", "y", "--key", KEY, *PROXY, "--json", "--log-level", "DEBUG"],
    ["connect", "x", "y", "--key-file", "key", *PROXY, "--http-proxy", f"u:{KEY}@127.0.0.1:1"],
    ["connect", "x", "y", "--key", KEY, "--proxy", f"ws://u:{KEY}@h:1"],
    ["connect", "x", "y", "--key", KEY, "--cert", "key", *PROXY],
    ["connect", "x", "y", "--keey", KEY, *PROXY],
    ["connect", "x", "y", "--key", KEY, "--key-file", KEY, *PROXY],
    ["check-config", "config.json", "broken.json", "proxy.toml", "proxy-broken.toml"],
    ["check-config", "--json", "config.json", "broken.json", "proxy.toml", "proxy-broken.toml"],
    ["convert-config", "config.json"],
    ["convert-config", "broken.json"],
    ["tls", "show", "key"],
    ["tls", "renew", "--dir", ".", "key"],
]


@pytest.mark.parametrize("debug", ["", "1"], ids=["", "debug"])
@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(words[:3]) for words in COMMANDS])
def test_no_command_shows_a_secret(
    words: list[str],
    debug: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever is wrong, with tracebacks and debug logs: not on stdout, not on stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGE_TUNNEL_DEBUG", debug)
    monkeypatch.setenv("EDGE_TUNNEL_KEY_PASSPHRASE", f"{PLANTED}-phrase")
    code = main(words)
    assert code != 70
    out, err = capfd.readouterr()
    assert PLANTED not in out + err + caplog.text
    assert out or err


SECRET = Secret(KEY)
HOLDERS = [
    HopSettings(key=KEY),
    HttpProxy(host="h", user="u", password=SECRET),
    Access(("ws://h",), SECRET, TlsSettings(client_key_passphrase=SECRET), None),
    Credentials(role="edge", key=KEY),
    Hello(1, 1, "edge", "x", KEY, b"", 1, ()),
    NodeTls(certificate="a", key="b", key_password=SECRET),
    Pair(certificate="a", key="b", password=SECRET),
    ProxyConfig(dev_key=SECRET),
    edge_tunnel.EdgeConfig(servers=(), app_key=SECRET, things=()),
    EndpointSettings(urls=("ws://h",), key=KEY),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=[type(each).__name__ for each in HOLDERS])
def test_no_repr_shows_a_secret(holder: object) -> None:
    """What a traceback with its variables, or a log line with %r, would print."""
    assert PLANTED not in f"{holder!r} {holder} {[holder]}"


def test_the_test_can_fail(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The one option that is there to show them shows them: we look in the right place."""
    monkeypatch.chdir(folder)
    assert main(["convert-config", "--with-secrets", "config.json"]) == 0
    assert PLANTED in capfd.readouterr().out


@pytest.mark.parametrize("option", ["--key", "--dev-key"])
def test_a_secret_among_the_arguments_is_warned_of(
    option: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Once, on stderr, with the better way."""
    monkeypatch.chdir(folder)
    command = {
        "--key": ["connect", "x", "y", *PROXY],
        "--dev-key": ["proxy", "--listen", "192.0.2.1:1"],
    }[option]
    if option == "--dev-key":  # an address that no machine has: it ends at once
        assert main(["tls", "init", "--dir", "t"]) == 0
        command += ["--tls-cert", "t/node.pem", "--tls-key", "t/node.key"]
    main([*command, option, KEY])
    err = capfd.readouterr().err
    assert err.count("list of processes") == 1 and "EDGE_TUNNEL_" in err and PLANTED not in err
