"""What an idle edge process has in memory: modules are what can be counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NEEDLESS = tuple(
    f"{name}."
    for name in (
        "cryptography",
        "packaging",
        "tomli",
        "edge_tunnel.access",
        "edge_tunnel.alwayson",
        "edge_tunnel.audit",
        "edge_tunnel.cli.proxy",
        "edge_tunnel.config.proxy",
        "edge_tunnel.edge.alwayson.side",
        "edge_tunnel.link.pem",
        "edge_tunnel.proxy",
        "edge_tunnel.testing",
    )
)
"""Each with what is below it. The first alone is 9 MiB."""

SCRIPT = """
import json, sys
from edge_tunnel.cli import edge
from edge_tunnel.cli.main import main

def said(_serve, config, _args, identity):
    print(json.dumps([identity.fingerprint, identity.public.hex(), sorted(sys.modules)]))

edge.trio.run = said
main(["edge", "--config", sys.argv[1]])
"""


def run(config: Path) -> tuple[str, str, list[str]]:
    """An edge that is about to dial: who it is, and its modules."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(config)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
        timeout=60,
    )
    fingerprint, public, modules = json.loads(done.stdout)
    return fingerprint, public, modules


@pytest.mark.slow
def test_an_idle_edge_has_not_what_it_does_not_need(tmp_path: Path) -> None:
    """At its first start, which makes its key, and at any other."""
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "ws_servers": [{"host": "127.0.0.1", "port": 9}],
                "appKey": "key",
                "ws_connection": {"encryption": "none", "connect_retries": 0},
                "auto_bind": [{"name": "thing"}],
                "edge_tunnel": {"services": [{"name": "ssh", "host": "127.0.0.1", "port": 22}]},
            }
        )
    )
    config.chmod(0o600)
    first, again = run(config), run(config)
    assert first[:2] == again[:2]
    for modules in (first[2], again[2]):
        assert [each for each in modules if f"{each}.".startswith(NEEDLESS)] == []
        assert "trio" in modules
