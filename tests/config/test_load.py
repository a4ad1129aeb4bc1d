"""Whole files, in the shape of those that fleets have."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edge_tunnel.config import (
    CertificateCriteria,
    ConfigFileError,
    HttpProxy,
    Inspection,
    LinkSettings,
    Secret,
    Server,
    Service,
    Severity,
    TlsSettings,
    TunnelSettings,
    load_config,
)
from edge_tunnel.errors import ConfigError
from tests.config.conftest import Inspect

GOOD = '"ws_servers": [{"host": "h", "port": 443}], "appKey": "k"'


def messages(found: Inspection, severity: Severity) -> list[str]:
    return [f"{f.key}: {f.message}" for f in found.findings if f.severity is severity]


def test_a_file_of_5_3_gives_every_setting_that_matters(files: Path) -> None:
    """Milliseconds become seconds, and all groups arrive in the model."""
    config = load_config(files / "ems-5.3.json", environ={}).config
    assert config.servers == (Server(host="tunnel.example.com", port=443),)
    assert config.app_key == Secret("planted-plain-key")
    assert config.things == ("pump-7", "gateway-7")
    assert config.link == LinkSettings(
        connect_timeout=12.0, ping_interval=55.0, ping_timeout=10.0, retry_interval=20.0
    )
    assert config.tls == TlsSettings(
        ca_file="/opt/ems/root.pem",
        more_ca_files=("/opt/ems/intermediate.pem",),
        client_cert="/opt/ems/client.pem",
        client_key="/opt/ems/client.key",
        client_key_passphrase=Secret("planted-passphrase"),
        criteria=CertificateCriteria(
            common_name="tunnel.example.com", issuer_organization="Example"
        ),
    )
    assert config.http_proxy == HttpProxy(
        host="squid.example.com", user="device", password=Secret("planted-proxy-password")
    )
    assert config.tunnel == TunnelSettings(
        max_concurrent=4, idle_timeout=300.0, buffer_size=8192, read_timeout=None
    )


def test_a_file_of_5_3_is_told_what_has_no_effect_once_per_group(files: Path) -> None:
    """Groups without meaning here are one note each, and no key of the file is unknown."""
    found = load_config(files / "ems-5.3.json", environ={})
    notes = [f.key for f in found.findings if "no effect here" in f.message]
    assert [key for key in notes if "." not in key] == ["http_server", "file", "offline_msg_store"]
    assert len(notes) == len(set(notes))
    assert not [f for f in found.findings if "unknown" in f.message]


def test_a_file_of_5_4_0_is_used_with_warnings(files: Path) -> None:
    """A blank in "ssl ", an identifier in place of a name, the 10 ms of the samples."""
    found = load_config(files / "ems-5.4.0.json", environ={})
    warned = {f.key for f in found.findings if f.severity is Severity.WARNING}
    assert {"ws_connection.encryption", "auto_bind[0].name", "tunnel.read_timeout"} <= warned
    assert found.config.things == ("*serial-0815",)
    assert found.config.link.encrypted
    assert found.config.tls.ca_files == ("/opt/ems/root.pem",)


def test_a_file_of_5_4_9_uses_all_servers_and_says_so(files: Path) -> None:
    """EMS takes the first of ws_servers only; here they are a failover list."""
    found = load_config(files / "ems-5.4.9.json", environ={})
    assert [server.host for server in found.config.servers] == ["a.example.com", "b.example.com"]
    assert any("EMS uses the first only" in f.message for f in found.findings)
    assert found.config.link.max_connect_delay == 10.0
    assert found.config.tls.ciphers == "ALL:!aNULL:!eNULL"
    assert found.config.services == (
        Service(name="ssh", host="127.0.0.1", port=22, description="shell"),
        Service(name="panel", host="127.0.0.1", port=80),
    )
    assert found.config.tunnel.resume_timeout == 300.0
    assert found.config.log_level == "INFO"


def test_toml_with_the_same_content_is_the_same(files: Path) -> None:
    """One model, whatever the format."""
    toml = load_config(files / "edge.toml", environ={}).config
    assert toml == load_config(files / "ems-5.4.9.json", environ={}).config


def test_a_rewritten_file_of_5_4_10_names_the_ways_out(files: Path) -> None:
    """Only EMS can decrypt its keys: the error says how to give one plainly."""
    with pytest.raises(ConfigFileError) as caught:
        load_config(files / "ems-5.4.10-rewritten.json", environ={})
    text = str(caught.value)
    assert "encrypted by EMS 5.4.8 or later" in text
    for way in ("EDGE_TUNNEL_APP_KEY", "edge_tunnel.appKey_file", "systemd credential appKey"):
        assert way in text


def test_a_rewritten_file_is_fine_with_a_key_from_the_environment(files: Path) -> None:
    """The file stays as it is; the key comes from outside."""
    environ = {"EDGE_TUNNEL_APP_KEY": "plain"}
    found = load_config(files / "ems-5.4.10-rewritten.json", environ=environ)
    assert found.config.app_key == Secret("plain")
    origin = next(one.origin for one in found.settings if one.key == "appKey")
    assert str(origin) == "environment EDGE_TUNNEL_APP_KEY"


@pytest.mark.parametrize("name", ["config.json.minimal", "config.json.booted"])
def test_the_minimal_file_is_enough(files: Path, name: str) -> None:
    """Without names and services it is usable, and is told that nothing can be reached."""
    found = load_config(files / name, environ={})
    warned = {f.key for f in found.findings if f.severity is Severity.WARNING}
    assert {"auto_bind", "edge_tunnel.services"} <= warned


def test_the_complete_file_keeps_its_single_backslashes(files: Path) -> None:
    r"""``\s`` is no escape: then ``\f`` and ``\n`` beside it were not meant as such either."""
    found = load_config(files / "config.json.complete", environ={})
    assert found.config.tls.ca_file == r"c:\some\folder\new\ca.pem"
    assert any("single backslash" in f.message and "2 times" in f.message for f in found.findings)


def test_the_documented_file_is_read_with_its_comments(files: Path) -> None:
    """Comments and a trailing comma: one warning each that EMS would refuse the file."""
    found = load_config(files / "config.json.documented", environ={})
    refused = [f for f in found.findings if "EMS itself would refuse" in f.hint]
    assert [f.line for f in refused] == [1, 13]
    assert "(6 times in this file)" in refused[0].message


def test_config_error_carries_all_errors_at_once(inspect: Inspect, tmp_path: Path) -> None:
    """Every mistake of a file is in one report, one line each."""
    inspect('{"ws_servers": [{"host": "a b", "port": 0}], "resource": 5,\n "tunnel": []}')
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "config.json", environ={})
    assert isinstance(caught.value, ConfigFileError)
    lines = str(caught.value).splitlines()
    keys = ["appKey", "ws_servers[0].host", "ws_servers[0].port", "resource", "tunnel"]
    assert [any(f" {key}: " in line for line in lines) for key in keys] == [True] * 5
    assert any(line.startswith(f"{tmp_path / 'config.json'}:2:12: tunnel: ") for line in lines)
    assert len(lines) == 5


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "absent.json", environ={})


def test_a_directory_and_a_name_with_a_zero_are_no_files(tmp_path: Path) -> None:
    for path in (str(tmp_path), "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(path, environ={})


def test_origins_name_file_and_line(inspect: Inspect) -> None:
    found = inspect("{" + GOOD + ',\n"ws_connection": {\n"ping_rate": 7000}}')
    origins = {one.key: (one.value, str(one.origin)) for one in found.settings}
    assert origins["ws_connection.ping_rate"] == ("7 s", "config.json:3")
    assert origins["ws_connection.connect_timeout"] == ("10 s", "default")
    assert origins["appKey"] == ("***", "config.json:1")


def test_the_model_and_the_result_are_frozen(files: Path) -> None:
    loaded = load_config(files / "edge.toml", environ={})
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.config.resource = "/"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.findings = ()  # type: ignore[misc]


# -- secrets from elsewhere --------------------------------------------------------------------


def test_app_key_file_is_relative_to_the_configuration(inspect: Inspect, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    (tmp_path / "key").chmod(0o600)
    servers = '"ws_servers": [{"host": "h", "port": 443}]'
    found = inspect("{" + servers + ', "edge_tunnel": {"appKey_file": "key"}}')
    assert found.config is not None
    assert found.config.app_key == Secret("from-file")
    assert not [f for f in found.findings if "every user" in f.message]


def test_a_secret_file_that_all_can_read_is_a_warning(inspect: Inspect, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file")
    (tmp_path / "key").chmod(0o644)
    found = inspect("{" + GOOD + ', "edge_tunnel": {"appKey_file": "key"}}')
    assert any("every user" in text for text in messages(found, Severity.WARNING))


def test_a_secret_file_that_is_absent_or_empty_is_an_error(
    inspect: Inspect, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    for name, wrong in {"absent": "No such file", "empty": "is empty"}.items():
        found = inspect("{" + GOOD + f', "edge_tunnel": {{"appKey_file": "{name}"}}}}')
        assert any(wrong in text for text in messages(found, Severity.ERROR))


def test_systemd_credentials_win_over_the_file(inspect: Inspect, tmp_path: Path) -> None:
    (tmp_path / "appKey").write_text("from-systemd")
    found = inspect("{" + GOOD + "}", environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.config is not None
    assert found.config.app_key == Secret("from-systemd")
    assert any("not used" in text for text in messages(found, Severity.NOTE))


@pytest.mark.parametrize("value", ["AES:abcd==", "AES:" + "A" * 64])
def test_the_old_encrypted_form_is_recognised(inspect: Inspect, value: str) -> None:
    found = inspect("{" + GOOD.replace('"k"', f'"{value}"') + "}")
    assert [text for text in messages(found, Severity.ERROR) if "encrypted by EMS" in text]


def test_an_encrypted_proxy_password_can_come_from_the_environment(inspect: Inspect) -> None:
    text = "{" + GOOD + ', "proxy": {"host": "p", "user": "u", "password": "AES:xx=="}}'
    assert "EDGE_TUNNEL_PROXY_PASSWORD" in inspect(text).findings[-1].hint
    found = inspect(text, environ={"EDGE_TUNNEL_PROXY_PASSWORD": "pw"})
    assert found.config is not None
    assert found.config.http_proxy == HttpProxy(host="p", user="u", password=Secret("pw"))


def test_a_plain_key_that_was_written_after_encryption_is_taken(inspect: Inspect) -> None:
    """A new UUID key in a rewritten file is what its owner means, whatever key_hash says."""
    key = "00112233-4455-6677-8899-aabbccddeeff"
    text = "{" + GOOD.replace('"k"', f'"{key}"')
    found = inspect(text + ', "data_security": {"key_hash": "x"}}')
    assert found.config is not None
    assert found.config.app_key == Secret(key)


def test_a_world_readable_file_with_a_secret_is_a_warning(inspect: Inspect, tmp_path: Path) -> None:
    inspect("{" + GOOD + "}")
    path = tmp_path / "config.json"
    path.chmod(0o644)
    assert any("every user" in f.message for f in load_config(path, environ={}).findings)
    path.chmod(0o600)
    assert not any("every user" in f.message for f in load_config(path, environ={}).findings)
