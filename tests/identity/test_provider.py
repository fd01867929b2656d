"""Bearer tokens of an issuer: each refusal, and the caller that a good token names."""

import base64
import json
import warnings
from collections.abc import Callable
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from authz.core.access import Binding, Caller, Kind, Refusal, RefusalKind
from authz.core.bearer_token import MAX_TOKEN, Expected
from authz.core.roles import Role
from authz.identity.provider import ClaimRules, Provider
from authz.identity.signing_keys import SigningKeys
from tests.support.fakes import NOW, FakeClock
from tests.support.identity.issuer import Issuer

ISSUER: Final = Issuer()
SECONDS: Final = NOW // 1000
TEAM: Final = Binding(Role.ISSUER, frozenset({"acme"}))
PLATFORM: Final = Binding(Role.ADMIN)


def provider(issuer: Issuer = ISSUER, clock: FakeClock | None = None, **rules: Any) -> Provider:
    """Return a provider that trusts an issuer, without a network."""
    clock = clock or FakeClock()
    meaning = {
        "subject_claim": "sub",
        "roles_claim": "groups",
        "granted": {"acme-team": TEAM, "platform": PLATFORM},
    }
    return Provider(
        SigningKeys(issuer.fetch, clock, 3600.0),
        Expected(issuer.url, "authz"),
        ClaimRules(**(meaning | rules)),
        clock,
    )


def part(value: object) -> str:
    """Return a value as one part of a token."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(header: object, claims: object = None, signature: str = "AAAA") -> str:
    """Return a token with any header and a worthless signature."""
    return f"{part(header)}.{part(claims or ISSUER.claims())}.{signature}"


def public_key_as_secret() -> str:
    """Return an HS256 token under the issuer's public key as PEM: algorithm confusion."""
    pem = ISSUER.keys["k1"].as_pem(private=False)
    secret = OctKey.import_key(base64.urlsafe_b64encode(pem).decode())
    payload = json.dumps(ISSUER.claims()).encode()
    return jws.serialize_compact({"alg": "HS256", "kid": "k1"}, payload, secret)


def signed_by_a_stranger() -> str:
    """Return a good token of another key with the same key id."""
    payload = json.dumps(ISSUER.claims()).encode()
    key = ECKey.generate_key("P-256")
    return jws.serialize_compact({"alg": "ES256", "kid": "k1"}, payload, key)


def tampered() -> str:
    """Return a token whose claims were changed after it was signed."""
    header, _, signature = ISSUER.token().split(".")
    return f"{header}.{part(ISSUER.claims(groups=['platform']))}.{signature}"


def embedded_key() -> str:
    """Return a token that brings its own key along, in the header."""
    key = ECKey.generate_key("P-256")
    payload = json.dumps(ISSUER.claims()).encode()
    header = {"alg": "ES256", "kid": "k1", "jwk": key.as_dict(private=False)}
    return jws.serialize_compact(header, payload, key)


def deep(depth: int) -> bytes:
    """Return claims with a list that is `depth` lists deep."""
    return b'{"iss":' + b"[" * depth + b"]" * depth + b"}"


