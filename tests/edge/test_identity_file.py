"""A device's identity outlives its process; what cannot be used is said, and never overwritten."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from edge_tunnel import ConfigError, Identity, load_identity
from edge_tunnel.edge.identity_file import identity_path, load_identity_aside
from edge_tunnel.protocol.identity import verifies


def test_it_is_made_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second start has what the first one made; only its user can read it; no draft is left."""
    file = tmp_path / "config.identity.pem"
    first = load_identity(file)
    assert load_identity(file).public == first.public
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    assert caplog.text == ""


def test_where_it_is(tmp_path: Path) -> None:
    """Beside the configuration and by its name, or where that says."""
    config = tmp_path / "config.json"
    assert identity_path(config, None) == tmp_path / "config.identity.pem"
    assert identity_path(config, "keys/id.pem") == tmp_path / "keys" / "id.pem"
    assert identity_path(config, "/var/lib/id.pem") == Path("/var/lib/id.pem")


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_broken_file_stays(tmp_path: Path, text: str) -> None:
    """It may be the only copy: one line with its name, and not a byte is changed."""
    file = tmp_path / "id.pem"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"id\.pem: holds no Ed25519 private key"):
        load_identity(file)
    assert file.read_text() == text


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder in its place, to be independent of who runs the test."""
    with pytest.raises(ConfigError, match="is a directory"):
        load_identity(tmp_path)


def test_a_place_where_nothing_can_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The device stays reachable, and says what will happen."""
    file = tmp_path / "missing" / "id.pem"
    with caplog.at_level(logging.WARNING):
        one, two = load_identity(file), load_identity(file)
    assert one.public != two.public
    assert "cannot be kept (no such file or directory)" in caplog.text
    assert "edge_tunnel.identity_file" in caplog.text


def test_others_can_read_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It works, with a warning that says what to type, and no key in it."""
    file = tmp_path / "id.pem"
    identity = load_identity(file)
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert load_identity(file).public == identity.public
    assert f"chmod 600 {file}" in caplog.text
    assert "PRIVATE" not in caplog.text


def test_another_process_was_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second has the first one's identity, and does not replace it."""
    file = tmp_path / "id.pem"
    faster = Identity()
    real = os.link

    def link(source: Path, target: Path) -> None:
        if not file.exists():
            file.write_bytes(faster.to_pem())
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    assert load_identity(file).public == faster.public
    assert file.read_bytes() == faster.to_pem()


def test_aside(tmp_path: Path) -> None:
    """The process that made or read it is gone, and it is the same, and can sign."""
    file = tmp_path / "id.pem"
    made = load_identity_aside(file)
    assert made.public == load_identity_aside(file).public == load_identity(file).public
    assert verifies(made.public, made.sign(b"text"), b"text")
    assert made.to_pem() == file.read_bytes()


def test_aside_where_it_cannot_be_kept(tmp_path: Path) -> None:
    """It lasts as long as this process, not as the one that made it."""
    identity = load_identity_aside(tmp_path / "nowhere" / "id.pem")
    assert verifies(identity.public, identity.sign(b"text"), b"text")


def test_aside_and_broken(tmp_path: Path) -> None:
    """The same line as anywhere."""
    file = tmp_path / "id.pem"
    file.write_text("hello")
    with pytest.raises(ConfigError, match=r"id\.pem: holds no Ed25519"):
        load_identity_aside(file)
