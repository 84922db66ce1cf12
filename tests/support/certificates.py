"""An authority for certificates that only its own tests know of.

authority = Authority()
Provider(tls=authority.server("127.0.0.1"))     # speaks TLS, for this name or address
authority.pem                                   # what a client trusts it by
"""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Authority:
    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("Nobody's authority")
        certificate = _builder(self._name, self._name, self._key, timedelta(days=1))
        self.certificate = certificate.add_extension(x509.BasicConstraints(True, None), True).sign(self._key, SHA256())

    def server(self, name: str, lifetime: timedelta = timedelta(days=1)) -> ssl.SSLContext:
        """Return what a server needs to speak TLS under this name or address; expired, if it lived until before now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_general(name)])
        builder = _builder(_named(name), self._name, key, lifetime).add_extension(names, False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "both.pem")
            private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            file.write_bytes(private + builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
            context.load_cert_chain(file)
        return context

    @property
    def pem(self) -> str:
        """The authority's own certificate, as `SSL_CERT_FILE` names it."""
        return self.certificate.public_bytes(Encoding.PEM).decode()


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(days=2)).not_valid_after(now + lifetime)
