"""The text of tokens: other JOSE libraries read it, and no other text is accepted."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from authz.core.tokens import text
from tests.core.tokens.attacks import run
from tests.support.fakes import KID, make_keyring
from tests.support.tokens import (
    AUDIENCE,
    ISSUER,
    KEY_ID,
    SECONDS,
    claims,
    issue,
    signing_key,
)

RING = make_keyring(issuer=ISSUER)


def test_none_of_the_attacks_is_accepted():
    """Of 5,000 bad tokens none is accepted."""
    tried, accepted = run(5000, seed=1)

    assert accepted == []
    assert sum(tried.values()) == 5000
    assert len(tried) >= 8


def test_another_library_verifies_our_token_by_the_key_set_alone():
    """joserfc accepts the token with the published key, and reads the same claims (RFC 9068)."""
    key = ECKey.import_key(signing_key().as_jwk())
    found = jwt.decode(issue(RING, claims()), key, algorithms=["ES256"])

    assert found.header == {"alg": "ES256", "kid": KEY_ID, "typ": "at+jwt"}
    jti = found.claims.pop("jti")
    assert len(jti) == text.JTI_LENGTH
    assert found.claims == {
        "iss": ISSUER,
        "sub": KID,
        "client_id": "acme-web",
        "aud": AUDIENCE,
        "scope": "a:read",
        "iat": SECONDS,
        "nbf": SECONDS,
        "exp": SECONDS + 300,
        "sid": "1",
    }


@given(
    scopes=st.frozensets(st.from_regex(r"[a-z]{1,8}:[a-z*]{1,4}", fullmatch=True), max_size=20),
    client=st.from_regex(r"[A-Za-z0-9._:@|/+-]{1,40}", fullmatch=True),
    seconds=st.integers(1, 10**12 - 1),
)
def test_claims_survive_the_way_there_and_back(scopes, client, seconds):
    """The parsed claims are those that were written, with the tag added to the id."""
    wanted = claims(scopes=scopes, client_id=client, issued_at=seconds)
    parts = text.split(issue(RING, wanted))
    found = text.parse_claims(parts.claims)

    assert text.is_ours(parts, RING.token_tags)
    assert found.token_id.startswith(wanted.token_id)
    assert found._replace(token_id="") == wanted._replace(token_id="")


@given(st.binary(max_size=300))
def test_claims_have_one_text(raw):
    """Bytes are read as claims only if they are the text that we write for these claims."""
    assert text.parse_claims(raw) is None


@given(at=st.integers(0, 230), put=st.sampled_from(' \n\\"{},:0-é\x00'))
@example(at=109, put=" ")
def test_another_character_in_claims_is_never_the_same_claims(at, put):
    """One more character makes other claims or none, so no two texts are read alike."""
    right = text.split(issue(RING, claims())).claims.decode()
    changed = (right[:at] + put + right[at:]).encode("latin-1")
    found = text.parse_claims(changed)

    assert found is None or found != text.parse_claims(right.encode())


@given(st.binary(max_size=300))
def test_base64url_is_canonical(raw):
    """A text has one reading, and its bytes have no other text."""
    assert text.decoded(text.encoded(raw)) == (raw or None)


@pytest.mark.parametrize("bad", ["", "A", "A=", "AB==", "AA", "QR", "a b", "a+b/", "é", "AAA\n"])
def test_other_base64_is_refused(bad):
    """Padding, the other alphabet, unused bits and blanks make no bytes, but `AA` is one."""
    assert text.decoded(bad) == (b"\0" if bad == "AA" else None)


def test_the_beginning_names_the_issuer():
    """All tokens of an issuer begin alike, whatever key signs them, and those of others do not."""
    start = text.token_start(ISSUER)

    assert len(start) == 40
    for number in range(20):
        key_id = text.new_key_id(ISSUER, f"change {number}")
        assert len(key_id) == text.KEY_ID_LENGTH
        assert text.header_text(key_id).startswith(start)
        assert json.loads(text.decoded(text.header_text(key_id)))["kid"] == key_id
    assert not text.header_text(text.new_key_id("https://other.example", "change 1")).startswith(
        start
    )


def test_a_longer_text_than_any_token_is_none():
    """A text of 4,096 characters that begins as our tokens do is taken for one, a longer is not."""
    ring = make_keyring(issuer=ISSUER)
    longest = text.token_start(ISSUER).ljust(4096, "A")

    assert ring.parse_token(longest) is not None
    assert ring.parse_token(longest + "A") is None
