"""TOML in and out: places of what is wrong, and models that survive the way out and back."""

from __future__ import annotations

import dataclasses
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_tunnel.config import (
    CertificateCriteria,
    EdgeConfig,
    HttpProxy,
    LinkSettings,
    Secret,
    Server,
    Service,
    TlsSettings,
    TunnelSettings,
    inspect_config,
    load_config,
    to_toml,
)
from edge_tunnel.config.ems_ignored import EMS
from edge_tunnel.config.settings import model_rules
from edge_tunnel.config.toml_places import places
from tests.config.conftest import Inspect

GOOD = 'appKey = "k"\nws_servers = [{host = "h", port = 443}]\n'

# -- any valid model -----------------------------------------------------------------------------

visible = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\x7f"), min_size=1
).filter(lambda text: text.strip() == text)
names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=256).filter(
    lambda text: not text.startswith("*")
)
hosts = st.text(string.ascii_letters + string.digits + ".-", min_size=1) | st.just("::1")
ports = st.integers(1, 65535)
secrets = visible.filter(lambda text: not text.startswith("AES:")).map(Secret)
paths = visible | st.just("C:\\some\\new\\folder")


def seconds(low: float, high: float = 86_400) -> st.SearchStrategy[float]:
    return st.floats(low, high) | st.integers(int(low) + 1, int(high)).map(float)


links = st.builds(
    LinkSettings,
    encrypted=st.booleans(),
    connect_timeout=seconds(0.1),
    ping_interval=seconds(0.1),
    ping_timeout=seconds(0.1),
    retry_interval=seconds(0),
    max_connect_delay=seconds(0),
    retries=st.none() | st.integers(0, 1000),
    max_message_size=st.integers(2**20, 2**30),
)
criteria = st.builds(
    CertificateCriteria,
    **{field.name: st.none() | visible for field in dataclasses.fields(CertificateCriteria)},
)
tls = st.builds(
    TlsSettings,
    validate=st.booleans(),
    allow_self_signed=st.booleans(),
    check_hostname=st.booleans(),
    ca_file=paths,
    more_ca_files=st.lists(paths, max_size=2).map(tuple),
    client_cert=st.none() | paths,
    client_key=st.none() | paths.filter(lambda path: not path.lower().endswith((".p12", ".pfx"))),
    client_key_passphrase=st.none() | secrets,
    ciphers=st.sampled_from([None, "ALL:!aNULL", "HIGH"]),
    criteria=criteria,
)
proxies = st.builds(
    HttpProxy,
    host=hosts,
    port=ports,
    user=st.none() | visible.filter(lambda text: not set(text) & set("\\:")),
    password=st.none() | secrets,
)
tunnels = st.builds(
    TunnelSettings,
    max_concurrent=st.none() | st.integers(1, 100_000),
    idle_timeout=st.none() | seconds(1),
    buffer_size=st.integers(512, 2**19),
    read_timeout=st.none() | seconds(1),
    resume_timeout=seconds(1),
    max_streams=st.integers(1, 1_000_000),
)
services = st.builds(
    Service, name=visible, host=hosts, port=ports, description=st.just("") | visible
)
configs = st.builds(
    EdgeConfig,
    servers=st.lists(st.builds(Server, host=hosts, port=ports), min_size=1, max_size=3).map(tuple),
    app_key=secrets,
    things=st.lists(names, max_size=3, unique=True).map(tuple),
    services=st.lists(services, max_size=3, unique_by=lambda one: one.name).map(tuple),
    resource=st.text(string.ascii_letters + "/._-?=&%", max_size=20).map(lambda text: "/" + text),
    link=links,
    tls=tls | st.just(TlsSettings()),
    http_proxy=st.none() | proxies,
    tunnel=tunnels,
    log_level=st.sampled_from(["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"]),
)


def _survives(tmp_path: Path, config: EdgeConfig) -> None:
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config, secrets=True), encoding="utf-8")
    assert load_config(path, environ={}).config == config


FEW = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(config=configs)
def test_any_valid_model_survives_toml_and_back(tmp_path: Path, config: EdgeConfig) -> None:
    """Exactly, to the last bit of every float."""
    _survives(tmp_path, config)


@pytest.mark.slow
@settings(FEW, max_examples=500)
@given(config=configs)
def test_many_more_models(tmp_path: Path, config: EdgeConfig) -> None:
    """The same, more often."""
    _survives(tmp_path, config)


def test_every_field_of_the_model_has_a_key() -> None:
    """A new field without a key could neither be set nor written."""
    groups: dict[str, Any] = {"link": LinkSettings, "tls": TlsSettings, "tunnel": TunnelSettings}
    groups |= {"http_proxy": HttpProxy, "tls.criteria": CertificateCriteria}
    expected = {
        f"{group}.{field.name}"
        for group, model in groups.items()
        for field in dataclasses.fields(model)
    } - {"tls.criteria", "tls.ca_file", "tls.more_ca_files"}
    expected |= {"tls.ca_files", "resource", "app_key", "log_level"}
    expected |= {"end_to_end_encryption", "identity_file", "protocol"}
    assert {rule.target for rule in model_rules()} == expected


