"""A node's audit log, as its settings say; SIGHUP begins a new file if somebody moved it away."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from edge_tunnel.audit.chain import Seal
from edge_tunnel.audit.file import LogFile
from edge_tunnel.audit.log import AuditLog
from edge_tunnel.audit.records import NO_AUDIT, Audit, Event, Kind
from edge_tunnel.audit.writer import Writer, open_audit, why_not_written
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.hangup import Hangup
from edge_tunnel.config.audit import AuditSettings

__all__ = ["access_audit", "open_node_audit", "read_seal"]

_KINDS: Final = {
    "key_new": Kind.KEY_CHANGED,
    "key_revoked": Kind.KEY_CHANGED,
    "policy_pushed": Kind.POLICY_CHANGED,
    "ticket_new": Kind.TICKET_MINTED,
    "ticket_denied": Kind.TICKET_REFUSED,
}
"""A ticket that is used needs no record of its own: the link that it opens names it."""

_SHORTEST_KEY: Final = 16
"""Bytes: 128 bits, if they are random."""

_DAY: Final = 86_400

_STDERR: Final = 2


def access_audit(audit: Audit) -> Callable[..., None]:
    """What an authority and its administration tell, as records."""

    def tell(kind: str, **data: Any) -> None:
        if kind in _KINDS:
            audit.record(
                Event(
                    kind=_KINDS[kind],
                    who=str(data.get("by", data.get("user", ""))),
                    thing=str(data.get("thing", "")),
                    service=str(data.get("service", "")),
                    version=data.get("version"),
                    reason=str(data.get("reason", "")),
                    detail=_detail(kind, data),
                )
            )

    return tell


def _detail(kind: str, data: Mapping[str, Any]) -> str:
    """In words, what the record has no field for."""
    if kind == "key_revoked":
        return f"revoked key {data['key']} of {data['role']} {data['name']}"
    if kind == "key_new":
        replaces = f" in place of {data['replaces']}" if data["replaces"] else ""
        return f"new key {data['key']} of {data['role']} {data['name']}{replaces}"
    if kind == "policy_pushed":
        return "; ".join([*filter(None, [data["comment"]]), *data["changes"]])
    return f"ticket {data['ticket']} for {data['user']}"


@asynccontextmanager
async def open_node_audit(
    settings: AuditSettings | None, node: str, emit: Callable[..., None], hangup: Hangup
) -> AsyncIterator[Audit]:
    """What a node tells its audit to. Raises CommandFailed if it cannot be written at all."""
    if settings is None:
        yield NO_AUDIT
        return
    log = _log(settings, node)
    try:
        await trio.to_thread.run_sync(log.open)
    except OSError as error:
        text = f"the audit log cannot be written: {why_not_written(log, error)}"
        raise CommandFailed(Exit.CONFIGURATION, text) from error
    async with open_audit(
        log,
        emit,
        refuse=settings.refuse,
        sync_interval=settings.sync_interval,
        head_interval=settings.head_interval,
    ) as writer:
        hangup.call(partial(_reopen, writer))
        yield writer


def read_seal(key_file: str | None) -> Seal:
    """The seal of a log. Raises CommandFailed for a key that is no secret."""
    if key_file is None:
        return Seal()
    path = Path(key_file)
    try:
        key, mode = path.read_bytes().strip(), path.stat().st_mode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a file name"
        text = f"the audit key {key_file} cannot be read: {why}"
        raise CommandFailed(Exit.CONFIGURATION, text) from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        text = f"every user of this machine can read the audit key: chmod 600 {key_file}"
        raise CommandFailed(Exit.CONFIGURATION, text)
    if len(key) < _SHORTEST_KEY:
        text = f"the audit key {key_file} is too short: openssl rand -hex 32 makes a good one"
        raise CommandFailed(Exit.CONFIGURATION, text)
    return Seal(key)


def _log(settings: AuditSettings, node: str) -> AuditLog:
    file = None
    if settings.file is not None:
        file = LogFile(
            Path(settings.file),
            rotate_size=settings.rotate_size,
            rotate_age=settings.rotate_days * _DAY,
            keep=settings.keep,
        )
    journal = _STDERR if settings.journal else None
    return AuditLog(node, read_seal(settings.key_file), file=file, journal=journal)


async def _reopen(writer: Writer) -> None:
    writer.reopen()
