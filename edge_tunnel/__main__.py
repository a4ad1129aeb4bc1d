"""The command itself, as ``edge-tunnel`` and as ``python -m edge_tunnel``."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["main"]

_INTERRUPTED: Final = 130


def main() -> int:
    """Start. What we import takes a second or more on a small device, and Ctrl-C may come in it."""
    try:
        from edge_tunnel.cli import main as command  # noqa: PLC0415
    except KeyboardInterrupt:
        return _INTERRUPTED
    return command.main()


if __name__ == "__main__":
    sys.exit(main())
