"""Doubles for tests of programs that use edge_tunnel, and for ours.

`wire` is a bounded in-memory byte stream (trio's own never blocks, so it cannot test
back-pressure), `transports` a bounded in-memory message transport with faults, `cluster` real nodes
in one process that endpoints dial by name, with the `registry` that they share. All of them work in
virtual time. `relay` and `processes` are for real ones: a TCP relay on loopback that can be cut,
stalled and slowed down, and our commands with their JSON lines; `cluster_site` and `etcd` a cluster
of processes, each of which can be killed, stopped and started again; `conversation` compares bytes
that go through all of it, and measures pauses.
"""

from __future__ import annotations

from edge_tunnel.testing.cluster import Cluster, open_cluster
from edge_tunnel.testing.cluster_site import ClusterSite, NodeProcess, open_cluster_site
from edge_tunnel.testing.processes import Child, ChildFailed, Site, open_site
from edge_tunnel.testing.relay import Relay, open_relay
from edge_tunnel.testing.transports import MemoryTransport, transport_pair
from edge_tunnel.testing.wire import WireStream, wire_pair

__all__ = [
    "Child",
    "ChildFailed",
    "Cluster",
    "ClusterSite",
    "MemoryTransport",
    "NodeProcess",
    "Relay",
    "Site",
    "WireStream",
    "open_cluster",
    "open_cluster_site",
    "open_relay",
    "open_site",
    "transport_pair",
    "wire_pair",
]
