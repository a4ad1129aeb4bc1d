"""An edge at a server that speaks only AlwaysOn, such as a ThingWorx Connection Server.

`side` is what the edge has of it, `main_socket` is the conversation on the device's one long-lived
WebSocket, `tunnels` are those that the server has opened, and `relay` carries the bytes of one. The
wire is `edge_tunnel.alwayson`.
"""
