"""Who decides on a node: a development key, or keys and policy, wherever they are kept."""

from __future__ import annotations

import argparse
import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from edge_tunnel.access.administration import Administration
from edge_tunnel.access.authority import PolicyAuthority
from edge_tunnel.access.file_store import FileStore
from edge_tunnel.access.keys import BadKey
from edge_tunnel.access.rights import Authority, DevelopmentKey
from edge_tunnel.access.store import MemoryStore, Store, StoreAway
from edge_tunnel.audit.records import NO_AUDIT, Audit
from edge_tunnel.cli.access import read_secret
from edge_tunnel.cli.auditing import access_audit
from edge_tunnel.cli.cluster import make_client
from edge_tunnel.cli.events import Reporter
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.config import AccessSettings, ProxyConfig, Secret
from edge_tunnel.errors import ConfigError
from edge_tunnel.proxy.access_store import EtcdStore
from edge_tunnel.proxy.api import Api
from edge_tunnel.proxy.etcd_tls import EngineTls

__all__ = ["ADMIN_VARIABLE", "Decider", "add_authority", "make_authority", "read_keys"]

DEV_VARIABLE, ADMIN_VARIABLE = "EDGE_TUNNEL_DEV_KEY", "EDGE_TUNNEL_ADMIN_KEY"

_RETRY: Final = 1.0
"""Seconds between two tries while etcd is away at the start."""

_HOPS: Final = b"edge-tunnel hop 1"
"""What the cluster's secret is used for here."""


@dataclass(frozen=True)
class Decider:
    """Who decides, and what comes with it."""

    authority: Authority
    hop_key: str = ""
    """What nodes without certificates show each other; `start` gives it where it is empty."""

    administration: Administration | None = None
    store: Store | None = None
    """Of a cluster: give it to the registry."""

    @property
    def api(self) -> Api | None:
        """None in development mode."""
        return None if self.administration is None else Api(self.administration)

    async def start(self, reporter: Reporter) -> str:
        """Get the cluster's secret, and wait for etcd if it is away; the key of hops."""
        if self.administration is None:
            return self.hop_key
        waiting = False
        while True:
            try:
                secret = await self.administration.prepare()
                return hmac.new(secret, _HOPS, hashlib.sha256).hexdigest()
            except StoreAway as error:
                if not waiting:
                    reporter.emit("waiting", what=f"keys and policy: {error}")
                waiting = True
                await trio.sleep(_RETRY)


def add_authority(parser: argparse.ArgumentParser) -> None:
    """The options --dev-key, --admin-key-file and --state."""
    group = parser.add_argument_group("who is let in (one of the two; there is no default)")
    group.add_argument(
        "--dev-key",
        metavar="KEY",
        help=f"development mode, one key for all; or the variable {DEV_VARIABLE}",
    )
    group.add_argument(
        "--admin-key-file",
        metavar="FILE",
        help="keys and a policy, made over the API by whoever holds the key in this file; or the "
        f"variable {ADMIN_VARIABLE}; `edge-tunnel key generate` makes one",
    )
    group.add_argument(
        "--state", metavar="DIR", help="keeps keys and policy of a node that is alone"
    )


def read_keys(args: argparse.Namespace) -> tuple[Secret | None, AccessSettings | None]:
    """A development key or access settings, from options and environment. Raises CommandFailed."""
    dev = args.dev_key or os.environ.get(DEV_VARIABLE, "")
    admin = os.environ.get(ADMIN_VARIABLE, "").strip()
    if args.admin_key_file is not None:
        admin = read_secret(Path(args.admin_key_file), "administrator's key")
    if dev and (admin or args.state):
        text = f"a development key lets everybody in who has it: leave it out (also {DEV_VARIABLE})"
        raise CommandFailed(Exit.USAGE, f"{text}, or leave out --admin-key-file and --state")
    if not dev and not admin and not args.state:
        text = f"no key: set {ADMIN_VARIABLE}, or give --admin-key-file FILE"
        raise CommandFailed(Exit.USAGE, f"{text}; to try it out set {DEV_VARIABLE}")
    if dev:
        return Secret(dev), None
    return None, AccessSettings(admin_key=Secret(admin) if admin else None)


def make_authority(
    config: ProxyConfig,
    reporter: Reporter,
    audit: Audit = NO_AUDIT,
    engine: EngineTls | None = None,
) -> Decider:
    """From a node's configuration. Raises CommandFailed, ConfigError. `engine`: TLS with etcd."""
    if config.access is None:
        if config.dev_key is None:
            raise CommandFailed(Exit.CONFIGURATION, "no key: such a node would let anybody in")
        key = config.dev_key.reveal()
        return Decider(DevelopmentKey(key), key)
    store = _store(config, reporter, engine)
    try:
        authority = PolicyAuthority(store, config.access, audit=access_audit(audit))
    except BadKey as error:
        raise ConfigError(f"the administrator's key cannot be used: {error}") from None
    administration = Administration(authority)
    if config.cluster is None and not administration.has_admin():
        text = f"no administrator: set {ADMIN_VARIABLE}, or give --admin-key-file FILE"
        raise CommandFailed(Exit.CONFIGURATION, f"{text}; nobody could make a key on this node")
    return Decider(authority, "", administration, store)


def _store(config: ProxyConfig, reporter: Reporter, engine: EngineTls | None) -> Store:
    if config.cluster is not None:
        return EtcdStore(make_client(config.cluster, engine), prefix=config.cluster.prefix)
    if config.state is not None:
        return FileStore(Path(config.state))
    reporter.emit("state_in_memory")
    return MemoryStore()
