"""One target in a process of its own: ``python -m tests.fuzz.one TARGET [libFuzzer's arguments]``.

atheris has to see our modules before anybody imports them.
"""

from __future__ import annotations

import importlib
import sys

import atheris


def main() -> None:
    """Does not return: libFuzzer ends the process."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["edge_tunnel", "h11", "tomli"]):
        importlib.import_module("edge_tunnel")
        importlib.import_module("h11")
        importlib.import_module("tomli")
        targets = importlib.import_module("tests.fuzz.targets")
    atheris.Setup(sys.argv, targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
