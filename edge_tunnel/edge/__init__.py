"""The edge: the Tunneling Subsystem on a device.

`edge` binds, takes tunnels and serves their streams; `services` is the allow-list and the way to
what is on it; `alwayson` is the same at a server that knows only the wire of ThingWorx.
"""
