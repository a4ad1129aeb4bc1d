"""Keep memory that was freed, for a while.

Each message of bulk is a few blocks of 64 KiB that live for some microseconds. The C library gives
the memory back to the kernel when the last of it is free, and gets it again, cleared, page by page,
for the next message: 10 to 20 % of the processor time of a bulk transfer (measured by page faults
and `tools/bench`). Only programs of ours do this, never the library in somebody's application.
"""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_THRESHOLD: Final = -3

_KEPT: Final = 16 * 1024 * 1024
"""Bytes at the end of the heap that may stay unused; what an idle process touched is far less."""


def keep_freed_memory() -> bool:
    """Returns whether this C library could be told (glibc can)."""
    try:
        library = ctypes.CDLL(None)
        mallopt, trim = library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):
        return False
    trim(0)  # what the start has left behind nobody needs again: the better part of a MiB
    # blocks of this size come from the heap, and are not given back one by one either
    settings = ((_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _KEPT // 64), (_MMAP_THRESHOLD, _KEPT // 16))
    told = [mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(told)
