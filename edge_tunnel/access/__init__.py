"""Who may do what: identities, policy, tickets. Pure; a leaf that `proxy` and `cli` import.

* `rights`: the words between a node and whoever decides: Credentials, Principal, Grant, Denial,
  Authority.
* `keys`, `tickets`, `certificates`: what somebody shows, and what is kept of it. `patterns`: names.
* `policy` is what `policy_reader` reads (through `strict`), `decide` decides by and `policy_diff`
  compares; `sight` says which things a user may know of.
* `store` is where rows are kept (`file_store`; `proxy.access_store` for a cluster), `state` what
  they mean.
* `authority` answers a node from that, `administration` changes it.
"""

from __future__ import annotations
