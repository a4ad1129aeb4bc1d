"""A proxy node: accepts links, knows who is bound where, and passes frames on.

`node` accepts and greets; `routes` is the routing table; `waiting` keeps attaches whose thing is
away. `registry` says which link or which other node serves a thing: alone, in the process, or as
`cluster` on etcd. `directory` decides for both; `lease`, `rows`, `etcd` and `etcd_http` are what a
cluster's needs.
"""
