"""The node's file."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_network
from pathlib import Path

import pytest

from edge_tunnel.config import (
    AuditSettings,
    ConfigFileError,
    ListenAddress,
    NodeLimits,
    ProxyConfig,
    Secret,
    inspect_proxy_config,
    load_proxy_config,
)
from edge_tunnel.config.versions import Demand, Demands

FULL = """
listen = ["127.0.0.1:9100", "[::1]:9200", ":9300", "*:0"]
dev_key = "s3cret"
log_level = "debug"
[limits]
handshake_timeout = 2.5
max_unauthenticated = 10
max_unauthenticated_per_source = 0
max_failures_per_source = 3
trusted_proxies = ["10.0.0.0/8", "2001:db8::7"]
memory = 1000000
max_links = 20
max_silence = 90
admission_rate = 7
admission_burst = 9
[versions]
edge_minimum = "0.2"
edge_recommended = "0.10.1"
remote_minimum = "1.0rc1"
node_recommended = "2"
"""


def saved(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "proxy.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_everything_that_can_be_set(tmp_path: Path) -> None:
    assert load_proxy_config(saved(tmp_path, FULL)) == ProxyConfig(
        dev_key=Secret("s3cret"),
        listen=(
            ListenAddress(host="127.0.0.1", port=9100),
            ListenAddress(host="::1", port=9200),
            ListenAddress(host=None, port=9300),
            ListenAddress(host=None, port=0),
        ),
        limits=NodeLimits(
            handshake_timeout=2.5,
            max_unauthenticated=10,
            max_unauthenticated_per_source=0,
            max_failures_per_source=3,
            trusted_proxies=(ip_network("10.0.0.0/8"), ip_network("2001:db8::7/128")),
            memory=1_000_000,
            max_links=20,
            max_silence=90.0,
            admission_rate=7,
            admission_burst=9,
        ),
        versions=Demands(
            edge=Demand(minimum="0.2", recommended="0.10.1"),
            remote=Demand(minimum="1.0rc1"),
            node=Demand(recommended="2"),
        ),
        log_level="DEBUG",
    )


def test_a_key_is_enough(tmp_path: Path) -> None:
    config = load_proxy_config(saved(tmp_path, 'dev_key = "k"'))
    assert config == ProxyConfig(dev_key=Secret("k"))
    assert config.listen == (ListenAddress(host="127.0.0.1", port=9100),)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.log_level = "X"  # type: ignore[misc]


def test_without_a_key_a_node_does_not_start(tmp_path: Path) -> None:
    """An open node by mistake is worse than none."""
    for text in ("", 'dev_key = ""', 'dev_key_file = ""'):
        with pytest.raises(ConfigFileError, match="EDGE_TUNNEL_DEV_KEY"):
            load_proxy_config(saved(tmp_path, text), environ={})


def test_the_key_from_a_file_or_from_outside(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    path = saved(tmp_path, 'dev_key_file = "key"')
    assert load_proxy_config(path).dev_key == Secret("from-file")
    environ = {"EDGE_TUNNEL_DEV_KEY": "from-outside"}
    assert load_proxy_config(path, environ=environ).dev_key == Secret("from-outside")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listen = 9100", "must be a string"),
        ('listen = "9100"', "must be an address with a port"),
        ('listen = "a:b"', "must be an address with a port"),
        ('listen = "a:70000"', "must be an address with a port"),
        ("listen = []", "names no address"),
        ('lisen = "a:1"', "did you mean listen?"),
        ("[limits]\nmax_link = 1", "did you mean max_links?"),
        ("[limits]\nmax_links = 0", "out of range"),
        ("[limits]\nhandshake_timeout = 0", "0 is out of range: 0.1 to 600 s"),
        ("[limits]\nhandshake_timeout = 10000", "did you mean 10?"),
        ('[limits]\nmax_silence = "x"', "must be a number"),
        ("limits = 3", "a group of keys"),
        ('[limits]\ntrusted_proxies = ["balancer"]', "'balancer' is no address, and no network"),
        ('[limits]\ntrusted_proxies = ["10.0.0.1/8"]', 'write it as in "10.0.0.0/8"'),
        ('[versions]\nedge_minimum = "new"', "'new' is not a version; write it as in"),
        ("[versions]\nnode_minimum = 1.0", "must be a string"),
        ('[versions]\nremote_minimun = "1"', "did you mean remote_minimum?"),
        (
            '[versions]\nedge_minimum = "0.10"\nedge_recommended = "0.9"',
            "is older than edge_minimum (0.10)",
        ),
        ('[versions]\nedge_recommended = "0.1.0rc1"', "is older than edge_minimum (0.1.0)"),
    ],
)
def test_what_is_said(tmp_path: Path, text: str, words: str) -> None:
    found = inspect_proxy_config(saved(tmp_path, 'dev_key = "s3cret"\n' + text), environ={})
    told = [f"{f.message}; {f.hint}" for f in found.findings]
    assert [one for one in told if words in one], told
    assert "s3cret" not in repr(found)


def test_a_wrong_version_has_a_place(tmp_path: Path) -> None:
    """Line and key path, as for every value."""
    text = 'dev_key = "k"\n[versions]\nedge_minimum = "x.y"\n'
    [found] = inspect_proxy_config(saved(tmp_path, text), environ={}).findings
    assert (found.line, found.key) == (3, "versions.edge_minimum")
    text = 'dev_key = "k"\n[versions]\nedge_recommended = "0.0.1"\n'
    inspection = inspect_proxy_config(saved(tmp_path, text), environ={})
    [found] = inspection.findings
    assert (found.line, found.key) == (3, "versions.edge_recommended")
    assert inspection.config is not None


def test_audit_table(tmp_path: Path) -> None:
    """All of it, in the units of the file; without it nothing is recorded."""
    text = """
