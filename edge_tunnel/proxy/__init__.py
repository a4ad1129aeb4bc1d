"""A proxy node: accepts links, knows who is bound where, and passes frames on.

`node` accepts, greets, drains and ends; `http` answers a balancer's questions on the same port.
`traffic` decides what a message means, with three tables: `registry` (which link or node has a
thing), `routes` (between which two ports a tunnel's frames go) and `waiting` (attaches whose thing
is away). They wait for nothing. `hop` keeps the connections to other nodes: `peering` makes them
(TCP, mutual TLS), `framed` puts messages on them.

`lists` answers who asks what there is, for the whole cluster: `ledger` counts, `own_rows` says what
this node knows, `gather` puts the answers of all nodes into pages.
`api` answers for keys, policy and tickets, below ``/api/v1/``; `access_store` has them on etcd.

`registry` is the one of a node that is alone; `cluster` is the same on etcd. `directory` decides
for both; `lease`, `rows`, `etcd` and `etcd_http` are what a cluster's needs.
"""
