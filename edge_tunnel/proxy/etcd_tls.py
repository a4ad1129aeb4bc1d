"""TLS towards etcd: this node's certificate for it, and the CA of its members."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TypeAlias

from edge_tunnel.errors import ConfigError
from edge_tunnel.link.pem import Pair

__all__ = ["EngineTls", "engine_context", "engine_files"]

EngineTls: TypeAlias = Callable[[], ssl.SSLContext]
"""The one for the next connection."""


def engine_files(certificate: str, key: str, ca: str) -> Pair:
    """The three PEM files, to look at."""
    called = ("cluster.engine_cert", "cluster.engine_key", "cluster.engine_ca")
    return Pair(certificate=certificate, key=key, ca=ca, called=called)


def engine_context(pair: Pair) -> ssl.SSLContext:
    """For new connections. Raises ConfigError, as `Pair.check` does."""
    pair.check()
    try:
        context = ssl.create_default_context(cafile=pair.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(pair.certificate, pair.key, password="")
    except OSError as error:  # ssl.SSLError is one; replaced since `check`
        raise ConfigError(f"{pair.called[0]}: {' and '.join(pair.files)}: {error}") from None
    return context
