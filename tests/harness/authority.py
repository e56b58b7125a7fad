"""A certificate authority for tests: it signs servers for this machine's own addresses, and clients by their common name."""

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


class Pair(NamedTuple):
    """PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Its files lie in a folder; `certificate` is what others must trust."""

    def __init__(self, folder: Path, name: str = "fleet") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, _named(f"{name} authority")
        self._key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(self._name, self._key, days=3650)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(**{**dict.fromkeys(_USES, False), "key_cert_sign": True, "crl_sign": True})
        made = made.add_extension(usage, critical=True)
        self.certificate = folder / "authority.pem"
        self.certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, name: str = "server") -> Pair:
        """For 127.0.0.1, ::1 and localhost."""
        addresses = [x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", "::1")]
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses])
        return self._pair(name, names, ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, name: str, *, days: int = 365) -> Pair:
        """With this common name. days: it is valid for; negative: it has expired."""
        return self._pair(name, None, ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def _pair(self, name: str, names: x509.SubjectAlternativeName | None, use: x509.ObjectIdentifier, days: int = 365) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(_named(name), key, days).add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        if names:
            made = made.add_extension(names, critical=False)
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
        return pair

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        start = now + min(0, days) * _DAY - _DAY
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(now + days * _DAY)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return made.add_extension(identifier, critical=False)


_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