def test_no_two_rules_share_a_target() -> None:
    """Else one of them would silently win."""
    targets = [(rule.group.endswith("[]") and rule.group, rule.target) for rule in EMS.rules]
    effective = [target for target in targets if target[1]]
    assert len(effective) == len(set(effective))


# -- comments ------------------------------------------------------------------------------------


def test_comments_say_where_values_came_from(inspect: Inspect) -> None:
    json = '{"ws_servers": [{"host": "h", "port": 443}],\n"appKey": "k",\n"resource": "/r"}'
    found = inspect(json)
    assert found.config is not None
    text = to_toml(found.config, found.origins)
    assert 'resource = "/r"  # config.json:3' in text
    assert "[[ws_servers]]  # config.json:1" in text


def test_secrets_are_left_out_unless_asked_for(inspect: Inspect) -> None:
    """A comment says how to give each; with the flag they are there."""
    found = inspect(
        GOOD.replace('"k"', '"s3cret"') + '[proxy]\nhost="p"\npassword="s3cret"', "c.toml"
    )
    assert found.config is not None
    without = to_toml(found.config, found.origins)
    assert "s3cret" not in without and "EDGE_TUNNEL_APP_KEY" in without
    assert to_toml(found.config, found.origins, secrets=True).count('"s3cret"') == 2


def test_a_key_file_stays_a_key_file(inspect: Inspect, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret")
    text = 'ws_servers = [{host = "h", port = 443}]\n[edge_tunnel]\nappKey_file = "key"'
    found = inspect(text, "config.toml")
    assert found.config is not None
    for secrets_too in (True, False):
        written = to_toml(found.config, found.origins, secrets=secrets_too)
        assert 'appKey_file = "key"' in written and "s3cret" not in written
        again = inspect_config(_saved(tmp_path / "again.toml", written), environ={})
        assert again.config == found.config


def _saved(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# -- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column", "key"),
    [
        ("[ws_connection]\nping_rate = 1", 4, 13, "ws_connection.ping_rate"),
        ("ws_connection.ping_rate = 1", 3, 27, "ws_connection.ping_rate"),
        ('"ws_connection" = {connect_timeout = 5000,  ping_rate = 1}', 3, 57, "ping_rate"),
        (
            "[edge_tunnel]\nservices = [\n  {name='a', port=1},\n  # c\n  {name='b', port=0},\n]",
            7,
            19,
            "[1].port",
        ),
        (
            "[[edge_tunnel.services]]\nname='a'\nport=1\n[[edge_tunnel.services]]\nname='b'\nport=0",
            8,
            6,
            "services[1].port",
        ),
        (
            "[edge_tunnel]\n[[edge_tunnel.services]]\nname='''\n\n'''\nport=0",
            8,
            6,
            "services[0].port",
        ),
        ("[logger]\nlevel = 2020-01-01", 4, 9, "logger.level"),
        ("[logger]\r\nlevel = 'x'", 4, 9, "logger.level"),
        ('[logger]\nlevel = """a""""', 4, 9, "logger.level"),
        ("[proxy]\nhost.a = 1", 4, 1, "proxy.host"),
        ("pront = 3", 3, 1, "pront"),
        ("logger = 3", 3, 10, "logger"),
    ],
)
def test_findings_in_toml_have_places(
    text: str, line: int, column: int, key: str, inspect: Inspect
) -> None:
    found = inspect(GOOD + text, "config.toml")
    told = [(f.line, f.column) for f in found.findings if f.key.endswith(key)]
    assert (line, column) in told, found.findings


def test_a_date_is_no_setting(inspect: Inspect) -> None:
    found = inspect(GOOD + "[ws_connection]\nping_rate = 2020-01-01", "config.toml")
    assert found.config is None
    assert "must be a number" in found.findings[-1].message


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a = 1\nb = ", (2, 5), "invalid value"),
        ("a = 1\na = 2", (2, 6), "overwrite a value"),
        ('{"ws_servers": []}', (1, 1), "name it .json"),
        ('a = "x', (1, 7), "unterminated"),
        ("a = " + "9" * 5000, (1, 1), "too long or too deep"),
    ],
)
def test_broken_toml_has_a_place(
    text: str, place: tuple[int, int], words: str, inspect: Inspect
) -> None:
    found = inspect(text, "config.toml")
    assert found.unreadable
    finding = found.findings[0]
    assert (finding.line, finding.column) == place
    assert words in f"{finding.message}; {finding.hint}".lower()


def test_places_cover_every_value(files: Path) -> None:
    found = places((files / "edge.toml").read_text())
    assert ("edge_tunnel", "services", 1, "port") in found
    assert ("ws_servers", 1, "host") in found
