"""An authority over a store in memory, with the keys of a small house."""

from __future__ import annotations

from typing import Any

from edge_tunnel.access.administration import Administration, NewKey
from edge_tunnel.access.authority import PolicyAuthority
from edge_tunnel.access.keys import KeyRecord, record_of
from edge_tunnel.access.rights import Credentials, Denial, PeerCertificate, Principal
from edge_tunnel.access.store import MemoryStore, StoreAway
from edge_tunnel.config.proxy_access import AccessSettings
from edge_tunnel.reasons import Reason

POLICY = """format = 1
[[allow]]
users = ["anna"]
things = ["pump-*"]
services = ["ssh"]
"""


ROOT = record_of("x" * 20, role="admin", name="root", created=0)


class Away(MemoryStore):
    """Can go away."""

    away = False

    async def read(self, key: str) -> str | None:
        if self.away:
            raise StoreAway("etcd at 127.0.0.1:2379: connection refused")
        return await super().read(key)


class House:
    """An authority, its administration, its clock and what it told the audit."""

    def __init__(self, store: MemoryStore | None = None, **settings: Any) -> None:
        self.now = 1000.0
        self.audit: list[tuple[str, dict[str, Any]]] = []
        self.store = store or Away(lambda: self.now)
        self.authority = PolicyAuthority(
            self.store, AccessSettings(**settings), audit=self.write, now=lambda: self.now
        )
        self.admin = Administration(self.authority)
        self.changes = 0
        self.authority.on_change = self.change

    def write(self, kind: str, **data: Any) -> None:
        self.audit.append((kind, data))

    def change(self) -> None:
        self.changes += 1

    async def open(self) -> House:
        await self.admin.prepare()
        await self.admin.push(POLICY, 0, "", ROOT)
        return self

    async def key(self, role: str, name: str, **wish: Any) -> tuple[str, KeyRecord]:
        return await self.admin.new_key(NewKey(role=role, name=name, **wish), None, ROOT)

    async def admit(
        self, role: str, key: str, *names: str, instance: bytes = b""
    ) -> Principal | Denial:
        certificate = PeerCertificate(names=names, fingerprint="AB" * 32, not_after=5000.0)
        return await self.authority.admit(
            Credentials(
                role=role,
                key=key,
                certificate=certificate if names else None,
                instance=instance,
            )
        )

    async def let_in(self, role: str, key: str, *names: str) -> Principal:
        found = await self.admit(role, key, *names)
        assert isinstance(found, Principal), found
        return found

    async def ticket(self, user: str = "anna", lifetime: float | None = None) -> str:
        return (await self.admin.new_ticket(user, "pump-1", "ssh", lifetime, ROOT))[0]


def reason(found: object) -> Reason:
    assert isinstance(found, Denial), found
    return found.reason
