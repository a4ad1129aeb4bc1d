"""EMS's copies of a file that once worked: ``config.json_booted``, ``config.json.booted``.

EMS uses such a copy silently when it cannot read its file, and people wonder why their edits do
nothing. Here a copy is never used; a check of the directory says whether it differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_tunnel.config.changes import changes
from edge_tunnel.config.findings import Finding, Severity
from edge_tunnel.config.load import Inspection, inspect_config

__all__ = ["booted_copies", "booted_findings"]

_SUFFIXES = ("_booted", ".booted")
_NEVER = "edge_tunnel never uses this copy; EMS does when it cannot read its file"


def booted_copies(path: Path) -> tuple[Path, ...]:
    """The copies that stand beside a file."""
    names = (path.with_name(path.name + suffix) for suffix in _SUFFIXES)
    return tuple(name for name in names if name.is_file())


def booted_findings(
    path: Path, inspection: Inspection, environ: Mapping[str, str]
) -> tuple[Finding, ...]:
    """What to say about the copies of a file that was inspected."""
    copies = booted_copies(path)
    return tuple(_compared(copy, inspection, environ) for copy in copies)


def _compared(copy: Path, inspection: Inspection, environ: Mapping[str, str]) -> Finding:
    other = inspect_config(copy, environ=environ)
    severity = Severity.WARNING
    if other.config is None:
        message = f"{copy.name} is there, and cannot be used either"
    elif inspection.config is None:
        message = f"{copy.name} can be used, while this file cannot"
    else:
        difference = changes(other.config, inspection.config)
        severity = Severity.WARNING if difference else Severity.NOTE
        what = "differs in " + ", ".join(difference.fields) if difference else "says the same"
        message = f"{copy.name} {what}"
    return Finding(
        severity=severity, key="", message=message, hint=_NEVER, file=str(path_beside(copy))
    )


def path_beside(copy: Path) -> Path:
    """The file that a copy is of."""
    return copy.with_name(copy.name.removesuffix("_booted").removesuffix(".booted"))
