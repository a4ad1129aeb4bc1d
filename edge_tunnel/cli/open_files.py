"""How many files, and so connections, this process may have open."""

from __future__ import annotations

import contextlib
import resource

__all__ = ["allow_open_files"]


def allow_open_files(wanted: int) -> str | None:
    """Raise the limit to what is wanted, or as near as we may.

    Returns None, or one line that says what is missing: the soft limit of most systems is 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _enough(soft, wanted):
        return None
    best = wanted if _enough(hard, wanted) else hard
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
    if best < wanted:  # above the hard limit only root may go
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if _enough(soft, wanted):
        return None
    return f"only {soft} open files are allowed, {wanted} are needed: raise 'ulimit -Hn'"


def _enough(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted
