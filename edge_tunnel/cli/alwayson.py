"""The options of a node for ThingWorx devices."""

from __future__ import annotations

import argparse
from dataclasses import replace

from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.config.alwayson import AlwaysOnSettings, read_service

__all__ = ["add_alwayson", "read_alwayson"]


def add_alwayson(parser: argparse.ArgumentParser) -> None:
    """The options --alwayson and --alwayson-service."""
    group = parser.add_argument_group(
        "ThingWorx devices as they are (or the group [alwayson] of proxy.toml)"
    )
    group.add_argument(
        "--alwayson",
        action="store_true",
        help="take them: devices with a ThingWorx Edge SDK, or an Edge MicroServer",
    )
    group.add_argument(
        "--alwayson-service",
        action="append",
        default=[],
        metavar="NAME=HOST:PORT",
        help="a service of every such device, as the device reaches it, beside those of the "
        "policy; may be given more than once",
    )


def read_alwayson(
    args: argparse.Namespace, settings: AlwaysOnSettings | None
) -> AlwaysOnSettings | None:
    """What the options make of the settings. Raises CommandFailed."""
    services = []
    for text in args.alwayson_service:
        service = read_service(text)
        if service is None:
            hint = "write it as in ssh=127.0.0.1:22"
            raise CommandFailed(Exit.USAGE, f"--alwayson-service {text}: {hint}")
        services.append(service)
    if args.alwayson and settings is None:
        settings = AlwaysOnSettings()
    if services and settings is None:
        text = "--alwayson-service needs --alwayson, or [alwayson] enabled = true in proxy.toml"
        raise CommandFailed(Exit.USAGE, text)
    if services and settings is not None:
        settings = replace(settings, services=(*settings.services, *services))
    return settings
