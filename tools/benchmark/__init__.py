"""The benchmark: what a byte, a round trip and a connection cost, through us and through others.

Everything runs on loopback in processes of its own: a *service*, a *load* generator, and between
the two a *path*: nothing (raw), another tunnel, or ours (edge, node, remote). Rounds go through all
paths in turn, so that a noisy machine is noisy for everybody; medians and ratios are what counts.

==============  ==================================================================================
service, load   the ends; `crowd` is the load of many connections, `sockets` what both kinds need
paths           what a path is; `ours` and `peers` put them together, `install` brings the peers
parts           our processes, through the public SDK
processes       starts any process, and reads its processor time and memory
measures        one function for each thing measured; `resting` has those without a path
figures         medians and ratios; `targets` judges them, `compare` finds what got worse
report, plots   tables and pictures; `page` keeps them in docs/
growth          what a message costs among many; `holding` what idles, `scaling` what workers bring
__main__        the command: rounds, or one of the `studies`
==============  ==================================================================================

A new peer is one more entry in `peers.PEERS`.
"""