dev_key = "k"
[audit]
file = "audit.log"
journal = true
key_file = "audit.key"
rotate_size = 8192
rotate_days = 7
keep = 12
on_failure = "refuse"
sync_interval = 0.5
head_interval = 60
"""
    config = load_proxy_config(saved(tmp_path, text))
    assert config.audit == AuditSettings(
        file="audit.log",
        journal=True,
        key_file="audit.key",
        rotate_size=8192,
        rotate_days=7,
        keep=12,
        refuse=True,
        sync_interval=0.5,
        head_interval=60,
    )
    assert load_proxy_config(saved(tmp_path, 'dev_key = "k"')).audit is None


@pytest.mark.parametrize(
    "table",
    ['key_file = "k"', 'file = ""\nkeep = 3', 'file = "a"\non_failure = "ignore"', 'files = "a"'],
)
def test_audit_table_that_is_wrong(tmp_path: Path, table: str) -> None:
    """No place, no such policy, no such key: said, with the key's name."""
    found = inspect_proxy_config(saved(tmp_path, f'dev_key = "k"\n[audit]\n{table}'))
    assert any("audit" in finding.key for finding in found.findings)


def test_an_engine_as_the_command_line_has_it(tmp_path: Path) -> None:
    """What --cluster takes, the file takes, too."""
    text = 'dev_key = "k"\n[cluster]\nengine = "etcd://e:1"\nnode_name = "a"\nadvertise = "a:1"\n'
    cluster = load_proxy_config(saved(tmp_path, text)).cluster
    assert cluster is not None
    assert [(each.host, each.port) for each in cluster.engine] == [("e", 1)]


def test_hops_are_taken_elsewhere_than_advertised(tmp_path: Path) -> None:
    """Behind a port forward; without the key a node listens where it says that it is."""
    text = 'dev_key = "k"\n[cluster]\nengine = "127.0.0.1:2379"\nnode_name = "a"\n'
    text += 'advertise = "10.0.0.1:9101"\n'
    plain = load_proxy_config(saved(tmp_path, text)).cluster
    assert plain is not None and plain.hop_listen is None
    behind = load_proxy_config(saved(tmp_path, text + 'hop_listen = "127.0.0.1:9201"\n')).cluster
    assert behind is not None and behind.hop_listen is not None
    assert (behind.hop_listen.host, behind.hop_listen.port) == ("127.0.0.1", 9201)
