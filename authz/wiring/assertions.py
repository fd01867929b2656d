"""Composition root of assertions: the key that signs them, and the key set for backends."""

from authz.core.assertion import assertion_key_id
from authz.core.keys.keyring import Keyring
from authz.core.tokens.signing_keys import public_jwk
from authz.flows.assertions import AssertionSigner
from authz.process.clock import SystemClock
from authz.rpc.check.allow import ASSERTION
from authz.rpc.check.assertion import AssertionHeaders
from authz.settings.model import Settings


def assertion_headers(settings: Settings, ring: Keyring) -> AssertionHeaders | None:
    """Return the writer of assertions; None if the settings name no issuer of them."""
    identity = settings.identity
    if not identity.assertion_issuer:
        return None
    from authz.identity.es256 import PrivateKey  # noqa: PLC0415  memory of other sidecars

    key, clock = PrivateKey.derived(ring.assertion_seeds[-1]), SystemClock()
    signer = AssertionSigner(identity.assertion_issuer, assertion_key_id(key.x, key.y), key, clock)
    return AssertionHeaders(identity.header_prefix + ASSERTION, signer.sign, clock.wall_ms)


def assertion_key_set(ring: Keyring) -> list[dict[str, str]]:
    """Return the public keys as JSON Web Keys, one for each pepper. The newest one is the last."""
    from authz.identity.es256 import PrivateKey  # noqa: PLC0415

    keys = [PrivateKey.derived(seed) for seed in ring.assertion_seeds]
    return [public_jwk(assertion_key_id(key.x, key.y), key.x, key.y) for key in keys]
