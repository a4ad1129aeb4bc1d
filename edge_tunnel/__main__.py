"""The command itself, as ``edge-tunnel`` and as ``python -m edge_tunnel``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final

__all__ = ["main"]

_INTERRUPTED: Final = 130
_STDOUT, _STDERR = 1, 2


def main() -> int:
    """Start. What we import takes a second or more on a small device, and Ctrl-C may come in it."""
    _fill_gaps()
    try:
        from edge_tunnel.cli import main as command  # noqa: PLC0415
    except KeyboardInterrupt:
        return _INTERRUPTED
    return command.main()


def _fill_gaps() -> None:
    """Make what our caller has closed of stdin, stdout and stderr /dev/null.

    The next file or socket would have its number, and be sent what we print; and Python prints on
    stdout what is meant for a stderr that is not there.
    """
    with suppress(OSError):
        while (null := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
            os.set_inheritable(null, True)
        os.close(null)
        sys.stdout = sys.stdout or os.fdopen(_STDOUT, "w", 1, closefd=False)
        sys.stderr = sys.stderr or os.fdopen(_STDERR, "w", 1, closefd=False)


if __name__ == "__main__":
    sys.exit(main())
