"""Bad tokens: the attacks of RFC 8725 and of the JOSE libraries' advisories, from one good token.

Some need the pepper and the signing key: even a text that only we can sign has one form.
"""

import hmac
import json
import random
from collections.abc import Iterator
from hashlib import sha256

from authz.core.keys.keyring import Keyring
from authz.core.tokens import text
from authz.identity.es256 import ORDER, PrivateKey
from tests.support.tokens import KEY_ID, PRIVATE, by_hand, claims, issue, members, tagged

ATTACKER = PrivateKey.of(b"\x0b" * 32)
CHARACTERS = "ABCXYZabcxyz0189-_+/=.~ \n\x00é"
WRONG = (None, True, False, 0, -1, 1.5, 10**400, "", "x", [], ["api"], {}, {"a": {}}, "\x00", " ")


def variants(ring: Keyring, seed: int, most: int) -> Iterator[tuple[str, str]]:
    """Yield `most` pairs of a family of attacks and a text that no gate may accept."""
    chosen = random.Random(seed)
    good = issue(ring, claims())
    fixed = [*_headers(good), *_signatures(good), *_payloads(ring), *_encodings(good)]
    yield from fixed[:most]
    for _ in range(most - len(fixed)):
        yield "one character", _changed(good, chosen)


def _headers(good: str) -> Iterator[tuple[str, str]]:
    _, body, signature = good.split(".")
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": text.encoded(ATTACKER.x),
        "y": text.encoded(ATTACKER.y),
    }
    base = {"alg": "ES256", "kid": KEY_ID, "typ": "at+jwt"}
    changed = [
        *({**base, "alg": alg} for alg in ("none", "None", "nOnE", "", "HS256", "ES384", "RS256")),
        *({**base, "alg": alg} for alg in ("es256", "EdDSA", "PS256", "ES256K", None, ["ES256"])),
        *({**base, "kid": kid} for kid in ("", "../../dev/null", "' or 1=1 --", KEY_ID + "\x00")),
        *({**base, name: "https://evil.example"} for name in ("jku", "x5u")),
        *(
            {**base, name: value}
            for name, value in (("jwk", jwk), ("x5c", ["AA=="]), ("b64", False))
        ),
        *(
            {**base, name: value}
            for name, value in (("crit", ["exp"]), ("crit", []), ("zip", "DEF"))
        ),
        *({**base, "typ": typ} for typ in ("JWT", "at+JWT", "dpop+jwt", "", None)),
        {**base, "cty": "JWT"},
        {"typ": "at+jwt", "kid": KEY_ID, "alg": "ES256"},
        {"alg": "ES256", "typ": "at+jwt"},
        {},
    ]
    raws = [json.dumps(one, separators=(",", ":")).encode() for one in changed]
    raws.append(json.dumps(base).encode())  # with blanks
    raws.append(f'{{"alg":"none","alg":"ES256","kid":"{KEY_ID}","typ":"at+jwt"}}'.encode())
    raws.append(f'{{"alg":"ES256","kid":"{KEY_ID}","typ":"at+jwt","alg":"none"}}'.encode())
    raws += [b"[]", b"null", b"{" * 3000, b'{"a":' * 900, b"\xff\xfe"]
    for raw in raws:
        header = text.encoded(raw)
        signed = f"{header}.{body}"
        public = text.encoded(hmac.digest(ATTACKER.x + ATTACKER.y, signed.encode(), sha256))
        for signature_of in (
            signature,
            "",
            public,
            text.encoded(ATTACKER.sign(signed.encode())),
            text.encoded(PRIVATE.sign(signed.encode())),  # even if we had signed it
        ):
            yield "header", f"{signed}.{signature_of}"


