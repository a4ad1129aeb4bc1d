"""Reading a file from disk: size, encoding, permissions. Nothing here raises on a bad file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_tunnel.config.findings import Findings

__all__ = ["MAX_FILE", "decoded", "is_there", "read_bytes", "readable_by_all"]

MAX_FILE = 1024 * 1024
"""Bytes. Real files have a few kilobytes; the bound keeps reading one within a second."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_bytes(path: Path, findings: Findings) -> bytes | None:
    """What is in the file, or None after an error."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        findings.syntax(None, f"cannot be read: {reason}", "check the path and its permissions")
        return None
    if len(data) > MAX_FILE:
        findings.syntax(None, f"is larger than {MAX_FILE} bytes", "this is no configuration file")
        return None
    return data


def decoded(data: bytes, findings: Findings) -> str:
    """The text. What is not UTF-8 is read as Latin-1, in which no byte is wrong, with a warning."""
    if data.startswith(_UTF16):
        findings.syntax(None, "is saved as UTF-16", "save it as UTF-8")
        return ""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = error.start
    findings.warning(wrong, "", "this is not UTF-8: read as Latin-1", "save the file as UTF-8")
    return data.decode("latin-1")


def readable_by_all(path: Path) -> bool:
    """Every user of the machine can read it."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except (OSError, ValueError):
        return False


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file. False for what cannot be a name: too long, a NUL in it
    (`Path.exists` raises for these before Python 3.14)."""
    return os.path.exists(path)  # noqa: PTH110 - see above
