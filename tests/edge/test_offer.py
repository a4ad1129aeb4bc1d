"""What an edge says that it offers: for lists, and for nothing else."""

from __future__ import annotations

import dataclasses

import pytest
import trio
import trio.testing

from edge_tunnel import Service, TunnelEnded
from edge_tunnel.remote.lists import open_lister
from edge_tunnel.testing.cluster import KEY
from tests.system.clusters import Site, open_site


async def services(site: Site) -> tuple[str, ...]:
    dial = site.cluster.dial_as("lister")
    async with open_lister(["mem://b"], KEY, dial) as lister:
        [thing] = (await lister.things()).rows
        return thing.services


async def test_the_offer_follows_the_configuration(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Services of the file and of the application; a file that is read again counts at once."""
    async with open_site("a", ["b"]) as site:
        assert await services(site) == ("echo",)
        more = (Service(name="web", host="127.0.0.1", port=80),)
        site.edge.reconfigure(dataclasses.replace(site.edge.config, services=more))
        await trio.sleep(0.1)
        assert await services(site) == ("echo", "web")
        site.cluster.kill("a")  # another node is told as well
        await trio.sleep(10)
        assert await services(site) == ("echo", "web")


async def test_an_odd_name_costs_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A service that no list can show is left out of it; the device stays bound."""
    async with open_site("a", ["b"]) as site:
        odd = tuple(Service(name=name, host="h", port=1) for name in ("", "x" * 300, "a\nb"))
        site.edge.reconfigure(dataclasses.replace(site.edge.config, services=odd))
        await trio.sleep(0.1)
        assert await services(site) == ("echo",)
        with pytest.raises(TunnelEnded):
            await site.remotes[0].open_tunnel("device", "no-such-service")