def _signatures(good: str) -> Iterator[tuple[str, str]]:
    signed, _, signature = good.rpartition(".")
    raw = text.decoded(signature)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    numbers = [(0, 0), (0, s), (r, 0), (r, ORDER - s), (ORDER, s), (r, ORDER), (s, r), (1, 1)]
    numbers += [(r + 1, s), (r, s + 1), (2**256 - 1, 2**256 - 1), (ORDER - r, s)]
    for one, other in numbers:
        yield "signature", f"{signed}.{text.encoded(one.to_bytes(32) + other.to_bytes(32))}"
    der = b"\x30\x44\x02\x20" + raw[:32] + b"\x02\x20" + raw[32:]
    for other in (b"", raw[:-1], raw + b"\0", b"\0" + raw, der, raw + raw, raw[:32]):
        yield "signature", f"{signed}.{text.encoded(other)}"
    for private in (ATTACKER, PrivateKey.of((1).to_bytes(32))):
        yield "signature", f"{signed}.{text.encoded(private.sign(signed.encode()))}"


def _payloads(ring: Keyring) -> Iterator[tuple[str, str]]:
    whole = members(claims())
    for name in whole:
        for value in WRONG:
            if whole[name] != value:
                yield (
                    "claims without our tag",
                    by_hand(ring, json.dumps({**whole, name: value}).encode()),
                )
                if not (name in {"client_id", "scope", "sid", "sub"} and isinstance(value, str)):
                    yield "claims", tagged(ring, {**whole, name: value})
        yield "claims", tagged(ring, {key: one for key, one in whole.items() if key != name})
        twice = (
            json.dumps(whole, separators=(",", ":"))[:-1] + f',"{name}":{json.dumps(whole[name])}'
        )
        yield "claims twice", _tagged_text(ring, twice)
    for extra in ("cnf", "act", "nonce", "iss ", "Exp", "jti2"):
        yield "claims", tagged(ring, {**whole, extra: 1})
    for deep in (20, 200, 1000):
        yield "nested", _tagged_text(ring, '{"iss":' + "[" * deep + "]" * deep)
    yield "nested", by_hand(ring, issue(ring, claims()).encode())
    yield "huge", tagged(ring, {**whole, "scope": "a" * 5000})
    yield "NaN", _tagged_text(ring, json.dumps({**whole, "exp": float("nan")})[:-1])
    for seconds in (1 << 31, 1 << 63, 10**30):
        yield "lifetime", tagged(ring, {**whole, "exp": seconds})


def _tagged_text(ring: Keyring, start: str) -> str:
    """Return a signed token whose payload begins with `start` and ends with a right `jti`."""
    before = f'{start},"jti":"1{"r" * 15}'
    header = text.header_text(KEY_ID)
    tag = text._tag(ring.token_tags["1"], f"{header}.{before}".encode())
    return by_hand(ring, f'{before}{tag}"}}'.encode(), header)


def _encodings(good: str) -> Iterator[tuple[str, str]]:
    header, body, signature = good.split(".")
    for at, part in enumerate((header, body, signature)):
        for other in (
            part + "=",
            part + "==",
            part.replace("-", "+").replace("_", "/") + "+",
            part[:-1] + _next(part[-1]),
            part[1:],
            part[:-1],
            f" {part}",
            f"{part}\n",
            part + "A",
            "",
        ):
            parts = [header, body, signature]
            parts[at] = other
            yield "encoding", ".".join(parts)
    for whole in (
        f"{good}.",
        f".{good}",
        f"{good}.{signature}",
        good.replace(".", "..", 1),
        f"{good} ",
    ):
        yield "encoding", whole
    yield "encoding", ".".join((header, "", body, "", signature))  # RFC 7516: encrypted
    yield "encoding", json.dumps({"protected": header, "payload": body, "signature": signature})
    yield "huge", f"{header}.{body * 50}.{signature}"


def _next(character: str) -> str:
    """Return a character whose value differs in the lowest bit, which may be an unused one."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(character) ^ 1]


def _changed(good: str, chosen: random.Random) -> str:
    """Return the good token with a few characters replaced, dropped or doubled."""
    while True:
        found = list(good)
        for _ in range(chosen.randint(1, 3)):
            at = chosen.randrange(len(found))
            found[at] = chosen.choice((chosen.choice(CHARACTERS), "", found[at] * 2))
        if (made := "".join(found)) != good:
            return made
