"""``[access]`` in the node's file: no node lets anybody in, by no mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tunnel.config import (
    AccessSettings,
    ConfigFileError,
    Secret,
    inspect_proxy_config,
    load_proxy_config,
)

CLUSTER = '[cluster]\nengine = "e:1"\nnode_name = "a"\nadvertise = "a:1"\n'


def saved(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "proxy.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_everything_that_can_be_set(tmp_path: Path) -> None:
    """The key from a file beside it; the state folder is relative to the file."""
    (tmp_path / "admin.key").write_text("k" * 20 + "\n")
    (tmp_path / "admin.key").chmod(0o600)
    text = """state = "state"
[access]
admin_key_file = "admin.key"
ticket_lifetime = 30
session = 3600
origins = ["https://portal.example"]
certificate_edge_prefix = "*"
certificate_remote_prefix = "user:"
"""
    config = load_proxy_config(saved(tmp_path, text), environ={})
    assert config.dev_key is None
    assert config.state == str(tmp_path / "state")
    assert config.access == AccessSettings(
        admin_key=Secret("k" * 20),
        ticket_lifetime=30.0,
        session=3600.0,
        origins=("https://portal.example",),
        certificate_edge_prefix="",
        certificate_remote_prefix="user:",
    )


@pytest.mark.parametrize("source", ["variable", "credential"])
def test_the_first_key_from_outside(tmp_path: Path, source: str) -> None:
    """As every secret: environment, systemd's credentials."""
    (tmp_path / "admin_key").write_text("k" * 20)
    environ = {
        "variable": {"EDGE_TUNNEL_ADMIN_KEY": "k" * 20},
        "credential": {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    }[source]
    config = load_proxy_config(saved(tmp_path, "[access]\n"), environ=environ)
    assert config.access == AccessSettings(admin_key=Secret("k" * 20))
    assert "kkk" not in repr(config)


@pytest.mark.parametrize(
    ("text", "environ", "words"),
    [
        ("", {}, "write \\[access\\]"),
        ("[access]\n", {}, "no administrator"),
        ("[access]\nadmin_key_file = 'none'", {}, "cannot be read"),
        ("dev_key = 'k'\n[access]\n", {"EDGE_TUNNEL_ADMIN_KEY": "k" * 20}, "lets everybody in"),
        ("state = 's'\n[access]\n", {"EDGE_TUNNEL_DEV_KEY": "k"}, "lets everybody in"),
        ("", {"EDGE_TUNNEL_ADMIN_KEY": "k" * 20}, "write \\[access\\]"),
        ("state = 's'\n[access]\nsession = 1", {}, "out of range"),
        (
            "state = 's'\n[access]\ncertificate_edge_prefix = 'x'\ncertificate_remote_prefix = 'x'",
            {},
            "different prefixes",
        ),
    ],
)
def test_what_would_open_a_node_is_an_error(
    tmp_path: Path, text: str, environ: dict[str, str], words: str
) -> None:
    """Neither key nor [access], both of them, or nobody who could ever get in."""
    with pytest.raises(ConfigFileError, match=words):
        load_proxy_config(saved(tmp_path, text), environ=environ)


def test_what_is_enough(tmp_path: Path) -> None:
    """Keys may be in the state folder, or in the cluster's etcd, already."""
    config = load_proxy_config(saved(tmp_path, "state = '/s'\n[access]\n"), environ={})
    assert (config.state, config.access) == ("/s", AccessSettings())
    found = inspect_proxy_config(saved(tmp_path, f"state = 's'\n[access]\n{CLUSTER}"), environ={})
    assert found.config is not None
    assert ["not used" in str(one) for one in found.findings] == [True]
