"""Every effective setting, by the name it has in a file, with its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from edge_tunnel.config.ems_ignored import EMS
from edge_tunnel.config.model import EdgeConfig, HttpProxy
from edge_tunnel.config.origins import DEFAULT, Origin
from edge_tunnel.config.rules import Rule
from edge_tunnel.config.secret import Secret

__all__ = ["Setting", "effective_settings", "model_rules", "value_at"]

_NO_PROXY = HttpProxy(host="")
# Read for what they say about others; not fields of the model.
_NOT_IN_MODEL = {"key_hash", "app_key_file", "own.ping_interval", "own.ping_timeout"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of a report."""

    key: str
    """Key path in a file, as in ``ws_connection.ping_rate``."""

    value: str
    """For people, with its unit. A secret is ``***``."""

    origin: Origin


def model_rules() -> Iterator[Rule]:
    """The rules of single settings of the model, lists left out."""
    for rule in EMS.rules:
        if rule.target and not rule.group.endswith("[]") and rule.target not in _NOT_IN_MODEL:
            yield rule


def value_at(config: EdgeConfig, target: str) -> Any:
    """What the model has for the target of a rule; None where there is no HTTP proxy."""
    if target.startswith("http_proxy."):
        return attrgetter(target.removeprefix("http_proxy."))(config.http_proxy or _NO_PROXY)
    return attrgetter(target)(config)


def effective_settings(config: EdgeConfig, origins: Mapping[str, Origin]) -> tuple[Setting, ...]:
    """In the order of the table: lists first."""
    return (*_lists(config, origins), *_singles(config, origins))


def _lists(config: EdgeConfig, origins: Mapping[str, Origin]) -> Iterator[Setting]:
    shown = {
        "servers": ("ws_servers", [f"{one.host}:{one.port}" for one in config.servers]),
        "things": ("auto_bind", list(config.things)),
        "services": (
            "edge_tunnel.services",
            [f"{one.name} -> {one.host}:{one.port}" for one in config.services],
        ),
    }
    for field, (key, values) in shown.items():
        for index, value in enumerate(values):
            origin = origins.get(f"{field}[{index}]", DEFAULT)
            yield Setting(key=f"{key}[{index}]", value=value, origin=origin)


def _singles(config: EdgeConfig, origins: Mapping[str, Origin]) -> Iterator[Setting]:
    for rule in model_rules():
        value = value_at(config, rule.target)
        if rule.target.startswith("http_proxy.") and config.http_proxy is None:
            continue
        origin = origins.get(rule.target, DEFAULT)
        unset = value is None or value == ()
        if isinstance(value, Secret):
            if not value.reveal() and origin is DEFAULT:  # a certificate takes its place
                continue
            yield Setting(key=rule.path, value="***", origin=origin)
        elif not unset or origin is not DEFAULT:
            shown = "none" if unset and origin is DEFAULT else rule.kind.show(value)
            yield Setting(key=rule.path, value=shown, origin=origin)
