"""What a device says to a tunnel that is to be sealed, or is not.

The remote decides first: our own asks for end-to-end encryption and takes no tunnel without it.
So ``allow`` already protects whoever wants to be protected. ``require`` turns those away that do
not ask; ``off`` is for sites where a node must be able to inspect what passes.
"""

from __future__ import annotations

from edge_tunnel.reasons import Reason

__all__ = ["why_not_sealed"]


def why_not_sealed(policy: str, *, sealed: bool) -> tuple[Reason, str] | None:
    """Why the device does not take a tunnel that is sealed, or is not; None: it does.

    `policy` is `EdgeConfig.end_to_end_encryption`.
    """
    if sealed and policy == "off":
        text = "end-to-end encryption is turned off on the device"
        return Reason.ENCRYPTION, f"{text} (edge_tunnel.end_to_end_encryption)"
    if not sealed and policy == "require":
        # a reason that older remotes know as well: they are the ones that do not ask
        text = "the device takes only tunnels with end-to-end encryption; update this remote"
        return Reason.REFUSED_BY_DEVICE, f"{text}, or leave out --no-encryption"
    return None
