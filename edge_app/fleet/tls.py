"""TLS of a fleet: version 1.3 alone, both ends with certificates of the fleet's own authority, for MQTT and for HTTPS."""

import ssl

from cryptography import x509
from cryptography.x509.oid import NameOID

from limiar.edge_app.errors import LimiarError, printable
from limiar.edge_app.system.clock import iso
from limiar.edge_app.system.files import read_bounded

_LIMIT = 64 << 10  # bytes of a certificate with its chain


def client_context(authority: str, certificate: str, key: str) -> ssl.SSLContext:
    """For a client: trusts `authority` alone and shows `certificate`, "" for none. Paths of PEM files.

    Raises LimiarError E-FLEET-CERTIFICATE.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the server's name and chain
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        made.load_verify_locations(authority)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        met = f"the authority {printable(authority)} cannot be used ({_why(error)})"
        raise LimiarError("E-FLEET-CERTIFICATE", f"{met}: give its certificate as a PEM file") from None
    if certificate:
        try:
            made.load_cert_chain(certificate, key, password="")  # a key with a password is refused, not asked for
        except (OSError, ValueError) as error:
            met = f"{printable(certificate)} and {printable(key)} cannot be used ({_why(error)})"
            cure = "give a PEM certificate with its chain, and its key without a password"
            raise LimiarError("E-FLEET-CERTIFICATE", f"{met}: {cure}") from None
    return made


def common_name(certificate: str) -> str:
    """The name that a certificate gives its owner, the user's for a broker. Raises LimiarError E-FLEET-CERTIFICATE."""
    names = _read(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not isinstance(names[0].value, str):
        met = f"{printable(certificate)} has no common name, or several"
        raise LimiarError("E-FLEET-CERTIFICATE", f"{met}: have one made whose common name (CN) is the device's name")
    return names[0].value


def check_time(certificate: str, now_s: float) -> None:
    """Raises LimiarError E-FLEET-CERTIFICATE if it is not valid now: brokers then end the connection without a reason."""
    found = _read(certificate)
    start, end = found.not_valid_before_utc, found.not_valid_after_utc
    if not start.timestamp() <= now_s <= end.timestamp():
        now, _, _ = iso(int(now_s) * 10**9).partition("T")  # unlike datetime, it has years beyond 9999
        met = f"{printable(certificate)} is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}, and it is {now} here"
        raise LimiarError("E-FLEET-CERTIFICATE", f"{met}: put a new one in its place, or set the clock")


def _read(certificate: str) -> x509.Certificate:
    """Raises LimiarError E-FLEET-CERTIFICATE."""
    try:
        return x509.load_pem_x509_certificate(read_bounded(certificate, _LIMIT, follow=True))
    except (OSError, ValueError) as error:
        met = f"{printable(certificate)} cannot be used ({_why(error)})"
        raise LimiarError("E-FLEET-CERTIFICATE", f"{met}: give a PEM certificate with its chain") from None


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
