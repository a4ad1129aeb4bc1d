"""A tree of nodes against a table of keys: which settings a file has, and what is odd about it.

Knows neither JSON nor TOML nor what a setting is for. Whatever is not surely known to be harmless
is hidden from excerpts here: values of secret keys, and of keys that nobody knows (a misspelt
``appKey`` still holds a key).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edge_tunnel.config.findings import Findings, Severity
from edge_tunnel.config.nearest import nearest
from edge_tunnel.config.nodes import Array, Member, Node, Null, Object, Odd, String
from edge_tunnel.config.rules import Group, Rule, Table
from edge_tunnel.config.scalars import Unfit
from edge_tunnel.config.source import Source, printable

__all__ = ["Section", "Taken", "walk"]


@dataclass(frozen=True, repr=False)
class Taken:
    """A value that a file sets."""

    value: Any
    path: str
    offset: int


@dataclass(repr=False)
class Section:
    """The settings of the file, or of one element of a list of groups."""

    path: str = ""
    offset: int = 0
    values: dict[str, Taken] = field(default_factory=dict)
    """By the target of the rule."""

    lists: dict[str, list[Section]] = field(default_factory=dict)
    """By the path of the group."""

    groups: set[str] = field(default_factory=set)
    """Paths of the groups that the file has, also of empty ones."""

    wrong: set[str] = field(default_factory=set)
    """Targets that the file sets to something unfit; that has been reported."""

    holds_secret: bool = False
    """Something secret stands in this file, with or without an effect."""

    def value(self, target: str) -> Any:
        """What the file sets, or None."""
        taken = self.values.get(target)
        return taken.value if taken else None


def walk(root: Object, table: Table, findings: Findings, source: Source) -> Section:
    """All settings of a file. Everything that is wrong with a single one is in `findings`."""
    walker = _Walker(table, findings, source)
    section = Section()
    walker.group(root, "", "", section)
    walker.tell_together()
    section.holds_secret = walker.holds_secret
    return section


class _Walker:
    def __init__(self, table: Table, findings: Findings, source: Source) -> None:
        self._table = table
        self._findings = findings
        self._source = source
        self.holds_secret = False
        self._together: dict[tuple[str, str], dict[str, int]] = {}

    def group(self, node: Object, group: str, path: str, section: Section) -> None:
        """`group` is its name in the table, `path` what people see (with indexes)."""
        seen: dict[int, Member] = {}
        for member in node.members:
            self._member(member, group, path, section, seen)

    def tell_together(self) -> None:
        """One note for each group and remark, with the keys that it concerns."""
        for (group, message), keys in self._together.items():
            if group in keys:
                self._findings.note(keys[group], group, message)
            else:
                self._findings.note(min(keys.values()), _dotted(group, ", ".join(keys)), message)

    def _member(
        self, member: Member, group: str, path: str, section: Section, seen: dict[int, Member]
    ) -> None:
        entry = self._table.find(group, member.key)
        here = _dotted(path, printable(member.key.strip())[:60])
        if entry is None:
            self._unknown(member, group, here)
            return
        if id(entry) in seen:
            self._hide_if_secret(entry, member.value)
            self._duplicate(member, here, seen[id(entry)])
            return
        seen[id(entry)] = member
        self._spelling(member, here, entry)
        if isinstance(entry, Rule):
            self._setting(member, entry, here, section)
        else:
            self._subgroup(member, entry, here, section)

    # -- single settings -------------------------------------------------------------------------

    def _setting(self, member: Member, rule: Rule, here: str, section: Section) -> None:
        self._hide_if_secret(rule, member.value)
        if rule.why:
            self._ignore(rule.group, rule.why, rule.key, member.start)
        if _unset(member.value):
            return
        try:
            value = rule.kind.read(member.value, self._say(member.value.start, here))
        except Unfit as unfit:
            tell = self._findings.error if rule.target or rule.strict else self._findings.warning
            tell(member.value.start, here, unfit.message, unfit.hint)
            section.wrong.add(rule.target)
            return
        if rule.note and value is not None:
            self._remark(rule.group, rule.note, rule.key, member.start)
        if rule.target:
            section.values.setdefault(rule.target, Taken(value, here, member.start))

    def _say(self, offset: int, here: str) -> Callable[[str, str], None]:
        return lambda message, hint: self._findings.warning(offset, here, message, hint)

    def _hide_if_secret(self, entry: Rule | Group, value: Node) -> None:
        if isinstance(entry, Rule) and entry.secret:
            self._findings.hide(value.start, value.end)
            self.holds_secret |= not _unset(value)

    # -- groups ----------------------------------------------------------------------------------

    def _subgroup(self, member: Member, group: Group, here: str, section: Section) -> None:
        if group.why:
            self._ignore(group.path, group.why, group.path, member.start)
        if isinstance(member.value, (Null, Odd)):
            return
        if not group.several:
            self._inside(member.value, group, here, section)
            return
        items = self._items(member, group, here)
        for index, item in enumerate(items):
            element = Section(f"{here}[{index}]", item.start)
            section.lists.setdefault(group.path, []).append(element)
            self._inside(item, group, element.path, element)

    def _items(self, member: Member, group: Group, here: str) -> tuple[Node, ...]:
        if isinstance(member.value, Array):
            return member.value.items
        if isinstance(member.value, Object):
            message = "one bare object, taken as a list of one"
            if group.bare_note:
                message += f"; {group.bare_note}"
            self._findings.warning(member.value.start, here, message, "put it in [ ]")
            return (member.value,)
        self._findings.hide(member.value.start, member.value.end)
        self._wrong(member.value, group, here, "a list of objects")
        return ()

    def _inside(self, node: Node, group: Group, here: str, section: Section) -> None:
        if isinstance(node, Object):
            section.groups.add(group.path)
            self.group(node, group.inside, here, section)
        elif not isinstance(node, Odd):
            self._findings.hide(node.start, node.end)
            self._wrong(node, group, here, "a group of keys, { ... }")

    def _wrong(self, node: Node, group: Group, here: str, wanted: str) -> None:
        tell = self._findings.warning if group.why else self._findings.error
        tell(
            node.start, here, f"must be {wanted}, not {node.what}", "see the documentation's sample"
        )

    # -- keys ------------------------------------------------------------------------------------

    def _unknown(self, member: Member, group: str, here: str) -> None:
        self._findings.hide(member.value.start, member.value.end)
        if self._findings.full(Severity.WARNING):
            self._findings.warning(None, "", "")
            return
        near = nearest(member.key.strip().lower(), self._table.names(group))
        if self._source.is_hidden(member.start) or (self._source.broken and near is None):
            # A stray quote may have made a key of a secret.
            here = here.removesuffix(printable(member.key.strip())[:60]) + "***"
        self._findings.warning(
            member.start, here, "unknown key, ignored", self._instead(member.key, group, near)
        )

    def _instead(self, key: str, group: str, near: str | None) -> str:
        if near is not None:
            entry = self._table.find(group, near)
            return f"did you mean {entry.key if entry else near}?"
        elsewhere = self._table.elsewhere(key)
        if elsewhere:
            return f"a key of this name belongs in {elsewhere}"
        return "remove it, or correct its name"

    def _duplicate(self, member: Member, here: str, first: Member) -> None:
        line, _ = self._source.position(first.start)
        message = f"set for a second time, ignored: line {line} counts, as with EMS"
        self._findings.warning(member.start, here, message, "remove one of the two")

    def _spelling(self, member: Member, here: str, entry: Rule | Group) -> None:
        if member.key != member.key.strip():
            message = "blanks in the key are ignored; EMS itself does not find it"
            self._findings.warning(member.start, here, message, f'write "{member.key.strip()}"')
        if "-" in member.key:
            message = "a hyphen in the key; EMS itself does not find it"
            self._findings.warning(member.start, here, message, f"write {entry.key}")

    def _ignore(self, group: str, why: str, key: str, offset: int) -> None:
        self._remark(group, f"read, no effect here, because {why}", key, offset)

    def _remark(self, group: str, message: str, key: str, offset: int) -> None:
        self._together.setdefault((group, message), {}).setdefault(key, offset)


def _dotted(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _unset(node: Node) -> bool:
    """EMS's samples set nothing by an empty string; null is cJSON's own way."""
    return isinstance(node, (Null, Odd)) or (isinstance(node, String) and not node.text.strip())
