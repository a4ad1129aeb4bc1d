"""What became of a transfer, and what of that is a failure. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tools.storm.transfers import End, Transfer

__all__ = ["EQUAL", "judge"]

EQUAL = "equal hash, both ways"
RESET = "both ends reset, with the reason"
LEFT = "one end was over, the other was reset, with the reason"
ABORTED = "broken off by one end, reset at the other"
REFUSED = "refused before the service, with the reason"


def judge(transfer: Transfer, reasons: Sequence[str]) -> tuple[str, str]:
    """The outcome, and what is wrong with it ("" if nothing is).

    `reasons`: why tunnels or streams of its remote ended while it ran, as the remote said.
    """
    client, service = transfer.client, transfer.service or End()
    wrong = _wrong_bytes(transfer, client, transfer.down) or _wrong_bytes(
        transfer, service, transfer.up
    )
    if wrong:
        return "wrong bytes", wrong
    if transfer.stuck:
        seen = f"client {_seen(client, transfer.down)}, service {_seen(service, transfer.up)}"
        return "stuck", f"{_name(transfer)}: nothing moved; {seen}"
    return _judge_ends(transfer, client, service, reasons)


def _judge_ends(
    transfer: Transfer, client: End, service: End, reasons: Sequence[str]
) -> tuple[str, str]:
    ends = (client.outcome, service.outcome)
    short = _is_short(client, transfer.down) or _is_short(service, transfer.up)
    if short:
        return "clean end of a cut stream", f"{_name(transfer)}: an end, but bytes are missing"
    if transfer.aborts and "aborted" in ends and set(ends) <= {"aborted", "reset"}:
        return ABORTED, ""
    if transfer.aborts == "client" and ends == ("aborted", "open"):
        return ABORTED, ""  # before the service heard of it
    if ends == ("end", "end"):
        return EQUAL, ""
    if client.outcome == "reset" and transfer.service is None:
        return REFUSED, "" if reasons else f"{_name(transfer)}: refused, and nobody said why"
    if set(ends) == {"end", "reset"} and reasons:
        # It had sent and got everything, and had closed its socket: TCP cannot tell it any more.
        return LEFT, ""
    if ends == ("reset", "reset"):
        return RESET, "" if reasons else f"{_name(transfer)}: reset, and nobody said why"
    text = f"client {_seen(client, transfer.down)}, service {_seen(service, transfer.up)}"
    return "ends that differ", f"{_name(transfer)}: {text}"


def _name(transfer: Transfer) -> str:
    how = f", {transfer.aborts} breaks off" if transfer.aborts else ""
    return f"transfer {transfer.number} of {transfer.remote}{how}"


def _seen(end: End, data: bytes) -> str:
    return f"{end.outcome} after {end.received} of {len(data)} bytes"


def _is_short(end: End, data: bytes) -> bool:
    return end.outcome == "end" and end.received < len(data)


def _wrong_bytes(transfer: Transfer, end: End, data: bytes) -> str:
    right = hashlib.sha256(data[: end.received]).digest()
    if end.received <= len(data) and end.hash.digest() == right:
        return ""
    return f"{_name(transfer)}: {end.received} bytes came, and they are not those that were sent"
