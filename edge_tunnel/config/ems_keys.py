"""The keys of EMS's config.json that take effect here, and the group that is our own.

Defaults are the model's; types, units and spellings are those of EMS 5.3 to 5.5. The keys that
have no effect are in `ems_ignored`. What EMS has no word for stands in a group of its own, in
seconds; EMS does not look at it, so that one file can serve both::

    "edge_tunnel": {
        "services": [                        // what remotes may reach, and nothing else
            {"name": "ssh", "port": 22},     // host is 127.0.0.1 unless it is given
            {"name": "plc", "host": "192.168.1.9", "port": 502, "description": "line 3"}
        ],
        "resume_timeout": 120,               // a tunnel without a link ends after this
        "max_streams": 1024,                 // TCP connections at once in one tunnel
        "end_to_end_encryption": "allow",    // or require, or off (so that nodes can inspect)
        "protocol": "auto",                  // or edge-tunnel, or alwayson (ThingWorx servers)
        "identity_file": "identity.pem",     // who this device is; made at the first start
        "appKey_file": "appKey",             // in place of appKey, relative to this file
        "ping_interval": 5,                  // wins over ws_connection.ping_rate
        "ping_timeout": 10,                  // wins over ws_connection.pingpong_timeout
        "idle_ping_interval": 30             // where no tunnel is; ping_interval if that is set
    }
"""

from __future__ import annotations

from edge_tunnel.config.kinds import Choice, Duration, Flag, Hidden, ListOf, Text, Whole
from edge_tunnel.config.rules import Group, Rule
from edge_tunnel.config.special_kinds import (
    Ciphers,
    Encryption,
    Host,
    KeyFile,
    ProxyUser,
    ReadTimeout,
    ServiceName,
    ThingName,
    UrlPath,
)

__all__ = ["EFFECTIVE_RULES", "GROUPS", "LOG_LEVELS"]

LOG_LEVELS = {
    "ERROR": "ERROR",
    "WARN": "WARNING",
    "INFO": "INFO",
    "DEBUG": "DEBUG",
    "TRACE": "DEBUG",
    "AUDIT": "CRITICAL",
    "WARNING": "WARNING",
    "CRITICAL": "CRITICAL",
}
"""EMS's words, and Python's own, to the levels of Python's logging. AUDIT is EMS's highest."""

_PORT = Whole(low=1, high=65535)
_BYTES = Whole(low=512, high=2**30, unit="bytes")
_NEVER_HONOURED = "EMS never honoured this; here it does what its name says"

_PROTOCOLS = {"auto": "auto", "edge-tunnel": "edge-tunnel", "alwayson": "alwayson"}
_SEALED = {"allow": "allow", "require": "require", "off": "off"}

GROUPS = (
    Group(path="ws_servers", several=True, bare_note="EMS itself needs a list here"),
    Group(
        path="auto_bind",
        several=True,
        bare_note="EMS accepts this and binds nothing",
    ),
    Group(path="logger"),
    Group(path="ws_connection"),
    Group(path="proxy"),
    Group(path="certificates"),
    Group(path="certificates.validation_criteria"),
    Group(path="tunnel"),
    Group(path="data_security"),
    Group(path="edge_tunnel"),
    Group(path="edge_tunnel.services", several=True),
)

_TOP = (
    Rule(group="ws_servers[]", key="host", kind=Host(), target="host"),
    Rule(group="ws_servers[]", key="port", kind=_PORT, target="port"),
    Rule(group="", key="resource", kind=UrlPath(), target="resource"),
    Rule(
        group="",
        key="appKey",
        kind=Hidden(),
        target="app_key",
        aliases=("app_key",),
        secret=True,
    ),
    # Read for what it says about the other secrets: EMS 5.4.8 and later encrypted them.
    Rule(group="data_security", key="key_hash", kind=Hidden(), target="key_hash", secret=True),
    Rule(group="auto_bind[]", key="name", kind=ThingName(), target="name"),
    Rule(group="logger", key="level", kind=Choice(LOG_LEVELS), target="log_level"),
)


def _link(key: str, kind: Duration | Whole | Choice, target: str) -> Rule:
    return Rule(group="ws_connection", key=key, kind=kind, target=f"link.{target}")


