"""Does a certificate say what ``certificates.validation_criteria`` asks for?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge_tunnel.config.model import CertificateCriteria

__all__ = ["mismatch"]

# OpenSSL's names, as `ssl.SSLSocket.getpeercert` gives them. EMS calls O "Organization" and OU
# "Organizational_Name".
_FIELDS = (
    ("common_name", "subject", "commonName"),
    ("organization", "subject", "organizationName"),
    ("organizational_unit", "subject", "organizationalUnitName"),
    ("issuer_common_name", "issuer", "commonName"),
    ("issuer_organization", "issuer", "organizationName"),
    ("issuer_organizational_unit", "issuer", "organizationalUnitName"),
)


def mismatch(criteria: CertificateCriteria, certificate: Mapping[str, Any]) -> str:
    """What is wrong, for people; empty when all criteria are met (or none is set).

    `certificate` is what ``getpeercert()`` gives: empty without validation, which meets nothing.
    """
    for field, side, name in _FIELDS:
        wanted = getattr(criteria, field)
        found = list(_values(certificate.get(side, ()), name))
        if wanted is not None and wanted not in found:
            has = ", ".join(map(repr, found)) or "none"
            return f"the certificate's {side} {name} must be {wanted!r}; it has {has}"
    return ""


def _values(side: Any, name: str) -> Iterator[str]:
    for relative_name in side:
        for key, value in relative_name:
            if key == name:
                yield value
