"""One file, from its path to an `EdgeConfig` or to everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_tunnel.config.build import Built, build
from edge_tunnel.config.checks import check
from edge_tunnel.config.credentials import EDGE_SECRETS, choose_secrets, optional
from edge_tunnel.config.ems_ignored import EMS
from edge_tunnel.config.files import decoded, read_bytes, readable_by_all
from edge_tunnel.config.findings import ConfigFileError, Finding, Findings, Severity
from edge_tunnel.config.json_reader import read_json
from edge_tunnel.config.model import EdgeConfig
from edge_tunnel.config.nodes import Node, Object, Odd
from edge_tunnel.config.origins import Origin
from edge_tunnel.config.rules import Table
from edge_tunnel.config.settings import Setting, effective_settings
from edge_tunnel.config.source import Source
from edge_tunnel.config.walk import Section, walk

__all__ = ["Inspection", "LoadedConfig", "Opened", "inspect_config", "load_config", "open_file"]


@dataclass(frozen=True)
class LoadedConfig:
    """A usable configuration, and what its file's owner should know about it."""

    config: EdgeConfig
    findings: tuple[Finding, ...]
    """Warnings and notes, in the order of the file."""

    settings: tuple[Setting, ...]
    """Every effective setting with its origin."""

    origins: Mapping[str, Origin]
    """By target, for `to_toml`. What is not in it is a default."""


@dataclass(frozen=True)
class Inspection:
    """The same for a file that may be unusable: `config` is None then."""

    config: EdgeConfig | None
    findings: tuple[Finding, ...]
    settings: tuple[Setting, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @property
    def unreadable(self) -> bool:
        """The text itself could not be read."""
        return any(finding.unreadable for finding in self.findings)


def load_config(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ
) -> LoadedConfig:
    """Read EMS JSON, or TOML where the name ends in ``.toml``.

    Raises `edge_tunnel.ConfigError` (in fact `ConfigFileError`, whose `findings` has all of it)
    when there is any error. Never falls back to another file, as EMS does to its ``.booted`` copy.
    """
    # No text of the file is held by this frame: a traceback with locals shows none.
    found = inspect_config(path, environ=environ)
    if found.config is None:
        raise ConfigFileError(found.findings)
    return LoadedConfig(found.config, found.findings, found.settings, found.origins)


def inspect_config(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str] = os.environ,
    secrets_needed: bool = True,
    data: bytes | None = None,
) -> Inspection:
    """Like `load_config`, but gives what is wrong instead of raising it.

    `data`: what is in the file, where it has been read already.

    Without `secrets_needed` a missing or encrypted secret is a warning, and `config` has an empty
    one: for tools that handle the files of other machines.
    """
    opened = open_file(path, EMS, data)
    findings, source = opened.findings, opened.source
    if opened.section is None:
        return Inspection(None, findings.finish(source))
    built = Built(opened.section, source, findings)
    places = EDGE_SECRETS if secrets_needed else tuple(map(optional, EDGE_SECRETS))
    built.add_secrets(choose_secrets(places, opened.section, source, environ, findings))
    config = build(built, incomplete=opened.incomplete)
    if config is not None:
        config = check(config, built)
    told = findings.finish(source)
    if config is None or any(finding.severity is Severity.ERROR for finding in told):
        return Inspection(None, told)
    origins = built.origins
    return Inspection(config, told, effective_settings(config, origins), origins)


@dataclass(frozen=True, repr=False)
class Opened:
    """A file that was read as far as it could be."""

    source: Source
    findings: Findings
    section: Section | None
    incomplete: bool = False
    """Something could not be read: what is missing may have been there."""


def open_file(path: str | os.PathLike[str], table: Table, data: bytes | None = None) -> Opened:
    """Read any file of ours against its table of keys. `data`: what is in it, if that is known."""
    findings = Findings()
    file = Path(path)
    data = read_bytes(file, findings) if data is None else data
    text = "" if data is None else decoded(data, findings)
    source = Source(file, text)
    if findings.failed:
        return Opened(source, findings, None, incomplete=True)
    root = _root(file, text, findings)
    if findings.failed:
        source.only_show(table.familiar())
    if not isinstance(root, Object):
        if root is not None and not isinstance(root, Odd):
            findings.syntax(root.start, f"the file holds {root.what}, not a group of keys", "")
        return Opened(source, findings, None, incomplete=True)
    incomplete = findings.failed
    section = walk(root, table, findings, source)
    if section.holds_secret and readable_by_all(file):
        message = "every user of this machine can read this file, and it holds a secret"
        findings.warning(None, "", message, f"chmod 600 {source.name}")
    return Opened(source, findings, section, incomplete)


def _root(file: Path, text: str, findings: Findings) -> Node | None:
    if file.suffix.lower() != ".toml":
        return read_json(text, findings)
    # here: half a MiB that a device with a config.json does without
    from edge_tunnel.config.toml_reader import read_toml  # noqa: PLC0415

    return read_toml(text, findings)
