"""cli/http_proxy.py: the corporate proxy, from an option or from the usual variables."""

from __future__ import annotations

import pytest

from edge_tunnel.cli.exits import CommandFailed
from edge_tunnel.cli.http_proxy import http_proxy_for
from edge_tunnel.config import HttpProxy, Secret

NODE = ("wss://node.example:443",)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proxy", HttpProxy(host="proxy")),
        ("proxy:8080", HttpProxy(host="proxy", port=8080)),
        ("http://proxy:8080/", HttpProxy(host="proxy", port=8080)),
        ("[::1]:8080", HttpProxy(host="::1", port=8080)),
        (
            "me:p%40ss@proxy:1",
            HttpProxy(host="proxy", port=1, user="me", password=Secret("p@ss")),
        ),
        ("none", None),
    ],
)
def test_option(text: str, expected: HttpProxy | None) -> None:
    """What --http-proxy takes."""
    assert http_proxy_for(text, NODE) == expected


@pytest.mark.parametrize("text", ["", "socks5://proxy:1080", "me:secret-pw@proxy:port", "http://"])
def test_nonsense(text: str) -> None:
    """One line that says what to write; the text itself is not shown, it may hold a password."""
    with pytest.raises(CommandFailed, match="HTTP proxy") as caught:
        http_proxy_for(text, NODE)
    assert "secret-pw" not in str(caught.value)


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """https_proxy is for wss, http_proxy for ws; no_proxy and loopback go past both."""
    monkeypatch.setenv("https_proxy", "http://secure:1")
    monkeypatch.setenv("HTTP_PROXY", "plain:2")
    assert http_proxy_for(None, NODE) == HttpProxy(host="secure", port=1)
    assert http_proxy_for(None, ("ws://node.example",)) == HttpProxy(host="plain", port=2)
    assert http_proxy_for(None, ("ws://127.0.0.1:9100",)) is None
    monkeypatch.setenv("no_proxy", ".example")
    assert http_proxy_for(None, NODE) is None
