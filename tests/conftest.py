"""What all tests share: hypothesis as CI wants it, and endpoints on an in-process cluster."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, settings

from edge_tunnel import (
    Edge,
    EdgeConfig,
    LinkSettings,
    Remote,
    Secret,
    Server,
    TunnelSettings,
    TunnelStream,
    open_edge,
    open_remote,
)
from edge_tunnel.edge.services import ServiceTarget
from edge_tunnel.testing.cluster import KEY, Cluster, open_cluster

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=100,
    database=None,  # each of its files is a write to the disk
    suppress_health_check=(HealthCheck.too_slow,),
)
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command that runs in the test's process sets up logging for good: here, for one test. Else
    the next one that waits for a warning waits for ever, if the command wanted errors alone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


async def echo(stream: TunnelStream) -> None:
    """A service that sends back what it gets, and ends when its user does."""
    async for data in stream:
        await stream.send_all(data)
    await stream.send_eof()


class Bench:
    """An edge and a remote on an in-process cluster."""

    def __init__(self, cluster: Cluster, edge: Edge, remote: Remote) -> None:
        self.cluster = cluster
        self.edge = edge
        self.remote = remote


OpenBench: TypeAlias = Callable[..., AbstractAsyncContextManager[Bench]]


@asynccontextmanager
async def _open_bench(
    *nodes: str,
    services: Mapping[str, ServiceTarget] | None = None,
    resume_timeout: float = 120.0,
    max_concurrent: int | None = None,
    max_streams: int = 1024,
    websocket: bool = False,
    capacity: int = 256 * 1024,
    delay: float = 0.0,
) -> AsyncIterator[Bench]:
    names = nodes or ("node",)
    config = EdgeConfig(
        servers=tuple(Server(host=name, port=0) for name in names),
        app_key=Secret(KEY),
        things=("device",),
        link=LinkSettings(retry_interval=2.0),
        tunnel=TunnelSettings(
            resume_timeout=resume_timeout, max_concurrent=max_concurrent, max_streams=max_streams
        ),
    )
    async with (
        open_cluster(*names, websocket=websocket, capacity=capacity) as cluster,
        _endpoints(cluster, _named(config), services or {"echo": echo}, delay) as bench,
    ):
        yield bench


@asynccontextmanager
async def _endpoints(
    cluster: Cluster, config: EdgeConfig, services: Mapping[str, ServiceTarget], delay: float
) -> AsyncIterator[Bench]:
    cluster.delay = delay
    async with (
        open_edge(config, services, dial=cluster.dial_as("edge")) as edge,
        open_remote(
            config.urls(),
            KEY,
            dial=cluster.dial_as("remote"),
            resume_timeout=config.tunnel.resume_timeout,
        ) as remote,
    ):
        await edge.wait_bound()
        yield Bench(cluster, edge, remote)


class _MemConfig(EdgeConfig):
    def urls(self) -> tuple[str, ...]:
        return tuple(f"mem://{server.host}" for server in self.servers)


def mem_config(*nodes: str, **fields: Any) -> EdgeConfig:
    """The configuration of an edge on an in-process cluster."""
    return _MemConfig(
        servers=tuple(Server(host=name, port=0) for name in nodes),
        app_key=Secret(KEY),
        things=("device",),
        link=LinkSettings(retry_interval=2.0),
        **fields,
    )


def _named(config: EdgeConfig) -> EdgeConfig:
    return _MemConfig(**{name: getattr(config, name) for name in config.__dataclass_fields__})


@pytest.fixture
def open_bench() -> OpenBench:
    """``async with open_bench() as bench:`` gives a bound edge and a remote."""
    return _open_bench


Service: TypeAlias = Callable[[TunnelStream], Awaitable[object]]