_LINK = (
    _link("encryption", Encryption({"ssl": True, "none": False, "fips": True}), "encrypted"),
    _link("connect_timeout", Duration(low=0.1), "connect_timeout"),
    _link("ping_rate", Duration(low=0.1), "ping_interval"),
    _link("pingpong_timeout", Duration(low=0.1), "ping_timeout"),
    _link("connect_retry_interval", Duration(), "retry_interval"),
    _link("max_connect_delay", Duration(), "max_connect_delay"),
    _link("connect_retries", Whole(none_at=-1), "retries"),
    _link("max_msg_size", _BYTES, "max_message_size"),
)


def _tls(key: str, kind: Flag | ListOf | Text | Hidden, target: str, *aliases: str) -> Rule:
    return Rule(
        group="certificates",
        key=key,
        kind=kind,
        target=f"tls.{target}",
        aliases=aliases,
        secret=isinstance(kind, Hidden),
    )


_TLS = (
    _tls("validate", Flag(), "validate"),
    _tls("allow_self_signed", Flag(), "allow_self_signed"),
    _tls("disable_hostname_validation", Flag(inverted=True), "check_hostname"),
    _tls("cert_chain", ListOf(Text()), "ca_files"),
    _tls("client_cert", Text(), "client_cert"),
    _tls("key_file", KeyFile(), "client_key", "client_key"),
    _tls("key_passphrase", Hidden(), "client_key_passphrase"),
    _tls("cipher_suite", Ciphers(), "ciphers"),
)

_CRITERIA = tuple(
    Rule(
        group="certificates.validation_criteria",
        key=key,
        kind=Text(),
        target=f"tls.criteria.{target}",
    )
    for key, target in {
        "Cert_Common_Name": "common_name",
        "Cert_Organization": "organization",
        "Cert_Organizational_Name": "organizational_unit",
        "CA_Cert_Common_Name": "issuer_common_name",
        "CA_Cert_Organization": "issuer_organization",
        "CA_Cert_Organizational_Name": "issuer_organizational_unit",
    }.items()
)

_PROXY = (
    Rule(group="proxy", key="host", kind=Host(), target="http_proxy.host"),
    Rule(group="proxy", key="port", kind=_PORT, target="http_proxy.port"),
    Rule(group="proxy", key="user", kind=ProxyUser(), target="http_proxy.user"),
    Rule(group="proxy", key="password", kind=Hidden(), target="http_proxy.password", secret=True),
)


def _tunnel(key: str, kind: Duration | Whole, target: str, *aliases: str) -> Rule:
    return Rule(
        group="tunnel",
        key=key,
        kind=kind,
        target=f"tunnel.{target}",
        note=_NEVER_HONOURED,
        aliases=aliases,
    )


_TUNNEL = (
    _tunnel("max_concurrent", Whole(low=1, high=100_000), "max_concurrent"),
    _tunnel("idle_timeout", Duration(low=1, none_at=0, high=30 * 86_400), "idle_timeout"),
    _tunnel("buffer_size", _BYTES, "buffer_size", "chunk_size"),
    _tunnel("read_timeout", ReadTimeout(none_at=0), "read_timeout"),
)


def _own(key: str, kind: Duration | Whole | Text | Choice, target: str, *aliases: str) -> Rule:
    return Rule(group="edge_tunnel", key=key, kind=kind, target=target, aliases=aliases)


def _service(key: str, kind: Text | Whole) -> Rule:
    return Rule(group="edge_tunnel.services[]", key=key, kind=kind, target=key)


_OWN = (
    # Seconds, not milliseconds: nothing in this group comes from EMS.
    _own("resume_timeout", Duration(scale=1, low=1), "tunnel.resume_timeout"),
    _own("max_streams", Whole(low=1, high=1_000_000), "tunnel.max_streams"),
    _own("end_to_end_encryption", Choice(_SEALED), "end_to_end_encryption"),
    _own("protocol", Choice(_PROTOCOLS), "protocol"),
    _own("identity_file", Text(), "identity_file"),
    _own("appKey_file", Text(), "app_key_file", "app_key_file"),
    # For a file that EMS reads as well: ours win over ws_connection's, which EMS obeys.
    _own("ping_interval", Duration(scale=1, low=0.1), "own.ping_interval"),
    _own("ping_timeout", Duration(scale=1, low=0.1), "own.ping_timeout"),
    _own("idle_ping_interval", Duration(scale=1, low=0.1), "link.idle_ping_interval"),
    _service("name", ServiceName()),
    _service("host", Host()),
    _service("port", _PORT),
    _service("description", Text()),
)

EFFECTIVE_RULES = (*_TOP, *_LINK, *_TLS, *_CRITERIA, *_PROXY, *_TUNNEL, *_OWN)
