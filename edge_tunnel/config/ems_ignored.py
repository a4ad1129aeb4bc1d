"""The keys of EMS's config.json that are read and have no effect here, each with the reason.

They are checked all the same: a wrong value is a warning, because it hints at a file that is not
what its owner thinks. One table row per reason.
"""

from __future__ import annotations

from edge_tunnel.config.ems_keys import EFFECTIVE_RULES, GROUPS, LOG_LEVELS
from edge_tunnel.config.kinds import Anything, Choice, Duration, Flag, Hidden, Kind, Text, Whole
from edge_tunnel.config.rules import Group, Rule, Table
from edge_tunnel.config.special_kinds import Fingerprints, Host

__all__ = ["EMS"]

_HTTP = "edge_tunnel opens no HTTP server on the device"
_FIPS = "EMS itself dropped it in 5.4.7; the TLS library's own policy counts"
_DUTY = "the link is always on; a tunnel may start at any time"
_STORE = "there are no property messages here that could wait for a connection"
_FILES = "there is no file transfer of its own: use scp, sftp or rsync through a tunnel"
_LOGS = "the log goes to standard error, where systemd or the program that runs the edge keeps it"
_FRAMES = "messages are one frame each, and the size of a tunnel's follows the path"
_SILENCE = "silence ends a link here, however it comes: ping_rate and pingpong_timeout say when"
_REST = "calls to the device's HTTP endpoint are not made here: only the thing's name is bound"
_PEERS = "this edge calls no other HTTPS server of its site"

_MS = Duration(high=30 * 86_400)
_COUNT = Whole(high=2**53)
_PORT = Whole(low=1, high=65535)
_PERCENT = Whole(high=100, unit="percent")
_LEVEL = Choice(LOG_LEVELS)

_IGNORED_GROUPS = (
    Group(path="http_server", why=_HTTP),
    Group(path="fips", why=_FIPS),
    Group(path="duty_cycle", why=_DUTY),
    Group(path="offline_msg_store", why=_STORE),
    Group(path="file", why=_FILES),
)


def _ignored(group: str, why: str, **kinds: Kind) -> tuple[Rule, ...]:
    return tuple(Rule(group=group, key=key, kind=kind, why=why) for key, kind in kinds.items())


def _secret(group: str, key: str, why: str) -> Rule:
    return Rule(group=group, key=key, kind=Hidden(), why=why, secret=True)


_HTTP_SERVER = (
    *_ignored(
        "http_server",
        _HTTP,
        host=Host(),
        port=_PORT,
        ssl=Flag(),
        certificate=Text(),
        private_key=Text(),
        authenticate=Flag(),
        user=Text(),
        content_read_timeout=_MS,
        ports_to_try=_COUNT,
        max_clients=_COUNT,
        use_default_certificate=Flag(),
        enable_csrf_tokens=Flag(),
        csrf_token_rotation_period=_COUNT,
    ),
    _secret("http_server", "passphrase", _HTTP),
    _secret("http_server", "password", _HTTP),
)

_LOGGER = _ignored(
    "logger",
    _LOGS,
    audit_target=Text(),
    publish_directory=Text(),
    publish_level=_LEVEL,
    max_file_storage=_COUNT,
    auto_flush=Flag(),
    flush_chunk_size=_COUNT,
    buffer_size=_COUNT,
)

_CONNECTION = (
    *_ignored("ws_connection", "logger.level says how much is logged", verbose=Flag()),
    *_ignored("ws_connection", "all messages are binary", binary_mode=Flag()),
    *_ignored("ws_connection", "tunnelled data is seldom worth compressing", compression=Flag()),
    *_ignored("ws_connection", "nothing here uses threads", max_threads=Whole(low=1, high=50)),
    *_ignored(
        "ws_connection",
        _SILENCE,
        msg_timeout=_MS,
        message_idle_time=_MS,
        socket_read_timeout=_MS,
        frame_read_timeout=_MS,
        ssl_read_timeout=_MS,
    ),
    *_ignored(
        "ws_connection",
        _DUTY,
        connect_period=_MS,
        duty_cycle=_PERCENT,
        connect_on_demand=Flag(),
    ),
    *_ignored(
        "ws_connection",
        _FRAMES,
        message_chunk_size=_COUNT,
        max_frame_size=_COUNT,
        max_messages=_COUNT,
    ),
)

_DUTY_CYCLE = _ignored(
    "duty_cycle", _DUTY, connect_period=_MS, duty_cycle=_PERCENT, delay_duty_cycle=_MS
)

_MESSAGE_STORE = _ignored(
    "offline_msg_store",
    _STORE,
    enabled=Flag(),
    directory=Text(),
    max_size=_COUNT,
    blocking=Flag(),
)

_CERTIFICATES = (
    *_ignored("certificates", _PEERS, http_client_ca_certs=Text()),
    Rule(
        group="certificates",
        key="fingerprint_whitelist",
        kind=Fingerprints(),
        why=_PEERS,
        aliases=("fingerprint_allowlist",),
        strict=True,
    ),
)

_AUTO_BIND = (
    *_ignored(
        "auto_bind[]",
        _REST,
        host=Host(),
        port=_PORT,
        path=Text(),
        timeout=_MS,
        protocol=Choice({"http": "http", "https": "https"}),
        user=Text(),
        accept=Text(),
        gateway=Flag(),
    ),
    _secret("auto_bind[]", "password", _REST),
)

_FILE = _ignored(
    "file",
    _FILES,
    buffer_size=_COUNT,
    max_file_size=_COUNT,
    virtual_dirs=Anything(),
    idle_timeout=_MS,
    staging_dir=Text(),
)

_REST_OF_IT = (
    *_ignored(
        "",
        "the service that runs the edge restarts it",
        restart=Choice({"any": "any", "local": "local", "server": "server"}),
    ),
    *_ignored("fips", _FIPS, enabled=Flag()),
    *_ignored("tunnel", "tunnels wait for events here, not for a clock", tick_resolution=_MS),
)

EMS = Table(
    (
        *EFFECTIVE_RULES,
        *_HTTP_SERVER,
        *_LOGGER,
        *_CONNECTION,
        *_DUTY_CYCLE,
        *_MESSAGE_STORE,
        *_CERTIFICATES,
        *_AUTO_BIND,
        *_FILE,
        *_REST_OF_IT,
    ),
    (*GROUPS, *_IGNORED_GROUPS),
)
"""Every key of the edge's file, in JSON and TOML."""
