#!/usr/bin/env bash
# ssh to a device through a tunnel, with ssh's own ProxyCommand.
#
# What it shows: ssh starts `edge-tunnel connect THING ssh --stdio` and speaks through its stdin and
# stdout. The device's name for ssh is the thing's name, so known_hosts has one entry for each device.
# A session survives the loss of the link; keep ServerAliveInterval off, or above your worst outage.
#
# What it leaves out: writing it down once, in ~/.ssh/config, after which ssh, scp, rsync and git
# know the way by themselves:
#
#     Host device-*
#         ProxyCommand edge-tunnel connect %h ssh --stdio
#
# How to poke it, with a node and an edge that offers ssh:
#
#     export EDGE_TUNNEL_PROXY=ws://127.0.0.1:9100 EDGE_TUNNEL_KEY=secret
#     examples/ssh_proxycommand.sh device-7 uname -a
#     SSH=scp examples/ssh_proxycommand.sh device-7:/etc/hostname .
set -euo pipefail
exec "${SSH:-ssh}" -o ProxyCommand="${EDGE_TUNNEL:-edge-tunnel} connect %h ssh --stdio" "$@"
