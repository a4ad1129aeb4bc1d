"""The settings of a file into the frozen model, with the origin of each.

Only what concerns a single group is decided here; what several settings mean together is in
`checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_tunnel.config.credentials import Chosen
from edge_tunnel.config.findings import Findings
from edge_tunnel.config.model import (
    PING,
    CertificateCriteria,
    EdgeConfig,
    HttpProxy,
    LinkSettings,
    Server,
    Service,
    TlsSettings,
    TunnelSettings,
)
from edge_tunnel.config.origins import Origin, OriginKind
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.source import Source
from edge_tunnel.config.walk import Section

__all__ = ["Built", "build"]

Origins = Mapping[str, Origin]

_OWN_WINS = {"own.ping_interval": "link.ping_interval", "own.ping_timeout": "link.ping_timeout"}
_TOP = ("resource", "log_level", "end_to_end_encryption", "protocol", "identity_file")
_SAMPLE_SERVER = 'write "ws_servers": [{"host": "proxy.example.com", "port": 443}]'
_SAMPLE_KEY = 'write "appKey", or set EDGE_TUNNEL_APP_KEY'


class Built:
    """A model in the making: values by target, and their origins."""

    def __init__(self, section: Section, source: Source, findings: Findings) -> None:
        self.section = section
        self.values: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        self._source = source
        self._findings = findings
        self._own_first()
        for target, taken in section.values.items():
            self._take(target, taken.value, self.origin(taken.offset))

    def origin(self, offset: int) -> Origin:
        return Origin(OriginKind.FILE, self._source.place(offset))

    def add_secrets(self, chosen: Mapping[str, Chosen]) -> None:
        """Secrets replace what the file says: it may be encrypted."""
        self.values = {k: v for k, v in self.values.items() if not isinstance(v, Secret)}
        for target, one in chosen.items():
            self._take(target, one.secret, one.origin)

    def group(self, prefix: str) -> dict[str, Any]:
        """The fields that a file sets of one dataclass of the model."""
        start = prefix + "."
        inside = {k.removeprefix(start): v for k, v in self.values.items() if k.startswith(start)}
        return {name: value for name, value in inside.items() if "." not in name}

    def complain(self, offset: int | None, key: str, message: str, hint: str) -> None:
        self._findings.error(offset, key, message, hint)

    def note(self, offset: int | None, key: str, message: str, hint: str = "") -> None:
        self._findings.note(offset, key, message, hint)

    def warn(self, offset: int | None, key: str, message: str, hint: str) -> None:
        self._findings.warning(offset, key, message, hint)

    def _take(self, target: str, value: Any, origin: Origin) -> None:
        self.values[target] = value
        self.origins[target] = origin

    def _own_first(self) -> None:
        values = self.section.values
        for own, target in _OWN_WINS.items():
            if own in values:
                if target in values:
                    message = f"not used here: {values[own].path} wins"
                    self._findings.note(values[target].offset, values[target].path, message)
                values[target] = values.pop(own)


def build(built: Built, *, incomplete: bool) -> EdgeConfig | None:
    """The model, or None after errors. `incomplete`: say nothing of what may be missing because
    it could not be read."""
    servers, things, services = _servers(built), _things(built), _services(built)
    # a client certificate takes the place of a key
    app_key = built.values.get("app_key", Secret("") if "tls.client_cert" in built.values else None)
    if not incomplete:
        _say_what_is_missing(built)
    if not servers or app_key is None:
        return None
    top = {name: built.values[name] for name in _TOP if name in built.values}
    return EdgeConfig(
        servers=servers,
        app_key=app_key,
        things=things,
        services=services,
        link=_link(built),
        tls=_tls(built),
        http_proxy=_http_proxy(built),
        tunnel=TunnelSettings(**built.group("tunnel")),
        **top,
    )


def _say_what_is_missing(built: Built) -> None:
    if not built.section.lists.get("ws_servers"):
        built.complain(None, "ws_servers", "no server to connect to", _SAMPLE_SERVER)
    said = {*built.section.values, *built.section.wrong}
    if not {"app_key", "tls.client_cert"} & {*built.values} and not said & {
        "app_key",
        "app_key_file",
    }:
        built.complain(None, "appKey", "no application key", _SAMPLE_KEY)


def _servers(built: Built) -> tuple[Server, ...]:
    servers: list[Server] = []
    for section in built.section.lists.get("ws_servers", ()):
        if _complete(built, section, "host", "port"):
            built.origins[f"servers[{len(servers)}]"] = built.origin(section.offset)
            servers.append(Server(host=section.value("host"), port=section.value("port")))
    return tuple(servers)


def _things(built: Built) -> tuple[str, ...]:
    names: list[str] = []
    for section in built.section.lists.get("auto_bind", ()):
        name = section.value("name")
        if not _complete(built, section, "name"):
            continue
        if name in names:
            built.warn(section.offset, section.path, "binds a name again", "remove one of the two")
            continue
        built.origins[f"things[{len(names)}]"] = built.origin(section.values["name"].offset)
        names.append(name)
    return tuple(names)


def _services(built: Built) -> tuple[Service, ...]:
    services: dict[str, Service] = {}
    for section in built.section.lists.get("edge_tunnel.services", ()):
        if not _complete(built, section, "name", "port"):
            continue
        fields = {"host": "127.0.0.1", **{k: one.value for k, one in section.values.items()}}
        if fields["name"] in services:
            message = "a service of this name is already there"
            built.complain(section.offset, section.path, message, "give it another name")
            continue
        built.origins[f"services[{len(services)}]"] = built.origin(section.offset)
        services[fields["name"]] = Service(**fields)
    return tuple(services.values())


def _complete(built: Built, section: Section, *targets: str) -> bool:
    missing = [target for target in targets if target not in section.values]
    for target in missing:
        if target not in section.wrong:
            built.complain(section.offset, section.path, f"has no {target}", f"add {target}")
    return not missing


def _link(built: Built) -> LinkSettings:
    fields = built.group("link")
    if fields.get("ping_interval") == PING and "idle_ping_interval" not in fields:
        fields["idle_ping_interval"] = PING  # who writes it down means it, also where it rests
        built.origins["link.idle_ping_interval"] = built.origins["link.ping_interval"]
    return LinkSettings(**fields)


def _tls(built: Built) -> TlsSettings:
    fields = built.group("tls")
    first, *more = fields.pop("ca_files", ()) or (None,)
    criteria = CertificateCriteria(**built.group("tls.criteria"))
    return TlsSettings(ca_file=first, more_ca_files=tuple(more), criteria=criteria, **fields)


def _http_proxy(built: Built) -> HttpProxy | None:
    fields = built.group("http_proxy")
    return HttpProxy(**fields) if "host" in fields else None
