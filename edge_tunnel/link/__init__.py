"""The link room: the trio shell between the core and the network.

From the network inwards: `dialling` (how an endpoint gets a connection), `websocket` (messages over
it; the only module that knows trio_websocket; beside it `eager`, `shared` and `express`, the short
way of binary messages past the library, and `reactor`, the short way past the scheduler), `link`
(one live WebSocket: its reader, its writer, its silence), `endpoint` (what edge and remote have in
common: links come and go, tunnels stay), `streams` (a tunnel's streams as trio streams) and
`splice` (a stream and a TCP socket).
"""
