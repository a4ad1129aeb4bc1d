"""The rooms of the house: which may import which, how large a module may be, and its words."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import edge_tunnel

PACKAGE = Path(edge_tunnel.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in MODULES]

LEAVES = {"errors", "reasons"}  # top-level modules that all may import
ROLES = {"edge", "remote", "proxy"}
MAY_IMPORT = {
    "errors": {"reasons"},
    "reasons": set(),
    "protocol": set(),
    "config": set(),
    "access": {"config"},
    "audit": {"config"},
    "link": {"protocol", "config"},
    "alwayson": set(),  # a codec; what speaks it is a role's
    "edge": {"protocol", "config", "link", "alwayson"},
    "remote": {"protocol", "config", "link"},
    "proxy": {"protocol", "config", "access", "audit", "link", "alwayson"},
    "testing": {"protocol", "config", "access", "audit", "link"} | ROLES,
    "cli": {"protocol", "config", "access", "audit", "link", "testing", "alwayson"} | ROLES,
}
MAX_LINES = 500
UNUSED_WORDS = re.compile(r"(?i)(^|_)(managers?|helpers?|utils?|handlers?|misc)(_|$)")


def room(path: Path) -> str:
    """The room of a module; "" is the package's own front door."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py").replace("__init__", "").replace("__main__", "cli")


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All of a module's syntax."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imports(path: Path) -> list[str]:
    """The full names that a module imports, also inside functions and TYPE_CHECKING."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            if node.module == "edge_tunnel":
                yield from (f"edge_tunnel.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    """The rooms of ours that a module imports."""
    return {
        name.split(".")[1]
        for name in imports(path)
        if name.startswith("edge_tunnel.") and name.split(".")[1] in MAY_IMPORT
    }


def foreign(path: Path) -> set[str]:
    """The top-level packages of others that a module imports."""
    names = {name.partition(".")[0] for name in imports(path)}
    return names - {"edge_tunnel"} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_go_one_way(path: Path) -> None:
    """Roles import the link, the link imports the protocol; never back, never sideways."""
    here = room(path)
    if here:
        assert rooms_imported(path) <= MAY_IMPORT[here] | LEAVES | {here}


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_modules_stay_small(path: Path) -> None:
    """A module that outgrows the cap has become two ideas."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_words(path: Path) -> None:
    """Modules, classes, functions and their arguments are named after ideas."""
    names = [path.stem]
    for node in nodes(path):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.append(node.name)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
    snake = [re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name) for name in names]
    assert [name for name in snake if UNUSED_WORDS.search(name)] == []


def test_every_room_is_known() -> None:
    """A new room gets a row in MAY_IMPORT."""
    assert {room(path) for path in MODULES} - {""} <= set(MAY_IMPORT)


def test_one_module_knows_the_websocket_library() -> None:
    """Exactly one module imports trio_websocket."""
    assert len([path for path in MODULES if "trio_websocket" in foreign(path)]) == 1


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("protocol", {"msgpack", "cryptography"}),
        ("alwayson", set()),
        ("config", {"packaging", "tomli"}),
        ("errors", set()),
        ("reasons", set()),
    ],
)
def test_leaf_rooms_stand_alone(name: str, allowed: set[str]) -> None:
    """The protocol knows msgpack and ciphers, the config TOML and versions; no trio, no clock."""
    for path in MODULES:
        if room(path) == name:
            assert foreign(path) <= allowed, path
            used = {each.partition(".")[0] for each in imports(path)}
            if name in ("protocol", "alwayson"):
                assert not used & {"time", "socket", "asyncio", "logging", "threading"}, path
