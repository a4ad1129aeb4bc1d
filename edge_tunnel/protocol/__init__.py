"""The protocol room: the wire, decided in pure code.

Standard library, msgpack and cryptography only. Nothing in here waits, reads a clock or opens a
socket. WIRE.md beside this file is the specification. From the wire inwards:

`frames` (what a message says), `greeting` (the first two), `outlet` (what goes out next),
`tunnel` and `attach` (how streams outlive links), `stream` (one TCP connection), `sending` with
`replay`, and `receiving` with `window` (its two halves). For tunnels that are end-to-end
encrypted: `identity` (who a device is), `agreement` (on keys) and `sealing` (of each frame).
"""
