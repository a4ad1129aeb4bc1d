"""The system's own words for a connection that could not be made.

trio wraps the errors of several attempts (one for each address of a name) in an OSError that says
only that all failed; people want to know how.
"""

from __future__ import annotations

import os
import sys

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["first_os_error", "in_words"]


def first_os_error(error: OSError) -> OSError:
    """The error of the first attempt."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error


def in_words(error: OSError) -> str:
    """``connection refused``, ``name or service not known``, ..."""
    known = first_os_error(error)
    if known.errno is not None and known.errno > 0:
        return os.strerror(known.errno).lower()  # trio puts the address in front of strerror
    return (known.strerror or str(known)).lower()
