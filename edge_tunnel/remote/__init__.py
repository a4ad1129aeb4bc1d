"""The remote access client: the technician's side.

`remote` keeps the link and the tunnels, `forward` gives local ports, `stdio` one stream on stdin
and stdout.
"""
