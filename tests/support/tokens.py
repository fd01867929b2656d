"""An issuer of our own tokens, which can also make bad ones, and a gate that accepts them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authz.core.keys.keyring import Keyring
from authz.core.records import KeyRecord
from authz.core.tokens import text
from authz.core.tokens.rights import Expected
from authz.core.tokens.signing_keys import SigningKey
from authz.core.tokens.text import Claims
from authz.flows.tokens.gate import TokenGate
from authz.identity.es256 import PrivateKey, verifier
from tests.support.fakes import KID, NOW, make_keyring

ISSUER = "https://auth.example.com"
AUDIENCE = "api"
SECONDS = NOW // 1000
# Made once: a key takes 20 us, and a failing test is the same in each run.
PRIVATE = PrivateKey.of(b"\x07" * 32)
KEY_ID = text.issuer_mark(ISSUER) + "k" * 8


def claims(**overrides) -> Claims:
    """Return good claims of a token for five minutes from NOW; its `jti` has no tag yet."""
    return Claims(
        **{
            "issuer": ISSUER,
            "kid": KID,
            "client_id": "acme-web",
            "audience": AUDIENCE,
            "scopes": frozenset({"a:read"}),
            "issued_at": SECONDS,
            "not_before": SECONDS,
            "expires_at": SECONDS + 300,
            "secret_id": "1",
            "token_id": "1" + "r" * 15,
        }
        | overrides
    )


def claims_of(record: KeyRecord, **overrides) -> Claims:
    """Return good claims of a token for this key, with its scopes and its newest secret."""
    return claims(
        **{
            "kid": record.kid,
            "client_id": record.client_id,
            "scopes": record.scopes,
            "secret_id": record.newest_secret.id,
        }
        | overrides
    )


def signing_key(key_id: str = KEY_ID, private: PrivateKey = PRIVATE, **overrides) -> SigningKey:
    """Return the public half of a key that signs since NOW."""
    return SigningKey(
        **{
            "key_id": key_id,
            "x": private.x,
            "y": private.y,
            "created_at": NOW,
            "signs_from": NOW,
            "pepper": "1",
        }
        | overrides
    )


def issue(ring: Keyring, given: Claims, private: PrivateKey = PRIVATE, key_id: str = KEY_ID) -> str:
    """Return the token of these claims, signed and with a right tag."""
    signed, _ = text.unsigned(given, key_id, ring.token_tags[given.token_id[0]])
    return text.joined(signed, private.sign(signed.encode()))


def by_hand(ring: Keyring, payload: bytes, header: str = "") -> str:
    """Return a signed token with this payload, whatever it is, and this header in base64url."""
    signed = f"{header or text.header_text(KEY_ID)}.{text.encoded(payload)}"
    return text.joined(signed, PRIVATE.sign(signed.encode()))


def tagged(ring: Keyring, members: Mapping[str, Any]) -> str:
    """Return a signed token of any members with a right tag at the end, as only we could make it.

    Its `jti` is the last member.
    """
    before = json.dumps({**members, "jti": "1" + "r" * 15}, separators=(",", ":")).removesuffix(
        '"}'
    )
    header = text.header_text(KEY_ID)
    tag = text._tag(ring.token_tags["1"], f"{header}.{before}".encode())
    return by_hand(ring, f'{before}{tag}"}}'.encode(), header)


def members(given: Claims) -> dict[str, Any]:
    """Return claims as the members of a token, without `jti`."""
    signed, _ = text.unsigned(given, KEY_ID, lambda _text: bytes(32))
    found = json.loads(text.decoded(signed.partition(".")[2]))
    return {name: value for name, value in found.items() if name != "jti"}


@dataclass(slots=True)
class Entries:
    """An EntrySource in memory."""

    signing: Mapping[str, str]
    is_current: bool = True


class GateRig:
    """A TokenGate with one signing key; it counts the signatures that it verifies."""

    def __init__(
        self, clock, probe, *, rate: int = 1000, ring: Keyring | None = None, store_clock=None
    ) -> None:
        self.ring = ring or make_keyring(issuer=ISSUER)
        self.signatures = 0
        self.source = Entries({})
        self.publish(signing_key())
        self.gate = TokenGate(
            self.source,
            self.ring.signing_entries,
            self._counting,
            tags=self.ring.token_tags,
            expected=Expected(ISSUER, (AUDIENCE,)),
            clock=clock,
            probe=probe,
            rate=rate,
            max_entries=100,
            store_clock=store_clock,
        )

    def publish(self, *keys: SigningKey) -> None:
        """Let the store have these signing keys and no others."""
        entries = self.ring.signing_entries
        self.source.signing = {key.key_id: entries.write(key) for key in keys}

    def accept(self, token: str, address: str = "203.0.113.7"):
        """Return what the gate says to a text."""
        presented = self.ring.parse_token(token)
        return presented and self.gate.accept(presented, address)

    def issue(self, given: Claims | None = None, **overrides) -> str:
        """Return a good token, or one of these claims."""
        return issue(self.ring, (given or claims())._replace(**overrides))

    def _counting(self, x: bytes, y: bytes):
        verify = verifier(x, y)

        def counting(signed: bytes, signature: bytes) -> bool:
            self.signatures += 1
            return verify(signed, signature)

        return counting
