"""The benchmark: what a byte, a round trip and a connection cost through edge_tunnel.

Everything runs on loopback in processes of its own: a *service*, a *load* generator, and between
the two a *path*: nothing (raw), a socat relay, or ours (edge, node, remote). Rounds go through all
paths in turn, so that a noisy machine is noisy for everybody; medians and ratios are what counts.

`service` and `load` are plain blocking sockets; `parts` are our three processes through the public
SDK; `paths` puts processes together; `measures` has one function for each thing measured;
`__main__` runs them in rounds and `report` prints. A new peer is one more entry in `paths.PATHS`.
"""
