"""A proxy node: takes links, knows who is bound where, and passes frames on.

`node` accepts and greets, `registry` says which link serves a thing, `routes` is the routing table:
pure decisions, no waiting.
"""
