"""TLS of a fleet: version 1.3 alone, both ends with certificates of the fleet's own authority, for MQTT and for HTTPS."""

import ssl

from limiar.edge_app.errors import LimiarError, printable


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


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
