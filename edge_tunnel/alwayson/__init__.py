"""AlwaysOn, the wire of ThingWorx devices: a sans-IO codec. WIRE.md says what is on the wire.

`reading` takes bytes apart and checks each length before it is used; `values` are typed primitives
and InfoTables, `value_codec` makes bytes of them and back; `messages` is what a device and a server
say to each other, `codec` makes bytes of that; `multipart` splits what is too large for one
WebSocket message and puts it together; `tunnels` are the services that open and end a tunnel,
`text` is what is said on a tunnel's own socket.

No trio, no socket, no clock, nothing but the standard library: the roles bring those.
"""