REFUSED: Final[dict[str, Callable[[], str]]] = {
    "empty": lambda: "",
    "a word": lambda: "letmein",
    "two parts": lambda: "a.b",
    "five parts, as an encrypted token": lambda: ".".join([part({"alg": "dir"})] * 5),
    "no base64": lambda: "a!.b.c",
    "a cut-off part": lambda: "a.b.c",
    "huge": lambda: ISSUER.token(padding="x" * MAX_TOKEN),
    "a huge header": lambda: unsigned({"alg": "ES256", "x": "x" * 3000}),
    "alg none": lambda: unsigned({"alg": "none"}),
    "alg none in capitals": lambda: unsigned({"alg": "None"}),
    "no signature": lambda: ISSUER.token().rpartition(".")[0] + ".",
    "no alg": lambda: unsigned({"kid": "k1"}),
    "alg is a list": lambda: unsigned({"alg": ["ES256"]}),
    "HS256 with the public key": public_key_as_secret,
    "another key": signed_by_a_stranger,
    "its own key": embedded_key,
    "changed claims": tampered,
    "an unknown algorithm": lambda: unsigned({"alg": "ES999", "kid": "k1"}),
    "an algorithm of another key type": lambda: unsigned({"alg": "RS256", "kid": "k1"}),
    "a kid that is no text": lambda: unsigned({"alg": "ES256", "kid": {"a": 1}}),
    "a kid that is too long": lambda: unsigned({"alg": "ES256", "kid": "k" * 300}),
    "a nested token": lambda: ISSUER.token({"cty": "JWT"}),
    "another type": lambda: ISSUER.token({"typ": "dpop+jwt"}),
    "a critical extension": lambda: unsigned({"alg": "ES256", "kid": "k1", "crit": ["b64"]}),
    "a repeated member of the header": lambda: unsigned(b'{"alg":"ES256","alg":"none","kid":"k1"}'),
    "a repeated claim": lambda: ISSUER.sign(
        json.dumps(ISSUER.claims()).encode()[:-1] + b',"groups":["platform"]}'
    ),
    "claims that are a list": lambda: ISSUER.sign(b'["iss"]'),
    "claims that are no JSON": lambda: ISSUER.sign(b"\xff\xfe"),
    "NaN as a time": lambda: ISSUER.sign(b'{"exp":NaN}'),
    "claims as deep as the limit": lambda: ISSUER.sign(deep(2900)),
    "another issuer": lambda: ISSUER.token(iss="https://evil.example.com"),
    "the issuer with a slash": lambda: ISSUER.token(iss=ISSUER.url + "/"),
    "no issuer": lambda: ISSUER.token(iss=None),
    "another audience": lambda: ISSUER.token(aud="billing"),
    "an audience in other letters": lambda: ISSUER.token(aud="AUTHZ"),
    "no audience": lambda: ISSUER.token(aud=None),
    "an audience that is no text": lambda: ISSUER.token(aud=["authz", 1]),
    "audiences without ours": lambda: ISSUER.token(aud=["billing", "authz2"]),
    "expired": lambda: ISSUER.token(exp=SECONDS - 60),
    "no expiry": lambda: ISSUER.token(exp=None),
    "an expiry that is text": lambda: ISSUER.token(exp=str(SECONDS + 300)),
    "an expiry that is true": lambda: ISSUER.token(exp=True),
    "an expiry without an end": lambda: ISSUER.token(exp=10**300),
    "not valid yet": lambda: ISSUER.token(nbf=SECONDS + 61),
    "issued in the future": lambda: ISSUER.token(iat=SECONDS + 61),
    "a time that is no time": lambda: ISSUER.token(nbf="now"),
    "no subject": lambda: ISSUER.token(sub=None),
    "a subject with a line break": lambda: ISSUER.token(sub="alice\nadmin"),
    "a subject that is too long": lambda: ISSUER.token(sub="a" * 201),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_bad_token_is_refused_in_one_shape(name: str):
    """Each bad token gets UNAUTHENTICATED; the reason is for the log and holds nothing sent."""
    token = REFUSED[name]()
    found = await provider().identify(token)
    assert isinstance(found, Refusal)
    assert found.kind is RefusalKind.UNAUTHENTICATED
    assert found.why.startswith("token: ")
    assert "alice" not in found.why


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": ["billing", "authz"]},
        {"exp": SECONDS - 59},
        {"exp": SECONDS + 0.5},
        {"nbf": SECONDS + 60},
        {"iat": SECONDS + 60},
    ],
)
async def test_a_good_token_names_its_caller(claims: dict[str, Any]):
    """A clock that is off by at most the skew does not matter."""
    found = await provider().identify(ISSUER.token(**claims))
    assert found == Caller("alice", Kind.OIDC, (TEAM,))
    assert found.actor == "oidc:alice"


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", "application/at+jwt"])
async def test_access_tokens_and_id_tokens_are_taken(kind: str):
    """The types of RFC 9068 and of plain tokens."""
    assert isinstance(await provider().identify(ISSUER.token({"typ": kind})), Caller)


