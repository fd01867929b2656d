"""Keys for the cluster of `make mesh`."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def signing_pair(directory: Path) -> tuple[Path, Path]:
    """Write the key that signs tokens of ServiceAccounts, and its public half."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private, public = directory / "accounts.key", directory / "accounts.pub"
    private.write_bytes(
        made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    public.write_bytes(
        made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public
