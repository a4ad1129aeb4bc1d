"""What the cluster's registry writes into the engine: keys, values, and guarded operations.

``{prefix}/nodes/{name}`` is JSON about a node. ``{prefix}/things/{thing}`` is a claim: the epoch in
19 digits (as many as 2**63 - 1 has), a space, the node. So the order of the engine's bytes is the
order of claims, and a transaction can compare them: a lower claim never overwrites a higher one.

There are two forms. `guarded` compares in the engine, for each row by itself, and always does what
may be done; but each row is a transaction of its own inside the one that is sent, and that is what
etcd spends its time on. `guess` is one transaction for many rows: each must be exactly what we
believe that it is (a claim that ours beats, or nothing), or none is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from edge_tunnel.proxy.directory import Announcement, Claim, NodeInfo, Withdrawal
from edge_tunnel.proxy.etcd import text64

__all__ = ["Keys", "guarded", "guess", "node_of", "node_value", "thing_claim", "thing_value"]

Json: TypeAlias = dict[str, Any]

_DIGITS: Final = 19


class Keys:
    """Where a cluster's rows are. Several clusters share one engine by their prefixes."""

    def __init__(self, prefix: str) -> None:
        self.all = prefix.rstrip("/") + "/"
        self.nodes = f"{self.all}nodes/"
        self.things = f"{self.all}things/"


def thing_value(claim: Claim) -> str:
    return f"{claim.epoch:0{_DIGITS}} {claim.node}"


def thing_claim(value: str) -> Claim | None:
    """None: not one of ours."""
    epoch, _, node = value.partition(" ")
    good = len(epoch) == _DIGITS and epoch.isascii() and epoch.isdecimal() and node
    return Claim(int(epoch), node) if good else None


def node_value(info: NodeInfo) -> str:
    return json.dumps(info._asdict())


def node_of(name: str, value: str) -> NodeInfo | None:
    """None: not one of ours. What a newer version says beyond what we know is left out."""
    try:
        said = json.loads(value)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    known = {field: said[field] for field in NodeInfo._fields if field in said}
    return NodeInfo(**{**known, "name": name}) if _fits(known) else None


def _fits(known: Json) -> bool:
    """Whether each field has the type of its default."""
    kinds = {**{name: type(value) for name, value in NodeInfo._field_defaults.items()}, "name": str}
    return all(
        type(value) is kinds[name] or (kinds[name] is float and type(value) is int)
        for name, value in known.items()
    )


def guarded(keys: Keys, node: str, wish: Announcement | Withdrawal, lease: int) -> Json:
    """A nested transaction: write unless a higher claim stands, delete what is still ours.

    A comparison with the value of a key that does not exist is false, hence the put under
    ``failure``.
    """
    own = _is(keys.things + wish.thing, Claim(wish.epoch, node))
    if isinstance(wish, Withdrawal):
        return _nested([own], success=[_settle(keys, node, wish, lease)])
    return _nested([{**own, "result": "GREATER"}], failure=[_settle(keys, node, wish, lease)])


def guess(
    keys: Keys,
    node: str,
    wishes: Iterable[tuple[Announcement | Withdrawal, Claim | None]],
    lease: int,
) -> Json:
    """A nested transaction: all of these, if each row says what is given beside it; else nothing.

    None: there is no row. What is given is never above what is written: see `Directory.row`.
    """
    beliefs, operations = [], []
    for wish, row in wishes:
        beliefs.append(_is(keys.things + wish.thing, row))
        operations.append(_settle(keys, node, wish, lease))
    return _nested(beliefs, success=operations)


def _is(key: str, row: Claim | None) -> Json:
    compare = {"key": text64(key), "result": "EQUAL"}
    if row is None:
        return {**compare, "target": "VERSION", "version": "0"}  # as etcd says "does not exist"
    return {**compare, "target": "VALUE", "value": text64(thing_value(row))}


def _settle(keys: Keys, node: str, wish: Announcement | Withdrawal, lease: int) -> Json:
    key = text64(keys.things + wish.thing)
    if isinstance(wish, Withdrawal):
        return {"request_delete_range": {"key": key}}
    value = text64(thing_value(Claim(wish.epoch, node)))
    return {"request_put": {"key": key, "value": value, "lease": str(lease)}}


def _nested(compare: list[Json], **branches: list[Json]) -> Json:
    return {"request_txn": {"compare": compare, **branches}}
