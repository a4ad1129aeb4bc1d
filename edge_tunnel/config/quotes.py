"""The quotes that word processors, PDF readers and habit put in place of plain ones."""

from __future__ import annotations

__all__ = ["ALL_QUOTES", "SMART_DOUBLE", "SMART_SINGLE"]

SMART_DOUBLE = "\u201c\u201d\u201e\u201f\u00ab\u00bb"
SMART_SINGLE = "\u2018\u2019\u201a\u201b`\u00b4"
ALL_QUOTES = "\"'" + SMART_DOUBLE + SMART_SINGLE
