"""The file on disk: opened for appending only, mode 0600, one writer, rotated by size and age.

A file that is full or old is renamed to ``NAME.<UTC>-<last record>``. One that somebody else moved
away (logrotate) is noticed before the next write, and begun anew; no signal is needed. Everything
here waits for the disk, and raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from datetime import datetime
from pathlib import Path
from typing import Final

from edge_tunnel.audit.chain import MAX_LINE, Seal, Unsound

__all__ = ["LogFile"]

_TAIL: Final = 1024 * 1024
"""Bytes that are read to find the last record: what a power cut leaves behind it is some pages."""

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class LogFile:
    """One path, and the file that stands there now."""

    def __init__(
        self,
        path: Path,
        *,
        rotate_size: int | None = None,
        rotate_age: float | None = None,
        keep: int | None = None,
    ) -> None:
        """`rotate_size`: bytes; `rotate_age`: seconds; `keep`: rotated files, None keeps all."""
        self.path = path
        self._rotate_size = rotate_size
        self._rotate_age = rotate_age
        self._keep = keep
        self._fd: int | None = None
        self._size = 0
        self._born = 0.0

    @property
    def is_open(self) -> bool:
        return self._fd is not None

    def open(self) -> bytes:
        """Open or create the file. Returns the end of what is in it."""
        self.close()
        fd = os.open(self.path, _FLAGS, 0o600)
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file")
            _lock(fd)
            tail = os.pread(fd, _TAIL, max(0, state.st_size - _TAIL))
            self._born = _born(os.pread(fd, MAX_LINE, 0), state)
            _sync_directory(self.path.parent)
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._size = fd, state.st_size
        return tail

    def append(self, data: bytes) -> None:
        """Write all of it; after an error part of it may be there."""
        assert self._fd is not None
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self._size += written
            view = view[written:]

    def sync(self) -> None:
        """Wait until the disk has it."""
        if self._fd is not None:
            os.fsync(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    # -- rotation

    @property
    def was_moved(self) -> bool:
        """Somebody moved or removed the file under us."""
        assert self._fd is not None
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    @property
    def is_due(self) -> bool:
        """The file is large or old enough to be put aside."""
        if not self._size:
            return False
        too_large = self._rotate_size is not None and self._size >= self._rotate_size
        too_old = self._rotate_age is not None and time.time() - self._born >= self._rotate_age
        return too_large or too_old

    def put_aside(self, seq: int) -> Path:
        """Rename the file, after its last record, and remove rotated files beyond `keep`."""
        self.sync()
        self.close()
        name = f"{self.path.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{seq}"
        target, number = self.path.with_name(name), 0
        while target.exists():
            number += 1
            target = self.path.with_name(f"{name}.{number}")
        self.path.rename(target)
        self._prune()
        return target

    def _prune(self) -> None:
        if self._keep is not None:
            ours = re.compile(re.escape(self.path.name) + r"\.\d{8}T\d{6}Z-(\d+)(\.\d+)?")
            found = [each for each in self.path.parent.iterdir() if ours.fullmatch(each.name)]
            found.sort(key=lambda each: (each.name[: each.name.rindex("-")], each.stat().st_mtime))
            for each in found[: max(0, len(found) - self._keep)]:
                each.unlink()

    def sibling_tail(self) -> bytes:
        """The end of the newest rotated file, ours or logrotate's; empty if there is none."""
        name = self.path.name
        siblings = [
            each
            for each in self.path.parent.iterdir()
            if each.name.startswith((f"{name}.", f"{name}-")) and each.is_file()
        ]
        plain = [each for each in siblings if each.suffix not in (".gz", ".xz", ".bz2", ".zst")]
        if not plain:
            return b""
        with max(plain, key=lambda each: each.stat().st_mtime_ns).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read()


def _lock(fd: int) -> None:
    """Two writers would make two chains in one file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(errno.EBUSY, "another node writes it; give each a file of its own") from error


def _born(head: bytes, state: os.stat_result) -> float:
    """When the file was begun: the time of its first record, which outlives restarts."""
    if not state.st_size:
        return time.time()
    with contextlib.suppress(Unsound, ValueError):
        first = Seal.claims(head.partition(b"\n")[0])
        return datetime.fromisoformat(str(first.fields["time"]).replace("Z", "+00:00")).timestamp()
    return state.st_mtime


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
