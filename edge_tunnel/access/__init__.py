"""Who may do what: identities, policy, tickets. Pure; a leaf that `proxy` and `cli` import.

* `rights`: the words between a node and whoever decides: Credentials, Principal, Grant, Denial,
  Authority.
"""

from __future__ import annotations
