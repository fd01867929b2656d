"""The rights of a token are never more, and never longer, than those of its key."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from authz.core.policy import judge
from authz.core.records import Secret
from authz.core.request import Route
from authz.core.scopes import are_held
from authz.core.tokens.presented import AcceptedToken
from authz.core.tokens.rights import effective, expiry, narrowed
from authz.core.tokens.text import MAX_LIFETIME
from tests.support.fakes import KID, NOW, make_record, make_request

SCOPE = st.sampled_from(["*", "a:*", "b:*", "a:r", "a:w", "b:r", "a:r:x", "a:r:*", "c"])
SCOPES = st.frozensets(SCOPE, max_size=5)
TIME = st.none() | st.integers(NOW - 10_000, NOW + 2_000_000)
SECRET = Secret("2", bytes(range(32, 64)), "1", NOW)


def token(**overrides):
    """Return an accepted token of the key KID."""
    fields = {
        "id": "j" * 27,
        "kid": KID,
        "secret_id": "1",
        "scopes": frozenset(),
        "expires_at": NOW + 300_000,
        "signed_by": "k",
    }
    return AcceptedToken(**fields | overrides)


@given(wanted=st.integers(1, 1 << 40), expires=TIME, retires=TIME, now=st.integers(NOW, NOW + 999))
def test_a_token_never_outlives_its_bounds(wanted, expires, retires, now):
    """The end is at most 15 minutes away, and not after the key's end nor the secret's."""
    first = replace(make_record().newest_secret, retires_at=retires)
    record = make_record(expires_at=expires, secrets=(first, SECRET))
    end = expiry(record, "1", wanted, now)

    assert end - now // 1000 <= min(wanted, MAX_LIFETIME)
    assert expires is None or end * 1000 <= expires
    assert retires is None or end * 1000 <= retires
    assert expiry(record, "2", wanted, now) == expiry(
        replace(record, secrets=(SECRET,)), "2", wanted, now
    )


@given(held=SCOPES, wanted=st.none() | SCOPES, required=SCOPES)
def test_a_new_token_never_has_more_scopes_than_its_key(held, wanted, required):
    """If a token covers required scopes, its key covers them, too."""
    found = narrowed(wanted, held)

    if found is not None and are_held(required, found):
        assert are_held(required, held)


@given(key=SCOPES, scopes=SCOPES, required=SCOPES)
def test_a_route_needs_the_scopes_of_key_and_token(key, scopes, required):
    """The policy allows exactly if the key and the token both hold what the route requires.

    The scopes that the backend gets are those of neither alone.
    """
    record, given_token = make_record(scopes=key), token(scopes=scopes)
    request = make_request(token=given_token, route=Route(scopes=required))
    refusal = judge(record, given_token.proof(record), request, NOW)

    assert (refusal is None) == (are_held(required, key) and are_held(required, scopes))
    shown = effective(key, scopes)
    assert are_held(shown, key)
    assert are_held(shown, scopes)
    assert are_held(required, shown) == (refusal is None)


def test_a_token_of_another_secret_id_proves_nothing():
    """A token whose secret the record no longer has matches no secret."""
    record = make_record()

    assert token(secret_id="9").proof(record).digest() == b""
    assert token().proof(record).digest() == record.newest_secret.digest
