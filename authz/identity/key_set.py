"""A JSON Web Key Set (RFC 7517), parsed strictly: public keys for signatures only."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from authz.core.errors import Unavailable

MAX_KEYS: Final = 64
RSA_BITS: Final = range(2048, 8193)

_CURVES: Final = {"P-256": {"ES256"}, "P-384": {"ES384"}, "P-521": {"ES512"}}
_RSA: Final = {f"{family}{size}" for family in ("RS", "PS") for size in (256, 384, 512)}
_EDWARDS: Final = {"Ed25519", "EdDSA"}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key and the algorithms that it may verify. key_id: empty if it has none."""

    key_id: str
    algorithms: frozenset[str]
    key: RSAKey | ECKey | OKPKey = field(repr=False)

    def verifies(self, token: str, algorithm: str) -> bool:
        """Return whether this key signed the token with this algorithm. Claims are not checked.

        False if the algorithm is not in `algorithms`, or the token is garbled.
        """
        if algorithm not in self.algorithms:
            return False
        try:
            with warnings.catch_warnings():  # about the name EdDSA, which older providers write
                warnings.simplefilter("ignore")
                jws.deserialize_compact(token, self.key, algorithms=[algorithm])
        except (JoseError, ValueError, TypeError, RecursionError):
            return False
        return True


def parse(body: bytes) -> tuple[SigningKey, ...]:
    """Return the keys of a key set that can verify signatures. Other keys are skipped.

    Skipped: symmetric keys, keys for encryption, keys that hold their private part, RSA keys
    outside of 2048 to 8192 bits, unknown curves, and keys with an unknown `alg`. Raises Unavailable
    if the body is no key set, or has more than MAX_KEYS (64) keys or no usable one.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Unavailable("the key set is no JSON") from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise Unavailable(f"the key set has no list of at most {MAX_KEYS} keys")
    usable = tuple(key for one in keys if isinstance(one, dict) and (key := _key(one)) is not None)
    if not usable:
        raise Unavailable("the key set has no usable key")
    return usable


def matching(keys: Sequence[SigningKey], algorithm: str, key_id: str) -> tuple[SigningKey, ...]:
    """Return the keys of this algorithm and id. At most two, so that a token costs little.

    Without a key id, return the only key of the algorithm; empty if several have it (RFC 7515
    section 4.1.4 leaves the id to the provider).
    """
    fitting = [key for key in keys if algorithm in key.algorithms]
    if key_id:
        return tuple(key for key in fitting if key.key_id == key_id)[:2]
    return tuple(fitting) if len(fitting) == 1 else ()


def _key(given: Mapping[str, Any]) -> SigningKey | None:
    key_id = given.get("kid", "")
    operations = given.get("key_ops", ["verify"])
    if "d" in given or given.get("use", "sig") != "sig" or not isinstance(key_id, str):
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        with warnings.catch_warnings():  # about short keys, which are skipped
            warnings.simplefilter("ignore")
            kind = _kind(given)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if kind is None:
        return None
    key, algorithms = kind
    if "alg" in given:
        algorithms = algorithms & {given["alg"]} if isinstance(given["alg"], str) else set()
    return SigningKey(key_id, frozenset(algorithms), key) if algorithms else None


def _kind(given: Mapping[str, Any]) -> tuple[RSAKey | ECKey | OKPKey, set[str]] | None:
    members = {name: given[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in given}
    match members.get("kty"), members.get("crv"):
        case "RSA", None:
            key = RSAKey.import_key(members)
            return (key, _RSA) if key.raw_value.key_size in RSA_BITS else None
        case "EC", str(curve) if curve in _CURVES:
            return ECKey.import_key(members), _CURVES[curve]
        case "OKP", "Ed25519":
            return OKPKey.import_key(members), _EDWARDS
    return None
