"""The table ``[tls]`` of a node's file: its own certificate, and those that it asks for.

::

    [tls]
    certificate = "node.pem"          # with its chain; paths are relative to this file
    key = "node.key"                  # chmod 600
    # key_password_file = "password"  # or EDGE_TUNNEL_TLS_KEY_PASSWORD, or a systemd credential
    client_ca = "ca.pem"              # of edges and remotes
    client_certificates = "optional"  # "off", "optional", "required" (if there is a client_ca)
    minimum = "1.2"                   # or "1.3"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from edge_tunnel.config.credentials import Chosen, SecretPlace
from edge_tunnel.config.findings import Findings
from edge_tunnel.config.kinds import Choice, Hidden, Text
from edge_tunnel.config.rules import Group, Rule
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.source import Source
from edge_tunnel.config.walk import Section

__all__ = ["TLS_GROUP", "TLS_RULES", "TLS_SECRET", "NodeTls", "node_tls"]

_FILES: Final = ("certificate", "key", "client_ca")
_ASKED: Final = ("off", "optional", "required")


@dataclass(frozen=True, kw_only=True)
class NodeTls:
    """How a node speaks TLS with edges and remotes. Files are PEM."""

    certificate: str
    """With its chain."""

    key: str
    key_password: Secret | None = None
    client_ca: str | None = None
    """Whose client certificates are accepted; None: nobody is asked for one."""

    client_certificates: str = "off"
    """``"off"``, ``"optional"`` or ``"required"``; the latter two need `client_ca`."""

    minimum: str = "1.2"
    """Of TLS: ``"1.2"`` or ``"1.3"``; 1.3 is spoken wherever both can."""


def _rule(key: str, kind: Text | Choice) -> Rule:
    return Rule(group="tls", key=key, kind=kind, target=f"tls.{key}")


TLS_GROUP: Final = Group(path="tls")
TLS_RULES: Final = (
    *(_rule(key, Text()) for key in _FILES),
    _rule("client_certificates", Choice({word: word for word in _ASKED})),
    _rule("minimum", Choice({"1.2": "1.2", "1.3": "1.3"})),
    Rule(group="tls", key="key_password", kind=Hidden(), target="tls.key_password", secret=True),
    _rule("key_password_file", Text()),
)
TLS_SECRET: Final = SecretPlace(
    "tls.key_password",
    "tls.key_password",
    "EDGE_TUNNEL_TLS_KEY_PASSWORD",
    "tls_key_password",
    "tls.key_password_file",
    "tls.key_password_file",
)


def node_tls(
    section: Section, source: Source, secret: Chosen | None, findings: Findings
) -> NodeTls | None:
    """The table of a file; None if there is none, or if it cannot be used."""
    values: dict[str, Any] = {
        target.removeprefix("tls."): taken.value
        for target, taken in section.values.items()
        if target.startswith("tls.")
    }
    if not values:
        return None
    _check(values, findings)
    if not {"certificate", "key"} <= values.keys():
        return None
    paths = {key: str(source.directory / values[key]) for key in _FILES if key in values}
    asked = values.get("client_certificates", "required" if "client_ca" in values else "off")
    return NodeTls(
        **paths,
        key_password=secret.secret if secret is not None else None,
        client_certificates=asked,
        minimum=values.get("minimum", "1.2"),
    )


def _check(values: dict[str, Any], findings: Findings) -> None:
    for key in ("certificate", "key"):
        if key not in values:
            hint = "write tls.certificate and tls.key; edge-tunnel tls init makes both"
            findings.error(None, f"tls.{key}", "TLS needs a certificate and its key", hint)
    asked = values.get("client_certificates")
    if asked in ("optional", "required") and "client_ca" not in values:
        hint = "write tls.client_ca, the CA of the clients' certificates"
        findings.error(None, "tls.client_certificates", "nobody's certificate is accepted", hint)
    if asked == "off" and "client_ca" in values:
        text = "not used: no client certificate is asked for"
        findings.warning(None, "tls.client_ca", text, "remove tls.client_certificates = off")
