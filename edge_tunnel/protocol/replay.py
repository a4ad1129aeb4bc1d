"""The bytes that one stream has sent or will send, kept until the far endpoint has them.

Offsets are absolute, from the first byte of the stream. ::

    base            next                 end
     |---- sent ----|---- to be sent ----|
     delivered there^ will be sent again from wherever the far end stands, after a resume

`end - base` is never larger than the receiver's window, because the sender takes no byte from its
user beyond the credit; so this is the whole memory of a sending half.
"""

from __future__ import annotations

from collections import deque

__all__ = ["ReplayBuffer"]

_SMALL = 4096
"""Writes below this are joined: one-byte writes would cost fifty times their size in objects."""


class ReplayBuffer:
    """A queue of blocks with a cursor. Large blocks are kept as they came, never copied."""

    __slots__ = ("_blocks", "_front", "_index", "_skip", "base", "end", "next")

    def __init__(self) -> None:
        self._blocks: deque[bytes | bytearray] = deque()
        self._front = 0  # offset of the first block's first byte; at most `base`
        self._index = 0  # the block that holds `next` ...
        self._skip = 0  # ... and where in it
        self.base = 0
        self.next = 0
        self.end = 0

    def __repr__(self) -> str:
        return f"<ReplayBuffer base={self.base} next={self.next} end={self.end}>"

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes at the end."""
        size, blocks = len(data), self._blocks
        self.end += size
        if size >= _SMALL:
            blocks.append(bytes(data))
        elif blocks and isinstance(tail := blocks[-1], bytearray) and len(tail) + size <= _SMALL:
            tail += data
        elif size:
            blocks.append(bytearray(data))

    def take(self, most: int, rest: int = 0) -> tuple[int, bytes | memoryview]:
        """The next bytes to send (at most `most`) and their offset; moves the cursor.

        `rest`: as many more, if they are the last ones of a block.
        """
        offset, start = self.next, self._skip
        if offset == self.end:
            return offset, b""
        block = self._blocks[self._index]
        if start == len(block):
            start = 0
            self._index += 1  # there is another: not all is taken
            block = self._blocks[self._index]
        size = len(block)
        stop = size if size - start <= most + rest else start + most
        data: bytes | memoryview
        if isinstance(block, bytearray):
            # copied, because the tail may grow while the message waits for the socket
            data = bytes(block[start:stop])
        else:
            data = block if stop - start == size else memoryview(block)[start:stop]
        self.next = offset + stop - start
        self._skip = stop
        return offset, data

    def release(self, offset: int) -> None:
        """The far endpoint has everything before `offset` (at most `next`): forget it."""
        self.base = offset
        while self._blocks and self._front + len(self._blocks[0]) <= offset:
            self._front += len(self._blocks.popleft())
            if self._index == 0:
                self._skip = 0
            else:
                self._index -= 1

    def rewind(self, offset: int) -> None:
        """Send again from `offset`, where ``base <= offset <= end``."""
        start = self._front
        for index, block in enumerate(self._blocks):
            if offset <= start + len(block):
                self._index, self._skip = index, offset - start
                break
            start += len(block)
        self.next = offset

    def clear(self) -> None:
        """Drop every byte; the offsets stay."""
        self._blocks.clear()
        self._front = self.base = self.next = self.end
        self._index = self._skip = 0
