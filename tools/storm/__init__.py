"""A cluster of real processes under load and under fire: what ``tools/chaos`` runs.

`schedule` decides, from a seed alone, what fails when. `network` puts a relay into every
connection (endpoint to node, node to node, node to etcd), so that a partition needs no privileges.
`faults` carries the schedule out. `crowd` is many edges or remotes in one process, and some are
processes of their own; `transfers` moves data through them and compares it, `rsync` does the same
with sshd. `verdict` says what of all that is a failure, `levels` whether everything was given back,
and `report` prints the table.
"""
