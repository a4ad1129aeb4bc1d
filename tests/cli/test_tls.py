"""``edge-tunnel tls``: a pilot's certificates."""

from __future__ import annotations

import json
import re
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from edge_tunnel.cli.exits import Exit
from edge_tunnel.cli.main import main


def names_of(path: Path) -> list[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(one.value) for one in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    words = ["--name", "tunnel.example.com", "--name", "::1", "--edge", "Halle 3/plc"]
    words += ["--remote", "anna", "--node", "a", "--node", "b"]
    assert main(["tls", "init", "--dir", str(tmp_path / "tls"), *words]) == Exit.DONE
    return tmp_path / "tls"


def test_what_is_made(folder: Path) -> None:
    """Nodes have DNS names and addresses, edges and remotes URIs and no name of a host."""
    stems = {"ca", "node-a", "node-b", "edge-Halle_3_plc", "remote-anna"}
    assert {path.stem for path in folder.iterdir()} == stems
    assert names_of(folder / "node-a.pem") == ["a", "tunnel.example.com", "::1"]
    assert names_of(folder / "edge-Halle_3_plc.pem") == ["edge-tunnel:edge:Halle%203%2Fplc"]
    assert names_of(folder / "remote-anna.pem") == ["edge-tunnel:remote:anna"]
    for path in folder.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("purpose", ["edge-Halle_3_plc", "remote-anna"])
def test_a_client_cannot_be_a_node(folder: Path, purpose: str) -> None:
    """A device's certificate is of no use to whoever wants to be taken for a node."""
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    client.check_hostname = False
    assert handshake(folder, client, "node-a") == ""
    assert "unsuitable certificate purpose" in handshake(folder, client, purpose)


def handshake(folder: Path, client: ssl.SSLContext, server: str) -> str:
    """Whether this client takes that certificate of a server; in memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{server}.pem", folder / f"{server}.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)]
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                return str(error)
    return ""


def test_nothing_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for words in (["init"], ["add", "--remote", "anna"]):
        assert main(["tls", *words, "--dir", str(folder)]) == Exit.CANNOT_CREATE
        err = capsys.readouterr().err
        assert "is there already" in err and err.count("\n") == 1
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


def test_one_more_of_the_same_ca(folder: Path) -> None:
    assert main(["tls", "add", "--dir", str(folder), "--edge", "device-8"]) == Exit.DONE
    issuer = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    made = x509.load_pem_x509_certificate((folder / "edge-device-8.pem").read_bytes())
    made.verify_directly_issued_by(issuer)


def test_renewed_for_the_same_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """New key, new end, the same owner; the CA stays."""
    ca, key = (folder / "ca.pem").read_bytes(), (folder / "node-a.key").read_bytes()
    names = names_of(folder / "node-a.pem")
    words = ["tls", "renew", "--dir", str(folder), "--days", "3"]
    assert main([*words, "node-a"]) == Exit.DONE
    assert main([*words, "--all"]) == Exit.DONE
    assert names_of(folder / "node-a.pem") == names
    assert (folder / "node-a.key").read_bytes() != key
    assert (folder / "ca.pem").read_bytes() == ca
    assert main([*words, "ca"]) == Exit.USAGE
    assert main([*words, "nobody"]) == Exit.CONFIGURATION
    capsys.readouterr()
    assert main(["tls", "show", str(folder / "node-a.pem")]) == Exit.DONE
    assert "tunnel.example.com" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["add", "--edge", "x"], Exit.CONFIGURATION, "tls init"),
        (["add"], Exit.USAGE, "nothing to add"),
        (["add", "--node", "x"], Exit.USAGE, "--name"),
        (["init", "--days", "0"], Exit.USAGE, "1 to 10000"),
        (["init", "--edge", "a/b", "--edge", "a_b"], Exit.USAGE, "the same files"),
        (["init", "--name", "a..b"], Exit.USAGE, "not a host name"),
    ],
)
def test_mistakes(
    words: list[str], code: Exit, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and nothing is made."""
    assert main(["tls", *words, "--dir", str(tmp_path / "none")]) == code
    err = capsys.readouterr().err
    assert hint in err and err.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_what_is_printed_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The node's part is TOML that check-config likes, the device's a part of a config.json."""
    where = ["--dir", str(tmp_path / "tls")]
    assert main(["tls", "init", *where, "--edge", "device-7"]) == Exit.DONE
    out = capsys.readouterr().out
    node = re.search(r"# node: .*\n((?:.+\n)+)", out)
    edge = re.search(r"# edge-device-7: .*\n((?:.+\n)+)", out)
    assert node is not None and edge is not None
    config = tmp_path / "proxy.toml"
    config.write_text('dev_key = "k"\n' + node[1])
    config.chmod(0o600)
    assert main(["check-config", "--strict", str(config)]) == 0
    groups = json.loads("{" + edge[1] + "}")
    assert groups["ws_servers"] == [{"host": "localhost", "port": 9100}]
    assert Path(groups["certificates"]["client_cert"]).exists()
