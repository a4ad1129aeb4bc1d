"""What every technician's command needs: a key and proxy nodes, from wherever they are given."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge_tunnel.cli.arguments import warn_of_secret
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.http_proxy import http_proxy_for
from edge_tunnel.config import HttpProxy, Secret, TlsSettings
from edge_tunnel.link.dialling import parse_url
from edge_tunnel.protocol.frames import MAX_TEXT

__all__ = ["Access", "add_access", "read_access", "read_secret"]

KEY_VARIABLE, PROXY_VARIABLE = "EDGE_TUNNEL_KEY", "EDGE_TUNNEL_PROXY"
TICKET_VARIABLE = "EDGE_TUNNEL_TICKET"
PHRASE_VARIABLE = "EDGE_TUNNEL_KEY_PASSPHRASE"


@dataclass(frozen=True)
class Access:
    """Where to go, and who we are."""

    urls: tuple[str, ...]
    key: Secret
    tls: TlsSettings
    http_proxy: HttpProxy | None


def add_access(parser: argparse.ArgumentParser, *, tickets: bool = False) -> None:
    """The options --proxy, --key and --key-file; with `tickets`, --ticket in place of a key."""
    parser.add_argument(
        "--proxy",
        action="append",
        metavar="URL",
        help=f"a proxy node, ws://host:port or wss://host; again for more, tried in order; "
        f"or the variable {PROXY_VARIABLE}",
    )
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--key", metavar="KEY", help=f"your key; better the variable {KEY_VARIABLE}")
    key.add_argument("--key-file", metavar="FILE", help="a file that holds your key")
    if tickets:
        key.add_argument(
            "--ticket",
            metavar="TICKET",
            help=f"what `edge-tunnel ticket` gave, for one session; or {TICKET_VARIABLE}",
        )
    parser.add_argument(
        "--ca-file", metavar="FILE", help="PEM file of the CA that signed the node's certificate"
    )
    parser.add_argument("--cert", metavar="FILE", help="your client certificate, PEM")
    parser.add_argument(
        "--cert-key",
        metavar="FILE",
        help=f"its private key, if it is not in the same file; its password, if it has one, is "
        f"the variable {PHRASE_VARIABLE}",
    )
    parser.add_argument(
        "--http-proxy",
        metavar="HOST:PORT",
        help="go through this HTTP proxy, [USER:PASSWORD@]HOST[:PORT], or none; "
        "the default is what the variables https_proxy and no_proxy say",
    )


def read_access(args: argparse.Namespace, *, web: bool = False) -> Access:
    """From the options, else from the environment. `web`: an ``https://`` URL is right, too."""
    urls = tuple(args.proxy or re.split(r"[\s,]+", os.environ.get(PROXY_VARIABLE, "").strip()))
    if not any(urls):
        text = f"no proxy node: give --proxy ws://host:port or set {PROXY_VARIABLE}"
        raise CommandFailed(Exit.USAGE, text)
    if web:
        urls = tuple(map(_websocket, urls))
    for url in urls:
        parse_url(url)
    needed = web or args.cert is None  # a certificate takes the place of a key, but not at the API
    return Access(
        urls, Secret(_key(args, needed=needed)), _tls(args), http_proxy_for(args.http_proxy, urls)
    )


def _tls(args: argparse.Namespace) -> TlsSettings:
    if args.cert_key is not None and args.cert is None:
        raise CommandFailed(Exit.USAGE, "--cert-key needs --cert, the certificate")
    passphrase = os.environ.get(PHRASE_VARIABLE)
    return TlsSettings(
        ca_file=args.ca_file,
        client_cert=args.cert,
        client_key=args.cert_key,
        client_key_passphrase=Secret(passphrase) if passphrase else None,
    )


def _websocket(url: str) -> str:
    """A node's API and its links are at one address; people write it either way."""
    scheme, colon, rest = url.partition("://")
    return {"https": "wss", "http": "ws"}.get(scheme, scheme) + colon + rest


def _key(args: argparse.Namespace, *, needed: bool) -> str:
    if args.key_file is not None:
        return _demand_key(read_secret(Path(args.key_file), "key"), f"{args.key_file}: ")
    if args.key:
        warn_of_secret("--key", f"{KEY_VARIABLE} or --key-file")
    given: str | None = args.key or getattr(args, "ticket", None)
    variables = [TICKET_VARIABLE] if hasattr(args, "ticket") else []
    found = [given, *(os.environ.get(name, "").strip() for name in (*variables, KEY_VARIABLE))]
    key = next((each for each in found if each), None)
    if key is None and not needed:
        return ""
    if key is None:
        raise CommandFailed(Exit.USAGE, f"no key: set {KEY_VARIABLE} or give --key-file FILE")
    return _demand_key(key, "")


def _demand_key(key: str, where: str) -> str:
    """What cannot be one is somebody's other file: it goes to no node."""
    if len(key) > MAX_TEXT:
        text = f"{where}this is no key: a key has at most {MAX_TEXT} characters"
        raise CommandFailed(Exit.CONFIGURATION, text)
    return key


def read_secret(path: Path, what: str) -> str:
    """What stands in a file. Raises CommandFailed."""
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or "" if isinstance(error, OSError) else "not text"
        text = f"{path}: the {what} cannot be read: {why.lower()}"
        raise CommandFailed(Exit.CONFIGURATION, text) from None
    if not key:
        raise CommandFailed(Exit.CONFIGURATION, f"{path}: there is no {what} in this file")
    return key
