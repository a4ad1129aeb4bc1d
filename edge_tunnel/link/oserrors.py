"""What the system said, without what trio wraps around it.

`trio.open_tcp_stream` tries several addresses and raises an OSError without a number, caused by the
error of the one attempt or by a group of them, whose texts name the address once more.
"""

from __future__ import annotations

import os
import sys

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["in_words", "root_cause"]


def root_cause(error: OSError) -> OSError:
    """The first error that has a number; `error` itself if there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        elif isinstance(cause, OSError) and cause.errno is not None:
            return cause
        else:
            cause = cause.__cause__
    return error


def in_words(error: OSError) -> str:
    """The system's own few words, as "connection refused"."""
    known = root_cause(error)
    if known.errno is not None and known.errno > 0:
        return os.strerror(known.errno).lower()
    return (known.strerror or str(known)).lower()  # a name that is not known: getaddrinfo's text
