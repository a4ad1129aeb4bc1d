"""A faster mask for WebSocket payloads.

A client masks every payload with XOR (RFC 6455 section 5.3). wsproto does that in pure Python,
which is the limit of a link at about 200 MB/s; the C routine of the `websockets` package is several
times faster. This module puts it where wsproto looks for its own. It changes nothing if wsproto has
moved on or if the two disagree on a sample, so the worst case is the old speed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

import wsproto.frame_protocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled routine
    apply_mask = None  # type: ignore[assignment]

__all__ = ["FastMasker", "accelerate", "mask"]

_SEAM = "XorMaskerSimple"


def _mask(data: bytes | memoryview, key: bytes | memoryview) -> bytes:
    return bytes(getattr(wsproto.frame_protocol, _SEAM)(bytes(key)).process(bytearray(data)))


mask = cast(
    "Callable[[bytes | memoryview, bytes | memoryview], bytes]",  # theirs takes any buffers, too
    _mask if apply_mask is None else apply_mask,
)
"""Mask or unmask a whole payload, with its key."""


class FastMasker:
    """The interface of wsproto's XorMaskerSimple."""

    __slots__ = ("_key",)

    def __init__(self, masking_key: bytes | bytearray) -> None:
        self._key = bytes(masking_key)

    def process(self, data: bytes | bytearray) -> bytes:
        """Mask or unmask the next part of a payload."""
        used = len(data) % 4
        masked: bytes = apply_mask(data, self._key)
        self._key = self._key[used:] + self._key[:used]
        return masked


def accelerate() -> bool:
    """Use the C routine from now on; returns whether it could be put in place."""
    theirs = getattr(wsproto.frame_protocol, _SEAM, None)
    if theirs is FastMasker:
        return True
    if apply_mask is None or theirs is None or not _agree(theirs):
        return False
    setattr(wsproto.frame_protocol, _SEAM, FastMasker)
    return True


def _agree(theirs: type) -> bool:
    key, sample = os.urandom(4), os.urandom(1031)
    slow, fast = theirs(key), FastMasker(key)
    try:
        return all(
            bytes(slow.process(bytearray(part))) == fast.process(part)
            for part in (sample[:7], sample[7:514], sample[514:])
        )
    except Exception:  # noqa: BLE001 - whatever it is now, it is not what we know
        return False
