"""``edge-tunnel edge --protocol`` as a process, at a server that knows only AlwaysOn."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import trio

from edge_tunnel.cli.exits import Exit
from edge_tunnel.testing import open_site
from tests.alwayson.connection_server import KEY, ConnectionServer, connection_server


async def test_the_option_holds_also_when_the_file_is_read_again(tmp_path: Path) -> None:
    """It is said which protocol was picked; a reload of a file without the key keeps it."""
    with trio.fail_after(30):
        async with connection_server(ConnectionServer()) as server, open_site(tmp_path) as site:
            site.port = server.port
            config = site.write_config({"echo": 1})
            said = json.loads(config.read_text()) | {"appKey": KEY}
            config.write_text(json.dumps(said))
            words = ("edge", "--config", str(config), "--json", "--protocol", "alwayson")
            edge = await site.start(*words)
            device = await server.device()
            assert device.headers["subprotocols"] == ""
            assert (await edge.event("linked"))["protocol"] == "alwayson"
            assert (await edge.event("bound"))["thing"] == "device-7"
            said["edge_tunnel"]["services"].append({"name": "more", "port": 2})
            config.write_text(json.dumps(said))
            edge.process.send_signal(signal.SIGHUP)
            assert (await edge.event("reloaded"))["changed"] == ["services"]
            edge.process.send_signal(signal.SIGTERM)
            await device.over.wait()
            assert device.unbound == ["device-7"]
            assert await edge.process.wait() == Exit.DONE
            assert KEY not in json.dumps(edge.events) + "".join(edge.words)
