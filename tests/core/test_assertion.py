"""Assertions: their claims, and the id of their key."""

import json

from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from authz.core.assertion import (
    KEY_ID_LENGTH,
    LIFETIME,
    TYPE,
    assertion_claims,
    assertion_key_id,
    unsigned_assertion,
)
from authz.core.tokens.presented import AcceptedToken
from authz.core.tokens.signing_keys import public_jwk
from authz.core.tokens.text import decoded
from authz.identity.es256 import ORDER, PrivateKey
from tests.support.fakes import KID, NOW, make_keyring, make_record


def test_the_claims_are_those_of_the_key():
    """An assertion names key, client, project, tenant, environment and scopes, for 60 seconds."""
    record = make_record(project_id="search", tenant_id="acme", scopes=frozenset({"b", "a:*"}))

    assert assertion_claims(record, None, "orders", NOW) == {
        "aud": "orders",
        "sub": KID,
        "client_id": record.client_id,
        "project_id": "search",
        "tenant_id": "acme",
        "env": record.env,
        "scope": "a:* b",
        "iat": NOW // 1000,
        "exp": NOW // 1000 + LIFETIME,
    }


def test_a_token_narrows_the_scopes_and_is_named():
    """The scopes are those that key and token both hold; members without a value are left out."""
    record = make_record(scopes=frozenset({"a:*", "b"}))
    token = AcceptedToken("one", KID, "1", frozenset({"a:r", "c"}), NOW + 1000, "k")
    claims = assertion_claims(record, token, "orders", NOW)

    assert (claims["scope"], claims["tid"]) == ("a:r", "one")
    assert not {"project_id", "tenant_id"} & claims.keys()


def test_the_text_to_sign_is_header_and_claims():
    """The header names algorithm, key and type, and nothing that a verifier could follow."""
    header, claims = unsigned_assertion("k", {"aud": "é"}).split(".")

    assert json.loads(decoded(header)) == {"alg": "ES256", "kid": "k", "typ": TYPE}
    assert json.loads(decoded(claims)) == {"aud": "é"}


@given(seed=st.binary(min_size=32, max_size=32))
def test_a_seed_has_one_key(seed):
    """The key of a seed is valid and always the same, and its id is its thumbprint's beginning."""
    key, again = PrivateKey.derived(seed), PrivateKey.derived(seed)
    jwk = public_jwk("", key.x, key.y)

    assert (key.x, key.y, key.secret()) == (again.x, again.y, again.secret())
    assert 0 < int.from_bytes(key.secret()) < ORDER
    assert assertion_key_id(key.x, key.y) == ECKey.import_key(jwk).thumbprint()[:KEY_ID_LENGTH]


def test_no_other_key_of_a_pepper_is_the_seed():
    """The seed is expanded from the pepper for this use alone."""
    ring = make_keyring()
    others = {*ring.signing_seal_keys.values(), *ring.backup_keys, *ring.page_keys}

    assert not others & set(ring.assertion_seeds)
