"""The validation criteria against certificates as Python's ssl gives them."""

from __future__ import annotations

from edge_tunnel.config import CertificateCriteria, mismatch

CERTIFICATE = {
    "subject": (
        (("countryName", "DE"),),
        (("organizationName", "Example"),),
        (("commonName", "h"),),
    ),
    "issuer": ((("commonName", "Our CA"),), (("organizationalUnitName", "IT"),)),
}


def test_what_is_met() -> None:
    assert not mismatch(CertificateCriteria(), {})
    criteria = CertificateCriteria(
        common_name="h",
        organization="Example",
        issuer_common_name="Our CA",
        issuer_organizational_unit="IT",
    )
    assert not mismatch(criteria, CERTIFICATE)


def test_what_is_not_met() -> None:
    """Another value, a missing field, or no validated certificate at all."""
    assert "it has 'h'" in mismatch(CertificateCriteria(common_name="i"), CERTIFICATE)
    missing = mismatch(CertificateCriteria(issuer_organization="Example"), CERTIFICATE)
    assert missing == "the certificate's issuer organizationName must be 'Example'; it has none"
    assert mismatch(CertificateCriteria(common_name="h"), {})
