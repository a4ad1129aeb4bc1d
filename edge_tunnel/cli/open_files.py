"""How many files, and so connections, this process may have open."""

from __future__ import annotations

import contextlib
import resource

__all__ = ["allow_open_files"]


def allow_open_files(wanted: int) -> int:
    """Raise the limit to what is wanted, or as near as we may; returns how many are allowed.

    The soft limit of most systems is 1,024, which says nothing of what they can bear.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _enough(soft, wanted):
        return wanted
    best = wanted if _enough(hard, wanted) else hard
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
    if best < wanted:  # above the hard limit only root may go
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if _enough(soft, wanted) else soft


def _enough(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted
