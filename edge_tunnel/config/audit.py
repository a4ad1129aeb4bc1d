"""The ``[audit]`` table of proxy.toml.

::

    [audit]
    file = "/var/log/edge-tunnel/audit.log"
    journal = false               # true: to stderr as well, for the systemd journal
    key_file = "audit.key"        # HMAC instead of SHA-256; at least 16 bytes, readable by the node
    rotate_size = 67108864        # bytes
    rotate_days = 30
    keep = 100                    # rotated files; without it, none is ever removed
    on_failure = "continue"       # or "refuse": no new tunnels while nothing can be recorded
    sync_interval = 1             # seconds until a record is on the disk
    head_interval = 300           # seconds between two audit_head events
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_tunnel.config.findings import Findings
from edge_tunnel.config.kinds import Choice, Duration, Flag, Text, Whole
from edge_tunnel.config.rules import Group, Rule

__all__ = ["AUDIT_GROUP", "AUDIT_RULES", "AuditSettings", "audit_settings", "check_audit"]


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """Where a node's audit log goes, and how. One of `file` and `journal` is set."""

    file: str | None = None
    journal: bool = False
    """To stderr, with the priority in front that the systemd journal understands."""

    key_file: str | None = None
    """Of an HMAC key: who can write the log, and not read this, cannot write it anew unseen."""

    rotate_size: int = 64 * 1024 * 1024
    """Bytes: some 140,000 records."""

    rotate_days: float = 30.0
    keep: int | None = None
    """Rotated files. None: nothing is removed; whoever can make a node talk could otherwise make it
    forget."""

    refuse: bool = False
    """No new tunnels while nothing can be recorded; those that run go on."""

    sync_interval: float = 1.0
    """Seconds that a power cut may take from the log."""

    head_interval: float = 300.0
    """Seconds between two `audit_head` events."""


AUDIT_GROUP = Group(path="audit")
AUDIT_RULES = tuple(
    Rule(group="audit", key=key, kind=kind, target=target)
    for key, kind, target in (
        ("file", Text(), "audit.file"),
        ("journal", Flag(), "audit.journal"),
        ("key_file", Text(), "audit.key_file"),
        ("rotate_size", Whole(low=4096, high=2**40, unit="bytes"), "audit.rotate_size"),
        ("rotate_days", Whole(low=1, high=36_500, unit="days"), "audit.rotate_days"),
        ("keep", Whole(low=1, high=1_000_000, unit="files"), "audit.keep"),
        ("on_failure", Choice({"continue": False, "refuse": True}), "audit.refuse"),
        ("sync_interval", Duration(scale=1, low=0, high=3600), "audit.sync_interval"),
        ("head_interval", Duration(scale=1, low=1, high=86_400), "audit.head_interval"),
    )
)


def check_audit(values: Mapping[str, Any], findings: Findings) -> None:
    """A table that leads nowhere is a mistake."""
    if values and not values.get("file") and not values.get("journal"):
        hint = 'write file = "/var/log/edge-tunnel/audit.log", or journal = true'
        findings.error(None, "audit.file", "the audit log has no place", hint)


def audit_settings(values: Mapping[str, Any]) -> AuditSettings | None:
    """None without a table."""
    return AuditSettings(**values) if values else None
