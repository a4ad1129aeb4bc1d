"""``python -m edge_tunnel`` is ``edge-tunnel``."""

from __future__ import annotations

import sys

from edge_tunnel.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
