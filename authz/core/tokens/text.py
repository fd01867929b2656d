"""The text of a token: a JWT (RFC 7519) with the signature ES256, in exactly one form.

    base64url(header) . base64url(claims) . base64url(signature)

    header   {"alg":"ES256","kid":MARK RANDOM,"typ":"at+jwt"}      RFC 9068; no other member
    claims   iss sub client_id aud scope iat nbf exp sid jti       in this order, no other member
    jti      pepper version (1), random (15), tag (11)             base62

Rules:
1. Each signing key has one header text. A header is compared with it and never parsed, so no
   `alg`, `jwk`, `jku`, `x5u` or `crit` of a caller is ever read (RFC 8725 section 2).
2. The key id begins with a mark of the issuer. So our tokens are known by their first 40
   characters, and the tokens of other issuers stay others'.
3. The tag is 64 bits of HMAC-SHA-256 under the pepper over the header and all claims before it. So
   a forged token costs no signature. Only the signature proves the token to others.
4. base64url is canonical: no padding, no other character, no unused bit (RFC 4648 section 3.5).
5. Claims are canonical too: no blank between members, no escape. They are matched and not parsed as
   JSON. So no member stands twice, and a number has one text.
"""

import binascii
import hmac
import json
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from authz.core.keys import base62
from authz.core.keys.pepper import Mac
from authz.core.keys.text import MAX_TAG, TAG_BYTES, TAG_LENGTH

MAX_TOKEN: Final = 4096  # characters
MAX_LIFETIME: Final = 900  # seconds
LEEWAY: Final = 30  # seconds by which the clock of a gate may be behind that of the issuer
MARK_LENGTH: Final = 8
KEY_ID_LENGTH: Final = 16
RANDOM_LENGTH: Final = 15
JTI_LENGTH: Final = 1 + RANDOM_LENGTH + TAG_LENGTH
SIGNATURE_BYTES: Final = 64

_HEADER_START: Final = '{"alg":"ES256","kid":"'
_HEADER_END: Final = '","typ":"at+jwt"}'
_HEADER_LENGTH: Final = 74  # characters of base64url
_SIGNATURE_LENGTH: Final = 86
_DOT: Final = ord(".")
# The other alphabet and padding become a character that a strict decoder refuses.
_URL_SAFE: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
# The characters that may stand last, by the length modulo 4: their unused bits are 0.
_DIGITS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LAST: Final = (_DIGITS, b"", _DIGITS[::16], _DIGITS[::4])
_PADDING: Final = (b"", b"", b"==", b"=")
_JTI: Final = re.compile(rb'"jti":"([0-9A-Za-z])[0-9A-Za-z]{15}([0-9A-Za-z]{11})"\}', re.ASCII)
_JTI_BYTES: Final = JTI_LENGTH + len('"jti":""}')
_TAG_AND_END: Final = TAG_LENGTH + len('"}')
_TEXT: Final = r'"([!#-\[\]-~]*)"'
_SCOPES: Final = r'"([ !#-\[\]-~]*)"'
_TIME: Final = r"([1-9][0-9]{0,11})"
_CLAIMS: Final = re.compile(
    rf'\{{"iss":{_TEXT},"sub":{_TEXT},"client_id":{_TEXT},"aud":{_TEXT},"scope":{_SCOPES},'
    rf'"iat":{_TIME},"nbf":{_TIME},"exp":{_TIME},"sid":{_TEXT},"jti":{_TEXT}\}}',
    re.ASCII,
)


class Claims(NamedTuple):
    """The claims of a token. Times are seconds since the epoch. `kid`: of the parent key (`sub`).

    secret_id: of the secret that was exchanged (`sid`). scopes: those of `scope`. token_id: `jti`.
    """

    issuer: str
    kid: str
    client_id: str
    audience: str
    scopes: frozenset[str]
    issued_at: int
    not_before: int
    expires_at: int
    secret_id: str
    token_id: str

    def members(self) -> dict[str, Any]:
        """Return the claims by their names in a token, in its order."""
        return {
            "iss": self.issuer,
            "sub": self.kid,
            "client_id": self.client_id,
            "aud": self.audience,
            "scope": " ".join(sorted(self.scopes)),
            "iat": self.issued_at,
            "nbf": self.not_before,
            "exp": self.expires_at,
            "sid": self.secret_id,
            "jti": self.token_id,
        }


class TokenParts(NamedTuple):
    """A token, split. Nothing in it is proven. header, ending: header and signature, in base64url.

    A forged token is refused before its signature is looked at, so that is not decoded here.
    """

    header: bytes
    claims: bytes
    signed: bytes
    ending: bytes

    def signature(self) -> bytes | None:
        """Return the 64 bytes of the signature; None if its base64url is wrong."""
        return _bytes_of(self.ending)


