"""The rows of a node that is alone, in a folder: one file, replaced as a whole.

A new file is written, synced and renamed over the old one, so a power cut leaves the one or the
other. 10,000 keys are 4 MB; a change takes some milliseconds and the disk's fsync, and there are
few. Tickets stay in memory: they live for seconds, and a restart rather loses one than redeems it
twice. When tunnels began is in a file of its own, replaced at each new tunnel that has a limit, and
not synced: it outlasts the process; a power cut may lose it, and then these sessions begin anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edge_tunnel.access.store import SESSIONS, MemoryStore, StoreAway
from edge_tunnel.errors import ConfigError

__all__ = ["FileStore"]

_FORMAT: Final = 1
_NAME: Final = "access.json"
_SESSIONS: Final = "sessions.json"
_ABSURD: Final = (RecursionError, OverflowError)
"""What JSON, and float(), raise for some of what is no ValueError to them."""


class FileStore(MemoryStore):
    """Rows in ``access.json`` and ``sessions.json`` of a folder, for one node at a time."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        """Raises ConfigError: the folder cannot be used, or another node uses it."""
        super().__init__(now)
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _lock(self._lock, folder)
            self._rows = _read(folder / _NAME)
            self._passing[SESSIONS] = _read_sessions(folder / _SESSIONS)
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigError(f"the state folder {folder} cannot be used: {why}") from None

    def close(self) -> None:
        """Let another node have the folder."""
        os.close(self._lock)

    def _keep(self, rows: Mapping[str, str]) -> None:
        text = json.dumps({"format": _FORMAT, "rows": rows}, indent=1, sort_keys=True)
        self._replace(_NAME, text, sync=True)

    def _keep_sessions(self, sessions: Mapping[str, tuple[str, float]]) -> None:
        self._replace(_SESSIONS, json.dumps(sessions), sync=False)

    def _replace(self, name: str, text: str, *, sync: bool) -> None:
        new = self._folder / f"{name}.new"
        try:
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "w", encoding="utf-8") as stream:
                stream.write(text)
                if sync:
                    stream.flush()
                    os.fsync(stream.fileno())
            new.replace(self._folder / name)
            if sync:
                _sync(self._folder)
        except OSError as error:
            why = error.strerror or str(error)
            raise StoreAway(f"{self._folder} cannot be written: {why}") from None


def _lock(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        text = f"another node uses the state folder {folder}: give each node one of its own"
        raise ConfigError(text) from None


def _read(path: Path) -> dict[str, str]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, *_ABSURD):
        raise ConfigError(f"{path} is damaged: put back a copy of it, or remove it") from None
    rows = said.get("rows") if isinstance(said, dict) else None
    if not isinstance(rows, dict) or said.get("format") != _FORMAT:
        raise ConfigError(f"{path} is not of this version of edge_tunnel")
    if not all(isinstance(value, str) for value in rows.values()):
        raise ConfigError(f"{path} is damaged: put back a copy of it, or remove it")
    return rows


def _read_sessions(path: Path) -> dict[str, tuple[str, float]]:
    """What is damaged is as lost: nobody's keys are in it."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {key: (str(value), float(ends)) for key, (value, ends) in said.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError, *_ABSURD):
        return {}


def _sync(folder: Path) -> None:
    """A rename lasts when the folder was synced, too."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