@pytest.mark.parametrize(
    ("claim", "given", "expected"),
    [
        ("groups", {"groups": ["platform", "acme-team", "x"]}, (TEAM, PLATFORM)),
        ("groups", {"groups": "platform other"}, (PLATFORM,)),
        ("groups", {"groups": []}, ()),
        ("groups", {"groups": None}, ()),
        ("groups", {"groups": {"platform": True}}, ()),
        ("groups", {"groups": [["platform"], {"a": 1}, 7]}, ()),
        ("realm_access.roles", {"realm_access": {"roles": ["platform"]}}, (PLATFORM,)),
        ("realm_access.roles", {"realm_access": ["roles"]}, ()),
        ("https://example.com/r", {"https://example.com/r": ["platform"]}, (PLATFORM,)),
        ("groups", {"groups": ["Platform", "platform ", "*"]}, ()),
    ],
)
async def test_groups_become_bindings(claim: str, given: dict[str, Any], expected: tuple):
    """A group counts by its exact name. A claim of another form grants nothing."""
    found = await provider(roles_claim=claim).identify(ISSUER.token(**given))
    assert isinstance(found, Caller)
    assert found.bindings == expected


async def test_every_asymmetric_algorithm_is_taken():
    """RSA, PSS, elliptic curves and Ed25519 under both of its names."""
    issuer = Issuer()
    keys = {
        "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}),
        "es384": ECKey.generate_key("P-384", {"kid": "es384"}),
        "es512": ECKey.generate_key("P-521", {"kid": "es512"}),
        "ed": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
    }
    issuer.keys = keys
    trusted = provider(issuer)
    pairs = [("rsa", "RS256"), ("rsa", "PS384"), ("es384", "ES384"), ("es512", "ES512")]
    for key_id, algorithm in [*pairs, ("ed", "Ed25519")]:
        payload = json.dumps(issuer.claims()).encode()
        header = {"alg": algorithm, "kid": key_id}
        token = jws.serialize_compact(header, payload, keys[key_id], algorithms=[algorithm])
        assert isinstance(await trusted.identify(token), Caller), algorithm


async def test_a_weak_rsa_key_is_not_used():
    """A key of 1024 bits in the key set verifies nothing."""
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505  the point of the test
    pem = weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    issuer = Issuer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        issuer.keys["weak"] = RSAKey.import_key(pem, {"kid": "weak"})
        payload = json.dumps(issuer.claims()).encode()
        header = {"alg": "RS256", "kid": "weak"}
        token = jws.serialize_compact(header, payload, issuer.keys["weak"], algorithms=["RS256"])
    found = await provider(issuer).identify(token)
    assert isinstance(found, Refusal)
    assert found.kind is RefusalKind.UNAUTHENTICATED


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES: Final = st.sampled_from(["alg", "kid", "typ", "cty", "crit", "iss", "aud", "exp", "nbf"])
OBJECTS: Final = st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=6)
PARTS: Final = OBJECTS.map(part) | st.binary(max_size=60).map(part) | st.text(max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(PARTS, max_size=5).map(".".join)
    | st.tuples(st.integers(0, 400), st.characters()).map(
        lambda edit: ISSUER.token()[: edit[0]] + edit[1] + ISSUER.token()[edit[0] + 1 :]
    )
)
async def test_no_text_makes_an_exception(text: str):
    """Any text gets a refusal in the same shape, or is a good token."""
    found = await provider().identify(text)
    assert isinstance(found, Caller) or found.kind is RefusalKind.UNAUTHENTICATED


@settings(max_examples=100, deadline=None)
@given(OBJECTS)
async def test_no_signed_claims_make_an_exception(claims: dict[str, Any]):
    """Claims of any form under a good signature are judged, and never raise."""
    payload = json.dumps(ISSUER.claims() | claims).encode()
    found = await provider().identify(ISSUER.sign(payload))
    assert isinstance(found, Caller) or found.kind is RefusalKind.UNAUTHENTICATED
