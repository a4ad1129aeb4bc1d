"""Attacks on a real node, and what those feel who have nothing to do with them.

`honest` moves data through a real edge and a real remote; `strangers` have no key, `members` have
one. Each attack runs in a process of its own (`attacker`), so that its work does not delay the
measurement, and comes from another address of the loopback network than the honest ones.
"""
