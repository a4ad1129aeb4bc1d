"""A policy's TOML into a `Policy`, or into everything that is wrong with it.

A policy that is not understood to its last word is refused, because what a program does not know
may be what takes a right away. `format` comes first: a newer one is not read any further.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final

from edge_tunnel.access.patterns import exactly
from edge_tunnel.access.policy import FORMAT, Allow, Limits, OfferRule, Policy
from edge_tunnel.access.rights import ServiceOffer
from edge_tunnel.access.strict import Keys, Reader
from edge_tunnel.config.findings import Finding, Findings
from edge_tunnel.config.nearest import did_you_mean
from edge_tunnel.config.nodes import Node, Object, String
from edge_tunnel.config.scalars import shortened
from edge_tunnel.config.source import Source
from edge_tunnel.config.toml_reader import read_toml

__all__ = ["MAX_POLICY", "PolicyInspection", "read_already", "read_policy"]

MAX_POLICY: Final = 256 * 1024
"""Bytes of the text: a thousand rules have about 70 KB (and 1,900 are the most that the TOML reader
takes). etcd takes 1.5 MiB in one request; every node keeps the last versions in memory."""

_YEAR: Final = 366 * 86_400
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_DEVICE: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]")

Groups = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class PolicyInspection:
    """What a text says; `policy` is None after errors."""

    policy: Policy | None
    findings: tuple[Finding, ...]

    too_new: bool = False
    """Its form is newer than this program."""


_LAST: Final[OrderedDict[str, PolicyInspection]] = OrderedDict()
_MOST_LAST: Final = 4
"""Texts whose meaning is kept: a push looks at the new one twice and at the old one."""

_LOCK: Final = Lock()  # large ones are read in threads


def read_policy(text: str, name: str = "policy.toml") -> PolicyInspection:
    """Read it strictly. `name`: what findings call the file.

    A thousand rules take 0.1-0.3 s: a node reads them beside its event loop (`readings`).
    """
    if name != "policy.toml":
        return _read(text, name)
    found = read_already(text)
    if found is None:
        found = _read(text, name)
        with _LOCK:
            _LAST[text] = found
            if len(_LAST) > _MOST_LAST:
                _LAST.popitem(last=False)
    return found


def read_already(text: str) -> PolicyInspection | None:
    """What `read_policy` found in this text, if it was one of the last; None: not known."""
    with _LOCK:
        found = _LAST.get(text)
        if found is not None:
            _LAST.move_to_end(text)
        return found


def _read(text: str, name: str) -> PolicyInspection:
    findings = Findings()
    if len(text.encode(errors="surrogatepass")) > MAX_POLICY:
        findings.syntax(None, f"is larger than {MAX_POLICY} bytes", "use patterns and groups")
        return PolicyInspection(None, findings.finish(Source(Path(name), "")))
    root = read_toml(text, findings)
    too_new, policy = False, None
    if isinstance(root, Object):
        reader = Reader(text, findings)
        top = Keys(reader, root, "")
        too_new = _is_too_new(top, reader)
        if not too_new:
            policy = _Policy(reader).read(top)
    told = findings.finish(Source(Path(name), text))
    return PolicyInspection(None if findings.failed else policy, told, too_new)


def _is_too_new(top: Keys, reader: Reader) -> bool:
    number = top.need("format", partial(reader.number, low=1, high=1_000_000, whole=True))
    if number is None or number <= FORMAT:
        return False
    message = f"this program is too old for format {number:g}: it understands up to {FORMAT}"
    hint = "update edge_tunnel on this machine, and on every node"
    top.take("format", lambda node, path: reader.wrong(node, path, message, hint))
    return True


class _Policy:
    """One reading."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._groups: dict[str, Groups] = {"users": {}, "things": {}}

    def read(self, top: Keys) -> Policy:
        self._read_groups(top)
        limits = top.take("limits", self._limits_table) or Limits()
        offers = top.take("services", self._offers) or ()
        allows = top.take("allow", self._allows) or ()
        revoked = top.take("revoked_certificates", self._fingerprints) or ()
        devices = top.take("fingerprints", self._devices) or {}
        top.finish()
        return Policy(
            allows=allows,
            offers=offers,
            limits=limits,
            revoked_certificates=frozenset(revoked),
            fingerprints=devices,
            groups=self._groups,
        )

    # -- groups

    def _read_groups(self, top: Keys) -> None:
        kinds = top.take("groups", self._reader.group)
        if kinds is None:
            return
        for kind in self._groups:
            table = kinds.take(kind, self._reader.group)
            if table is not None:
                self._groups[kind] = self._members(table)
        kinds.finish()

    def _members(self, table: Keys) -> Groups:
        names = partial(self._reader.items, read=self._reader.name)
        return {key: names(node, path) or () for key, node, path in table}

    def _patterns(self, node: Node, path: str, kind: str) -> tuple[str, ...] | None:
        """Names and patterns, with groups written out."""
        lists = self._reader.items(node, path, partial(self._pattern, kind=kind))
        return None if lists is None else tuple(name for names in lists for name in names)

    def _pattern(self, node: Node, path: str, kind: str) -> tuple[str, ...] | None:
        if not (isinstance(node, String) and node.text.startswith("@")):
            name = self._reader.name(node, path)
            return None if name is None else (name,)
        known = self._groups[kind]
        if node.text[1:] in known:
            return known[node.text[1:]]
        near = did_you_mean(node.text[1:], known) or f"write it under [groups.{kind}]"
        self._reader.wrong(node, path, f"there is no group {shortened(node.text)} of {kind}", near)
        return None

    # -- rules

    def _limits_table(self, node: Node, path: str) -> Limits | None:
        keys = self._reader.group(node, path)
        if keys is None:
            return None
        limits = self._limits(keys)
        keys.finish()
        return limits

    def _limits(self, keys: Keys) -> Limits:
        number = self._reader.number
        seconds = partial(number, low=1, high=_YEAR)
        tunnels = keys.take("max_tunnels", partial(number, low=0, high=1e6, whole=True))
        streams = keys.take("max_streams", partial(number, low=1, high=65_536, whole=True))
        return Limits(
            session=keys.take("session", seconds),
            idle=keys.take("idle", seconds),
            max_tunnels=None if tunnels is None else int(tunnels),
            max_streams=None if streams is None else int(streams),
            tunnels_per_minute=keys.take("tunnels_per_minute", partial(number, low=0.01, high=1e6)),
        )

    def _offers(self, node: Node, path: str) -> tuple[OfferRule, ...]:
        rules = [self._offer(keys) for keys in self._reader.groups(node, path)]
        return tuple(rule for rule in rules if rule is not None)

    def _offer(self, keys: Keys) -> OfferRule | None:
        name = keys.need("name", self._service_name)
        port = keys.need("port", partial(self._reader.number, low=1, high=65_535, whole=True))
        host = keys.take("host", self._reader.name) or "127.0.0.1"
        description = keys.take("description", self._reader.text) or ""
        things = keys.take("things", partial(self._patterns, kind="things"))
        keys.finish()
        if name is None or port is None:
            return None
        offer = ServiceOffer(name=name, host=host, port=int(port), description=description)
        return OfferRule(offer=offer, things=("*",) if things is None else things)

    def _service_name(self, node: Node, path: str) -> str | None:
        """One name: a pattern cannot be dialled."""
        name = self._reader.name(node, path)
        if name is not None and exactly(name) != name:
            self._reader.wrong(node, path, "must be one name, not a pattern", "remove * ? [ ]")
            return None
        return name

    def _allows(self, node: Node, path: str) -> tuple[Allow, ...]:
        rules = [self._allow(keys) for keys in self._reader.groups(node, path)]
        return tuple(rule for rule in rules if rule is not None)

    def _allow(self, keys: Keys) -> Allow | None:
        users = keys.need("users", partial(self._patterns, kind="users"))
        things = keys.need("things", partial(self._patterns, kind="things"))
        services = keys.need("services", partial(self._reader.items, read=self._reader.name))
        until = keys.take("until", self._reader.time)
        limits = self._limits(keys)
        keys.finish()
        if users is None or things is None or services is None:
            return None
        return Allow(users=users, things=things, services=services, until=until, limits=limits)

    def _devices(self, node: Node, path: str) -> Mapping[str, str] | None:
        keys = self._reader.group(node, path)
        if keys is None:
            return None
        read = {thing: self._device(value, at) for thing, value, at in keys}
        return {thing: shown for thing, shown in read.items() if shown is not None}

    def _device(self, node: Node, path: str) -> str | None:
        text = self._reader.text(node, path)
        if text is not None and not _DEVICE.fullmatch(text):
            hint = "write it as edge-tunnel things --wide shows it: SHA256:..."
            self._reader.wrong(node, path, "is not the fingerprint of a device", hint)
            return None
        return text

    def _fingerprints(self, node: Node, path: str) -> tuple[str, ...] | None:
        return self._reader.items(node, path, self._fingerprint)

    def _fingerprint(self, node: Node, path: str) -> str | None:
        text = self._reader.text(node, path)
        if text is None:
            return None
        bare = text.replace(":", "").strip().lower()
        if not _FINGERPRINT.fullmatch(bare):
            self._reader.wrong(node, path, "is not SHA-256 in hex", "64 hex digits are needed")
            return None
        return bare
