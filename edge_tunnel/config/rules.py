"""What a table of keys is made of, and how a key of a file is looked up in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge_tunnel.config.kinds import Kind

__all__ = ["Group", "Rule", "Table", "normal"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One key. Either it has a `target` in the model, or it says `why` it has no effect."""

    group: str
    """Key path of the group; ``""`` for the top; elements of a list end in ``[]``."""

    key: str
    """As it is spelt in EMS's own samples."""

    kind: Kind
    target: str = ""
    """Dotted path in the model; in elements of a list, a field of the element."""

    why: str = ""
    note: str = ""
    """To be told whenever the key is set; empty for most."""

    aliases: tuple[str, ...] = ()
    secret: bool = False
    strict: bool = False
    """A wrong value is an error even though the key has no effect."""

    @property
    def path(self) -> str:
        return f"{self.group}.{self.key}" if self.group else self.key


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of keys: an object, or with `several` a list of them."""

    path: str
    why: str = ""
    """Why nothing in it has an effect; told once for the whole group."""

    several: bool = False
    aliases: tuple[str, ...] = ()
    bare_note: str = ""
    """Told when a list was written as one bare object."""

    @property
    def key(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def inside(self) -> str:
        """The `group` of the rules of its keys."""
        return self.path + "[]" if self.several else self.path


def normal(key: str) -> str:
    """Keys are compared in this form. EMS ignores case; blanks and hyphens are people's."""
    return key.strip().lower().replace("-", "_")


class Table:
    """All keys and groups of one kind of file."""

    def __init__(self, rules: Iterable[Rule], groups: Iterable[Group]) -> None:
        self.rules = tuple(rules)
        self.groups = tuple(groups)
        self._known: dict[str, dict[str, Rule | Group]] = {}
        for rule in self.rules:
            self._add(rule.group, rule, rule.aliases)
        for group in self.groups:
            self._add(group.parent, group, group.aliases)

    def _add(self, parent: str, entry: Rule | Group, aliases: tuple[str, ...]) -> None:
        inside = self._known.setdefault(parent, {})
        inside.update({normal(name): entry for name in (entry.key, *aliases)})

    def find(self, group: str, key: str) -> Rule | Group | None:
        """The rule or group for a key as it stands in a file."""
        return self._known.get(group, {}).get(normal(key))

    def names(self, group: str) -> tuple[str, ...]:
        """What may stand in a group, in normal form."""
        return tuple(self._known.get(group, ()))

    def familiar(self) -> dict[str, bool]:
        """Every name in normal form, and whether its value is surely no secret."""
        names: dict[str, bool] = {}
        for inside in self._known.values():
            for name, entry in inside.items():
                harmless = isinstance(entry, Rule) and not entry.secret
                names[name] = names.get(name, True) and harmless
        return names

    def elsewhere(self, key: str) -> str:
        """The group that does know this key; empty when none does."""
        homes = (group for group, inside in self._known.items() if normal(key) in inside)
        return next((group for group in homes if group), "")