def issuer_mark(issuer: str) -> str:
    """Return the 8 base62 digits with which the ids of an issuer's signing keys begin."""
    space = 62**MARK_LENGTH
    return base62.encode(int.from_bytes(sha256(issuer.encode()).digest()) % space, MARK_LENGTH)


def token_start(issuer: str) -> str:
    """Return the first 40 characters of each token of this issuer."""
    return encoded((_HEADER_START + issuer_mark(issuer)).encode())


def new_key_id(issuer: str, change_id: str) -> str:
    """Return the id of the signing key that a change makes: the mark of the issuer and 8 digits.

    change_id: random; the same gives the same id.
    """
    number = int.from_bytes(sha256(change_id.encode()).digest())
    length = KEY_ID_LENGTH - MARK_LENGTH
    return issuer_mark(issuer) + base62.encode(number % 62**length, length)


def header_text(key_id: str) -> str:
    """Return the header of each token that this key signs, in base64url."""
    return encoded(f"{_HEADER_START}{key_id}{_HEADER_END}".encode())


def split(text: str) -> TokenParts | None:
    """Return the parts of a token; None if its shape, its size or the claims' base64url is wrong.

    Header and signature have the lengths of ours; their content is not looked at.
    """
    size = len(text) - _SIGNATURE_LENGTH - 1  # of header and claims
    if len(text) > MAX_TOKEN or size <= _HEADER_LENGTH or not text.isascii():
        return None
    raw = text.encode()
    if raw[_HEADER_LENGTH] != _DOT or raw[size] != _DOT:  # a third one is no base64url
        return None
    claims = _bytes_of(raw[_HEADER_LENGTH + 1 : size])
    if claims is None:
        return None
    return TokenParts(raw[:_HEADER_LENGTH], claims, raw[:size], raw[size + 1 :])


def is_ours(parts: TokenParts, tags: Mapping[str, Mac]) -> bool | None:
    """Return whether the tag in the claims is right; None if the pepper of the tag is missing.

    tags: the tag's MAC by pepper version. False if no `jti` of our form ends the claims.
    """
    found = _JTI.fullmatch(parts.claims, max(0, len(parts.claims) - _JTI_BYTES))
    if found is None:
        return False
    version, given = found.groups()
    mac = tags.get(version.decode())
    if mac is None:
        return None
    right = mac(b"%b.%b" % (parts.header, parts.claims[:-_TAG_AND_END]))[:TAG_BYTES]
    number = base62.decode_11(given)
    return number <= MAX_TAG and hmac.compare_digest(number.to_bytes(TAG_BYTES), right)


def parse_claims(raw: bytes) -> Claims | None:
    """Return the claims; None if a member is missing, unknown, twice or of a wrong form.

    Members stand in our order, without blanks. Texts are printable ASCII without an escape, and
    only `scope` has blanks: one between two scopes, which are sorted. Times have 1 to 12 digits.
    """
    found = _CLAIMS.fullmatch(raw.decode("latin-1"))
    if found is None:
        return None
    issuer, kid, client, audience, text, issued, not_before, ends, secret, token = found.groups()
    scopes = frozenset(text.split())
    if " ".join(sorted(scopes)) != text:
        return None
    return Claims(
        issuer,
        kid,
        client,
        audience,
        scopes,
        int(issued),
        int(not_before),
        int(ends),
        secret,
        token,
    )


def new_token_id(pepper_version: str) -> str:
    """Return a random `jti` without its tag: 16 base62 digits."""
    return pepper_version + base62.encode(secrets.randbelow(62**RANDOM_LENGTH), RANDOM_LENGTH)


def unsigned(claims: Claims, key_id: str, mac: Mac) -> tuple[str, str]:
    """Return the text to sign, header and claims, and the complete `jti`.

    claims: their token_id has no tag yet, see `new_token_id`. mac: of that pepper.
    """
    header = header_text(key_id)
    before = json.dumps(claims.members(), separators=(",", ":")).removesuffix('"}')
    tag = _tag(mac, f"{header}.{before}".encode())
    whole = f'{before}{tag}"}}'
    return f"{header}.{encoded(whole.encode())}", claims.token_id + tag


def joined(signed: str, signature: bytes) -> str:
    """Return the token of a signed text and its signature."""
    return f"{signed}.{encoded(signature)}"


def _tag(mac: Mac, before: bytes) -> str:
    return base62.encode(int.from_bytes(mac(before)[:TAG_BYTES]), TAG_LENGTH)


def encoded(raw: bytes) -> str:
    """Return bytes in base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes | None:
    """Return the bytes of canonical base64url without padding, or None. Empty text has none."""
    return _bytes_of(text.encode()) if text.isascii() else None


def _bytes_of(text: bytes) -> bytes | None:
    if text[-1:] not in _LAST[len(text) % 4] or not text:
        return None
    try:
        return binascii.a2b_base64(
            text.translate(_URL_SAFE) + _PADDING[len(text) % 4], strict_mode=True
        )
    except binascii.Error:
        return None
