"""The group [tls] of a node's file, and the files that it names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from edge_tunnel.cli.main import main
from edge_tunnel.config import NodeTls, Secret, inspect_proxy_config, load_proxy_config

CA = trustme.CA()
PAIR = 'certificate = "node.pem"\nkey = "node.key"\n'
NOW = datetime.now(timezone.utc)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    leaf = CA.issue_cert("localhost")
    (tmp_path / "node.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    (tmp_path / "node.key").write_bytes(leaf.private_key_pem.bytes())
    (tmp_path / "node.key").chmod(0o600)
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path


def saved(folder: Path, tls: str, top: str = "") -> Path:
    path = folder / "proxy.toml"
    path.write_text(f'dev_key = "s3cret"\n{top}\n[tls]\n{tls}')
    path.chmod(0o600)
    return path


def test_everything_that_can_be_set(folder: Path) -> None:
    """Paths are relative to the file."""
    more = 'client_ca = "ca.pem"\nclient_certificates = "optional"\nminimum = "1.3"\n'
    config = load_proxy_config(saved(folder, PAIR + more + 'key_password = "p"'), environ={})
    assert config.tls == NodeTls(
        certificate=str(folder / "node.pem"),
        key=str(folder / "node.key"),
        key_password=Secret("p"),
        client_ca=str(folder / "ca.pem"),
        client_certificates="optional",
        minimum="1.3",
    )


def test_a_client_ca_alone_demands(folder: Path) -> None:
    """Who names a CA wants to keep others out; to ask only must be written."""
    config = load_proxy_config(saved(folder, PAIR + 'client_ca = "ca.pem"'), environ={})
    assert config.tls is not None and config.tls.client_certificates == "required"


def test_the_key_s_password_from_outside(folder: Path) -> None:
    """A variable, a systemd credential, or a file of its own."""
    (folder / "password").write_text("from-file\n")
    (folder / "password").chmod(0o600)
    (folder / "tls_key_password").write_text("from-systemd\n")
    path = saved(folder, PAIR + 'key_password_file = "password"')
    for environ, expected in (
        ({}, "from-file"),
        ({"CREDENTIALS_DIRECTORY": str(folder)}, "from-systemd"),
        ({"EDGE_TUNNEL_TLS_KEY_PASSWORD": "from-outside"}, "from-outside"),
    ):
        tls = load_proxy_config(path, environ=environ).tls
        assert tls is not None and tls.key_password == Secret(expected)


@pytest.mark.parametrize(
    ("tls", "top", "key", "words"),
    [
        ('certificate = "node.pem"', "", "tls.key", "needs a certificate and its key"),
        ('minimum = "1.3"', "", "tls.certificate", "edge-tunnel tls init"),
        (PAIR + 'minimum = "1.0"', "", "tls.minimum", "not one of 1.2, 1.3"),
        (
            PAIR + 'client_certificates = "required"',
            "",
            "tls.client_certificates",
            "write tls.client_ca",
        ),
        (PAIR + 'client_cert = "x"', "", "tls.client_cert", "did you mean"),
        ("", 'listen = "wss://127.0.0.1:1"', "listen", "needs a certificate"),
        (PAIR, 'listen = "http://127.0.0.1:1"', "listen", "must not begin with"),
        (
            PAIR + 'client_ca = "ca.pem"',
            'listen = [":1", "ws://127.0.0.1:2"]',
            "listen",
            "lets in who has no certificate",
        ),
    ],
)
def test_what_is_said(folder: Path, tls: str, top: str, key: str, words: str) -> None:
    found = inspect_proxy_config(saved(folder, tls, top), environ={})
    told = [f"{f.message}; {f.hint}" for f in found.findings if f.key == key]
    assert [one for one in told if words in one], found.findings


def other_key(folder: Path) -> None:
    (folder / "node.key").write_bytes(CA.issue_cert("x").private_key_pem.bytes())


def expired(folder: Path) -> None:
    leaf = CA.issue_cert("x", not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))
    (folder / "node.pem").write_bytes(leaf.cert_chain_pems[0].bytes())


def early(folder: Path) -> None:
    leaf = CA.issue_cert("x", not_before=NOW + timedelta(days=1), not_after=NOW + timedelta(days=2))
    (folder / "node.pem").write_bytes(leaf.cert_chain_pems[0].bytes())


def encrypted(folder: Path) -> None:
    key = load_pem_private_key((folder / "node.key").read_bytes(), None)
    how = BestAvailableEncryption(b"pl4nted")
    (folder / "node.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))


BAD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda f: (f / "node.pem").unlink(), "tls.certificate", "cannot be read: no such"),
    "no certificate": (
        lambda f: (f / "node.pem").write_text("hello"),
        "tls.certificate",
        "not a certificate in PEM form",
    ),
    "expired": (expired, "tls.certificate", "has expired on"),
    "not yet valid": (early, "tls.certificate", "is valid from"),
    "no key": (
        lambda f: (f / "node.key").write_text("hello"),
        "tls.key",
        "not a private key in PEM form",
    ),
    "another's key": (other_key, "tls.key", "is not the key of the certificate"),
    "a key for all to read": (lambda f: (f / "node.key").chmod(0o644), "tls.key", "chmod 600"),
    "an encrypted key": (encrypted, "tls.key", "is encrypted"),
    "no CA": (lambda f: (f / "ca.pem").write_text(""), "tls.client_ca", "not a certificate"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(folder: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with file and key: from check-config, and at the start."""
    spoil, key, words = BAD[case]
    path = saved(folder, PAIR + 'client_ca = "ca.pem"', 'listen = "127.0.0.1:0"')
    assert main(["check-config", str(path)]) == 0
    spoil(folder)
    capsys.readouterr()
    assert main(["check-config", str(path)]) == 78
    out = capsys.readouterr().out
    assert key in out and words in out
    assert main(["proxy", "--config", str(path)]) == 78
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and key in err and words in err and str(path) in err


def test_an_encrypted_key_and_its_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right one opens it, a wrong one is said, and neither is shown."""
    encrypted(folder)
    path = saved(folder, PAIR)
    monkeypatch.setenv("EDGE_TUNNEL_TLS_KEY_PASSWORD", "pl4nted")
    assert main(["check-config", str(path)]) == 0
    monkeypatch.setenv("EDGE_TUNNEL_TLS_KEY_PASSWORD", "wrong")
    assert main(["check-config", str(path)]) == 78
