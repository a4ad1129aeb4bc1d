"""Our own files in the shape of real ones, and a way to inspect a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edge_tunnel.config import Inspection, inspect_config

Inspect = Callable[..., Inspection]


@pytest.fixture
def files() -> Path:
    return Path(__file__).with_name("files")


@pytest.fixture
def inspect(tmp_path: Path) -> Inspect:
    """Write a text to a file that only its owner can read, and inspect it."""

    def inspected(
        text: str | bytes, name: str = "config.json", environ: Mapping[str, str] | None = None
    ) -> Inspection:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o600)
        return inspect_config(path, environ=environ or {})

    return inspected


@pytest.fixture(autouse=True)
def _no_outside_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "CREDENTIALS_DIRECTORY",
        "EDGE_TUNNEL_APP_KEY",
        "EDGE_TUNNEL_DEV_KEY",
        "EDGE_TUNNEL_KEY_PASSPHRASE",
        "EDGE_TUNNEL_PROXY_PASSWORD",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
