"""What fails when: a pure function of the seed and the numbers of things that can fail.

Each target has one fault at a time and some peace after it. Different targets fail at once as
chance wants it, but for one rule: two nodes at most are in trouble together, because without any
node nothing can resume, and that would be most of what is measured. (It happens all the same: a
drain or a start takes as long as it takes.) Every fault is over before the end, so that whatever
does not recover then is a failure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["KINDS", "Fault", "Targets", "schedule"]

PACE: Final = 0.9
"""Seconds between two faults, on average."""

LONGEST: Final = 18.0
"""Seconds that a fault lasts at most: longer than the 15 s of silence that end a link, and several
fit into the 120 s that a tunnel may be detached."""

PEACE: Final = 3.0
"""Seconds after a fault before the same target fails again: a node needs about one to start."""

EXCHANGE: Final = 1200
"""Bytes from the start of a link until its tunnels are attached, and some more."""


@dataclass(frozen=True)
class Targets:
    """Names of what can fail."""

    nodes: tuple[str, ...]
    members: tuple[str, ...]
    endpoints: tuple[str, ...]
    """Those with a link of their own through a relay."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    at: float
    """Seconds after the start."""

    kind: str
    target: str
    seconds: float
    """How long it lasts."""

    amount: float = 0.0
    """Of a cut: bytes that still pass; of a delay: seconds; of a limited rate: bytes a second."""


@dataclass(frozen=True)
class _Kind:
    weight: float
    choose: Callable[[random.Random, Targets], str]
    seconds: tuple[float, float]
    amount: tuple[float, float] = (0, 0)


def _node(rng: random.Random, targets: Targets) -> str:
    return rng.choice(targets.nodes)


def _member(rng: random.Random, targets: Targets) -> str:
    return rng.choice(targets.members)


def _endpoint(rng: random.Random, targets: Targets) -> str:
    return rng.choice(targets.endpoints)


def _pair(rng: random.Random, targets: Targets) -> str:
    return "-".join(sorted(rng.sample(targets.nodes, 2)))


def _etcd(_rng: random.Random, _targets: Targets) -> str:
    return "etcd"


def _haproxy(_rng: random.Random, _targets: Targets) -> str:
    return "haproxy"


KINDS: Final[dict[str, _Kind]] = {
    "node killed": _Kind(3, _node, (0.5, 6)),
    "node stopped": _Kind(2, _node, (0.5, LONGEST)),
    "node drained": _Kind(2, _node, (0.5, 2)),
    "node without endpoints": _Kind(1, _node, (1, LONGEST)),
    "node without etcd": _Kind(1, _node, (1, LONGEST)),
    "node without anybody": _Kind(1, _node, (1, LONGEST)),
    "nodes parted": _Kind(2, _pair, (1, LONGEST)),
    "hops cut": _Kind(2, _node, (0, 0), (0, 3000)),
    "member killed": _Kind(1, _member, (0.5, 6)),
    "member stopped": _Kind(1, _member, (0.5, 6)),
    "etcd away": _Kind(0.5, _etcd, (1, LONGEST)),
    "haproxy killed": _Kind(1, _haproxy, (0.1, 2)),
    "haproxy stopped": _Kind(0.5, _haproxy, (0.5, 5)),
    "link cut": _Kind(8, _endpoint, (0, 0), (0, EXCHANGE)),
    "resume cut": _Kind(8, _endpoint, (0, 0), (0, EXCHANGE)),
    "link stalled": _Kind(4, _endpoint, (0.5, LONGEST)),
    "link delayed": _Kind(3, _endpoint, (1, LONGEST), (0.005, 0.5)),
    "link slow": _Kind(3, _endpoint, (1, LONGEST), (5_000, 100_000)),
}
"""By name. Link cut: now, or after so many bytes of data. Resume cut: now, and then the next link
after so many bytes, which is in the middle of its greeting, bind or attach."""

_TROUBLE: Final = {
    "node killed",
    "node stopped",
    "node drained",
    "node without endpoints",
    "node without anybody",
}


def schedule(seed: int, seconds: float, targets: Targets) -> list[Fault]:
    """The faults, in the order of their times. The same arguments give the same faults."""
    rng = random.Random(f"faults {seed}")
    weights = [kind.weight for kind in KINDS.values()]
    faults: list[Fault] = []
    busy: dict[str, float] = {}
    trouble: dict[str, float] = {}  # nodes that endpoints cannot use, until when
    now = 0.0
    while (now := now + rng.expovariate(1 / PACE)) < seconds:
        name = rng.choices(list(KINDS), weights)[0]
        kind = KINDS[name]
        target = kind.choose(rng, targets)
        length = min(rng.uniform(*kind.seconds), max(0.0, seconds - now))
        amount = rng.uniform(*kind.amount)
        touched = _touched(name, target, targets)
        others = sum(until > now for node, until in trouble.items() if node != target)
        if name in _TROUBLE and others >= len(targets.nodes) - 1:
            continue
        if all(busy.get(each, 0.0) <= now for each in touched):
            if name in _TROUBLE:
                trouble[target] = max(trouble.get(target, 0.0), now + length + PEACE)
            busy |= dict.fromkeys(touched, now + length + PEACE)
            faults.append(Fault(round(now, 3), name, target, round(length, 3), round(amount, 3)))
    return faults


def _touched(name: str, target: str, targets: Targets) -> Sequence[str]:
    """What must be at peace. Kills and partitions of one node are independent of each other."""
    if name == "etcd away":
        return targets.members
    if name.startswith(("node without", "nodes parted", "hops")):
        return [f"network of {each}" for each in target.split("-")]
    return [target]
