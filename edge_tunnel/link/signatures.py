"""Whether files are still the ones that were read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["Signature", "signature_of"]

Signature: TypeAlias = tuple[tuple[int, ...], ...]
"""Equal as long as nobody wrote, replaced or renamed a file. A missing file has one, too."""


def signature_of(paths: Iterable[str | os.PathLike[str]]) -> Signature:
    """Of these files together. The time of the last change of the inode (ctime) is in it: who
    copies a file with its old times (``cp -p``) does not get past it."""
    return tuple(_one(path) for path in paths)


def _one(path: str | os.PathLike[str]) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116 - a name that cannot be one is no path
    except (OSError, ValueError):
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
