"""What settings mean together, and what is worth a word although each alone is right."""

from __future__ import annotations

import dataclasses

from edge_tunnel.config.build import Built
from edge_tunnel.config.files import is_there
from edge_tunnel.config.model import EdgeConfig
from edge_tunnel.config.scalars import shortened

__all__ = ["check"]

# A frame's head and the tunnel's ids, generously: bulk data is the last element of a message.
_OVERHEAD = 1024
# Seconds until a user would give up on a session that hangs. EMS's own defaults make 65.
_SLOW = 30
_SERVICES = (
    'name what may be reached: "edge_tunnel": {"services": '
    '[{"name": "ssh", "host": "127.0.0.1", "port": 22}]}'
)


def check(config: EdgeConfig, built: Built) -> EdgeConfig:
    """The configuration, corrected where two settings do not fit; findings say so."""
    _servers(config, built)
    _nothing_to_reach(config, built)
    _liveness(config, built)
    _encryption(config, built)
    _protocol(config, built)
    _certificates(config, built)
    _files(config, built)
    _proxy(config, built)
    return _sizes(config, built)


def _servers(config: EdgeConfig, built: Built) -> None:
    if len(config.servers) > 1:
        second = built.section.lists["ws_servers"][1]
        message = f"{len(config.servers)} servers are tried in this order; EMS uses the first only"
        built.note(second.offset, second.path, message)


def _nothing_to_reach(config: EdgeConfig, built: Built) -> None:
    if not config.things:
        message = "this device is bound under no name, so nobody can reach it"
        built.warn(None, "auto_bind", message, 'write "auto_bind": [{"name": "my-thing"}]')
    if not config.services:
        message = "no service is allowed, so no tunnel can be opened"
        built.warn(None, "edge_tunnel.services", message, _SERVICES)


def _liveness(config: EdgeConfig, built: Built) -> None:
    taken = built.section.values.get("link.ping_interval")
    silence = config.link.ping_interval + config.link.ping_timeout
    if taken is not None and silence > _SLOW:
        message = f"a dead server is noticed after {silence:g} s only"
        hint = "set edge_tunnel.ping_interval (5 s is our default); EMS does not look at that"
        built.note(taken.offset, taken.path, message, hint)


def _encryption(config: EdgeConfig, built: Built) -> None:
    for index, server in enumerate(config.servers):
        usual = {443: True, 80: False}.get(server.port, config.link.encrypted)
        if usual is not config.link.encrypted:
            now = "encrypted" if config.link.encrypted else "not encrypted"
            section = built.section.lists["ws_servers"][index]
            message = f"port {server.port} is unusual for a link that is {now}"
            built.warn(section.offset, section.path, message, "see ws_connection.encryption")
    if not config.link.encrypted:
        _remark(built, "link.encrypted", "the link is not encrypted", 'set it to "ssl"')


def _protocol(config: EdgeConfig, built: Built) -> None:
    taken = built.section.values.get("protocol")
    if taken is None or config.end_to_end_encryption != "require":
        return
    if config.protocol == "alwayson":
        message = "AlwaysOn has no end-to-end encryption, which is required here"
        hint = "write edge-tunnel, or allow tunnels without (end_to_end_encryption)"
        built.complain(taken.offset, taken.path, message, hint)
    elif config.protocol == "auto":
        message = "AlwaysOn is never spoken: it has no end-to-end encryption, which is required"
        built.note(taken.offset, taken.path, message)


def _certificates(config: EdgeConfig, built: Built) -> None:
    tls = config.tls
    if not tls.validate:
        message = "certificates are not validated: anybody can pose as the server"
        _remark(built, "tls.validate", message, "set it to true, with cert_chain for your own CA")
    if not tls.check_hostname:
        message = "host names are not compared with the certificate"
        _remark(built, "tls.check_hostname", message, "set it to false once the certificates fit")
    if tls.client_key is not None and tls.client_cert is None:
        _remark(built, "tls.client_key", "has no effect without client_cert", "add client_cert")


def _files(config: EdgeConfig, built: Built) -> None:
    named = {
        "tls.ca_files": config.tls.ca_files,
        "tls.client_cert": (config.tls.client_cert,),
        "tls.client_key": (config.tls.client_key,),
    }
    for target, paths in named.items():
        for path in paths:
            if path is not None and not is_there(path):
                message = f"there is no file {shortened(path)} on this machine"
                _remark(built, target, message, "correct the path, or put the file there")


def _proxy(config: EdgeConfig, built: Built) -> None:
    if config.http_proxy is None and built.group("http_proxy"):
        first = next(one for key, one in built.section.values.items() if key.startswith("http_p"))
        built.warn(first.offset, "proxy", "has no effect without proxy.host", "add proxy.host")


def _sizes(config: EdgeConfig, built: Built) -> EdgeConfig:
    most = config.link.max_message_size - _OVERHEAD
    if config.tunnel.buffer_size <= most:
        return config
    smaller = max(most, 512)
    message = f"one message cannot hold tunnel.buffer_size: {smaller} bytes are used for that"
    _remark(built, "link.max_message_size", message, "raise it: 1048576 is the default")
    return dataclasses.replace(
        config, tunnel=dataclasses.replace(config.tunnel, buffer_size=smaller)
    )


def _remark(built: Built, target: str, message: str, hint: str) -> None:
    taken = built.section.values.get(target)
    if taken is not None:
        built.warn(taken.offset, taken.path, message, hint)
