"""Minting: makes the text of new keys and of new secrets. Nothing is stored.

The kid of a new key leads to the home of the key, see `core/partitions.py`.
"""

from typing import TYPE_CHECKING

from authz.core.keys.credentials import Minted
from authz.core.keys.keyring import Keyring
from authz.core.keys.text import new_kid

if TYPE_CHECKING:
    from authz.core.keys.seed import Seed
    from authz.core.new_keys import KeySpec
    from authz.core.records import KeyRecord


def mint(keyring: Keyring, spec: "KeySpec", seed: "Seed | None" = None) -> Minted:
    """Make a key of `spec` with a new kid and secret.

    seed: of a repeatable request; kid and secret follow from it. Raises BadInput for a wrong `env`,
    or if the key is publishable and none can be; Unavailable if we lack the pepper of the seed.
    """
    if seed is None:
        kid = keyring.partitions.fitting(new_kid(), spec)
        return keyring.mint(spec.env, kid, public=spec.public)
    kid = keyring.partitions.fitting(seed.kid(keyring.pepper_of(seed)), spec)
    return keyring.mint_repeatably(spec.env, seed, kid, public=spec.public)


def mint_again(keyring: Keyring, spec: "KeySpec", seed: "Seed") -> "list[Minted]":
    """Return the key that `mint` makes of this seed, and the one of a store with one partition.

    Before a move of the store the same request made the latter. Raises as `mint`.
    """
    minted, kid = mint(keyring, spec, seed), seed.kid(keyring.pepper_of(seed))
    if minted.kid == kid:
        return [minted]
    return [minted, keyring.mint_repeatably(spec.env, seed, kid, public=spec.public)]


def mint_secret(keyring: Keyring, record: "KeyRecord", seed: "Seed | None" = None) -> Minted:
    """Make a new secret for a key. seed: of a repeatable request. Raises as `mint`."""
    if seed is None:
        return keyring.mint(record.env, record.kid, public=record.public)
    return keyring.mint_repeatably(record.env, seed, record.kid, public=record.public)
