"""Findings and settings as text that people like to read.

One finding is four lines at most: what it is about, the line with a caret, what is wrong, what to
do. Colour is only emphasis: the text says the same without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edge_tunnel.config.findings import Finding, Severity
from edge_tunnel.config.settings import Setting
from edge_tunnel.config.source import printable

__all__ = ["report"]

_COLOURS = {Severity.ERROR: "1;31", Severity.WARNING: "1;33", Severity.NOTE: "1;36"}
_BOLD, _DIM = "1", "2"
_WIDEST_VALUE = 60


class _Paint:
    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colour and text else text


def report(
    name: str,
    findings: Iterable[Finding],
    settings: Iterable[Setting] = (),
    *,
    strict: bool = False,
    colour: bool = False,
) -> str:
    """The report of one file, ending in a line break. With `strict`, warnings read as errors."""
    paint = _Paint(colour=colour)
    ranked = [(_rank(finding, strict=strict), finding) for finding in findings]
    lines = [paint(printable(name), _BOLD), ""]
    for severity, finding in ranked:
        lines += [*_finding(severity, finding, paint), ""]
    lines += _settings(list(settings), paint)
    return "\n".join([*lines, _summary([severity for severity, _ in ranked]), ""])


def _rank(finding: Finding, *, strict: bool) -> Severity:
    as_error = strict and finding.severity is Severity.WARNING
    return Severity.ERROR if as_error else finding.severity


def _finding(severity: Severity, finding: Finding, paint: _Paint) -> Iterator[str]:
    head = paint(severity.value, _COLOURS[severity])
    key = f" {paint(finding.key, _BOLD)}" if finding.key else ""
    place = f"line {finding.line}, column {finding.column}" if finding.line else ""
    yield f"{head}{key}" + (f"  {paint(place, _DIM)}" if place else "")
    if finding.line:
        number = str(finding.line)
        yield f"  {paint(f'{number} |', _DIM)} {finding.excerpt}"
        caret = paint("^", _COLOURS[severity])
        yield f"  {paint(' ' * len(number) + ' |', _DIM)} {' ' * finding.caret}{caret}"
    yield f"  {printable(finding.message)}"
    if finding.hint:
        yield f"  -> {printable(finding.hint)}"


def _settings(settings: list[Setting], paint: _Paint) -> Iterator[str]:
    if not settings:
        return
    yield paint("Effective settings", _BOLD)
    keys = max(len(setting.key) for setting in settings)
    values = max(min(len(setting.value), _WIDEST_VALUE) for setting in settings)
    for setting in settings:
        value = printable(setting.value).ljust(values)
        yield f"  {setting.key.ljust(keys)}  {value}  {paint(str(setting.origin), _DIM)}"
    yield ""


def _summary(severities: list[Severity]) -> str:
    if not severities:
        return "Nothing to remark."
    counts = (
        (severities.count(Severity.ERROR), "error"),
        (severities.count(Severity.WARNING), "warning"),
        (severities.count(Severity.NOTE), "note"),
    )
    said = ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts if count)
    verdict = "cannot be used" if counts[0][0] else "can be used"
    return f"{said}: this file {verdict}."
