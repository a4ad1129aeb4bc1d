"""A configuration as a TOML file that reads back as the same, with a comment for every origin.

The same table that reads settings writes them, so that nothing can be read and not be written.
Defaults are left out: they may become better with a new version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge_tunnel.config.model import EdgeConfig
from edge_tunnel.config.origins import DEFAULT, Origin, OriginKind
from edge_tunnel.config.rules import Rule
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.settings import model_rules, value_at
from edge_tunnel.config.toml_text import quoted

__all__ = ["to_toml"]

_DEFAULTS = EdgeConfig(servers=(), app_key=Secret(""), things=())
_GROUPS = (
    "ws_connection",
    "certificates",
    "certificates.validation_criteria",
    "proxy",
    "tunnel",
    "logger",
    "edge_tunnel",
)


def to_toml(
    config: EdgeConfig, origins: Mapping[str, Origin] | None = None, *, secrets: bool = False
) -> str:
    """TOML text. Secrets are in it only on request; else a comment says how to give each.

    `origins` is by target, as in `Inspection.origins`; without it there are no comments.
    """
    lines = list(_Writer(config, origins or {}, secrets=secrets).lines())
    return "\n".join(lines).strip("\n") + "\n"


class _Writer:
    def __init__(self, config: EdgeConfig, origins: Mapping[str, Origin], *, secrets: bool) -> None:
        self._config = config
        self._origins = origins
        self._secrets = secrets

    def lines(self) -> Iterator[str]:
        yield from self._group("")
        yield from self._servers()
        yield from self._things()
        for group in _GROUPS:
            inside = list(self._group(group))
            if inside:
                yield from ("", f"[{group}]", *inside)
        yield from self._services()

    def _group(self, group: str) -> Iterator[str]:
        for rule in model_rules():
            if rule.group == group:
                yield from self._rule(rule)
        app_key = self._origins.get("app_key", DEFAULT)
        if group == "edge_tunnel" and app_key.kind is OriginKind.SECRET_FILE:
            yield f"appKey_file = {quoted(app_key.text)}"

    def _rule(self, rule: Rule) -> Iterator[str]:
        value = value_at(self._config, rule.target)
        origin = self._origins.get(rule.target, DEFAULT)
        if value is None or value == ():
            return
        if isinstance(value, Secret):
            yield from self._secret(rule, value, origin)
        elif origin is not DEFAULT or not self._is_default(rule, value):
            yield f"{rule.key} = {rule.kind.write(value)}{_comment(origin)}"

    def _is_default(self, rule: Rule, value: object) -> bool:
        if rule.target == "http_proxy.host":
            return self._config.http_proxy is None
        default: object = value_at(_DEFAULTS, rule.target)
        return value == default

    def _secret(self, rule: Rule, value: Secret, origin: Origin) -> Iterator[str]:
        if origin.kind is OriginKind.SECRET_FILE or not value.reveal():
            return
        if self._secrets:
            yield f"{rule.key} = {rule.kind.write(value)}{_comment(origin)}"
            return
        yield f"# {rule.key} = ...   left out because it is secret{_comment(origin, ', was in ')}"
        if rule.target == "app_key":
            yield "# give it in EDGE_TUNNEL_APP_KEY, as the systemd credential appKey, or in a"
            yield '# file of its own: appKey_file = "appKey" in [edge_tunnel]'

    def _servers(self) -> Iterator[str]:
        for index, server in enumerate(self._config.servers):
            yield from ("", f"[[ws_servers]]{self._origin('servers', index)}")
            yield from (f"host = {quoted(server.host)}", f"port = {server.port}")

    def _things(self) -> Iterator[str]:
        for index, name in enumerate(self._config.things):
            yield from ("", f"[[auto_bind]]{self._origin('things', index)}")
            yield f"name = {quoted(name)}"

    def _services(self) -> Iterator[str]:
        for index, service in enumerate(self._config.services):
            yield from ("", f"[[edge_tunnel.services]]{self._origin('services', index)}")
            yield from (f"name = {quoted(service.name)}", f"host = {quoted(service.host)}")
            yield f"port = {service.port}"
            if service.description:
                yield f"description = {quoted(service.description)}"

    def _origin(self, field: str, index: int) -> str:
        return _comment(self._origins.get(f"{field}[{index}]", DEFAULT))


def _comment(origin: Origin, before: str = "  # ") -> str:
    return "" if origin is DEFAULT else f"{before}{origin}"
