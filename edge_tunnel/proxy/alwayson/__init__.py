"""ThingWorx devices as they are: what a node does so that to everyone else they are edges.

An unmodified device (an application with a ThingWorx Edge SDK, an Edge MicroServer) opens a *main*
socket, shows its application key and binds its things. For each stream the node asks it, over the
main socket, to open a *tunnel socket*, which carries that one connection.

`upgrade` tells such a device's HTTP request from others; `websocket` is its end of a WebSocket.
`dialogue` decides what is said on a main socket (no I/O), `session` says it. To the rest of the
node the session is an edge with a link: `inprocess` is that link's transport, and the node greets,
judges, counts and records it as any other. `ends` is where the tunnels end, because a device has no
idea of resuming; `identity` is who such a device is to remotes. `streams` gets a tunnel socket for
each stream, and `relay` joins the two. `tids` are the ids by which a tunnel socket is recognised,
`passing` brings one that came to the wrong node to the right one. `front` takes the sockets, `door`
is all of it as a node sees it, and `host` the node as these see it.
"""
