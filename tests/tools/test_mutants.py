"""tools/*mutants.py: bugs to plant, which have to keep up with the code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def planted() -> Iterator[tuple[str, str, str]]:
    """Of each bug its name, the module that it is in, and the text that it replaces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
        import chaos_mutants  # type: ignore[import-not-found]
        import cluster_mutants  # type: ignore[import-not-found]
        import mutants  # type: ignore[import-not-found]
    for name, each in mutants.MUTANTS.items():
        yield name, f"{each.room}/{each.module}.py", each.before
    for name, each in cluster_mutants.MUTANTS.items():
        yield name, f"proxy/{each.module}.py", each.before
    for name, each in chaos_mutants.MUTANTS.items():
        yield name, each.path, each.before


def test_each_bug_fits_the_code_in_one_place() -> None:
    """Whoever changes a line that a bug is planted in changes the bug."""
    found = list(planted())
    assert len(found) > 90
    counts = {
        f"{module}: {name}": (ROOT / "edge_tunnel" / module).read_text("utf-8").count(before)
        for name, module, before in found
    }
    assert {name: count for name, count in counts.items() if count != 1} == {}
