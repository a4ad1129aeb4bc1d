"""What went wrong in TLS, in one line for whoever can do something about it. No I/O here.

OpenSSL's reasons are names of constants; the table has those that people cause. A certificate that
*we* refuse comes as `ssl.SSLCertVerificationError`, one that the *other end* refuses as an alert.
"""

from __future__ import annotations

import ssl
from typing import Final

from edge_tunnel.errors import LinkHopeless, LinkLost

__all__ = ["SELF_SIGNED", "client_problem", "is_plain_http", "server_words"]

SELF_SIGNED: Final = 18
"""X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT of OpenSSL's x509_vfy.h, as the others here."""

_CLOCK: Final = "if it should be good, look at this machine's clock"
_TRUST: Final = "give the CA that signed it with --ca-file or certificates.cert_chain"
_REFUSED: Final = {
    9: ("is not valid yet", _CLOCK),
    10: ("has expired", _CLOCK),
    SELF_SIGNED: ("is self-signed", _TRUST),
    19: ("is of a CA that is not trusted here", _TRUST),
    20: ("is of a CA that is not trusted here", _TRUST),
    21: ("is of a CA that is not trusted here", _TRUST),
    62: ("is for another name", "connect to a name that is in it"),
    64: ("is for another address", "connect to a name or an address that is in it"),
}
"""OpenSSL's number -> what is wrong with the other end's certificate, and what to do."""

_OURS: Final = "ours is --cert, or certificates.client_cert in config.json"
_CLIENT_ALERTS: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the node demands a client certificate; give "
    "--cert and --cert-key, or certificates.client_cert and key_file in config.json",
    "TLSV1_ALERT_UNKNOWN_CA": "the node does not trust the CA of our client certificate; " + _OURS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the node says that our client certificate has expired "
    "(or is not valid yet, by its clock); " + _OURS,
    "SSLV3_ALERT_BAD_CERTIFICATE": "the node refuses our client certificate; " + _OURS,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the node refuses our client certificate; " + _OURS,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the node refuses our certificate: it is not one "
    "for clients; " + _OURS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the node refuses the handshake: it demands a client "
    "certificate (--cert and --cert-key), or there is no cipher that both know",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the node speaks another version of TLS",
    "WRONG_VERSION_NUMBER": "no TLS is spoken at this port; write ws:// for a node without TLS",
    "RECORD_LAYER_FAILURE": "no TLS is spoken at this port; write ws:// for a node without TLS",
    "PACKET_LENGTH_TOO_LONG": "no TLS is spoken at this port; write ws:// for a node without TLS",
    "UNSUPPORTED_PROTOCOL": "the node's TLS is older than 1.2",
}
_SERVER_ALERTS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has no client certificate, and one is demanded here",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the CA of our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired, or is not "
    "valid yet",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses our certificate: self-signed, or not for the name "
    "by which it calls us",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses our certificate",
    "HTTP_REQUEST": "it speaks plain HTTP (ws://) where TLS is spoken",
    "HTTPS_PROXY_REQUEST": "it takes us for an HTTP proxy",
    "WRONG_VERSION_NUMBER": "it speaks no TLS",
    "RECORD_LAYER_FAILURE": "it speaks no TLS",
    "UNSUPPORTED_PROTOCOL": "its TLS is too old",
    "NO_SHARED_CIPHER": "there is no cipher that both know",
}


def client_problem(error: BaseException | None, host: str) -> LinkLost:
    """Why TLS with the node at `host` failed. Hopeless is what a person has set up so."""
    lasting = isinstance(error, ssl.SSLCertVerificationError) or (
        isinstance(error, ssl.SSLError) and error.reason in _CLIENT_ALERTS
    )
    return (LinkHopeless if lasting else LinkLost)(_client_words(error, host))


def _client_words(error: BaseException | None, host: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        what, hint = _REFUSED.get(error.verify_code, ("is not accepted", ""))
        text = f"the certificate of {host} {what} ({error.verify_message})"
        return f"{text}; {hint}" if hint else text
    if isinstance(error, ssl.SSLEOFError) or not isinstance(error, ssl.SSLError):
        return f"{host} closed the connection in the TLS handshake (does it speak TLS?)"
    known = _CLIENT_ALERTS.get(error.reason or "")
    return f"{host}: {known}" if known else f"TLS with {host} failed: {_plainly(error)}"


def server_words(error: BaseException | None) -> str | None:
    """Why TLS with a client failed; None: it went away without a word, as a health check does."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what, _ = _REFUSED.get(error.verify_code, ("is not accepted", ""))
        return f"its certificate {what} ({error.verify_message})"
    if isinstance(error, ssl.SSLEOFError) or not isinstance(error, ssl.SSLError):
        return None
    return _SERVER_ALERTS.get(error.reason or "", f"TLS failed: {_plainly(error)}")


def is_plain_http(error: BaseException | None) -> bool:
    """Whether a client sent an HTTP request where TLS was expected."""
    return isinstance(error, ssl.SSLError) and error.reason == "HTTP_REQUEST"


def _plainly(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
