"""Certificates of clients, whose URI is the caller of the admin API."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def certificate_with_uri(uri: str) -> tuple[bytes, bytes, bytes]:
    """Return the key and the certificate of a client, and its authority, in PEM."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("ca", "own")]

    def signed(subject: int, extension: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder(
            names[0], names[subject], keys[subject].public_key(), x509.random_serial_number()
        )
        builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
        found = builder.add_extension(extension, critical=False).sign(keys[0], SHA256())
        return found.public_bytes(Encoding.PEM)

    private = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    uris = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    authority = signed(0, x509.BasicConstraints(ca=True, path_length=None))
    return private, signed(1, uris), authority
