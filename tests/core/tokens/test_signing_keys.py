"""Signing keys: which one signs, and which ones verify, at any time."""

from hypothesis import given
from hypothesis import strategies as st

from authz.core.tokens.signing_keys import KEPT_MS, ordered, signer, verifying
from authz.core.tokens.text import LEEWAY, MAX_LIFETIME
from tests.support.fakes import NOW, make_keyring
from tests.support.tokens import signing_key

STARTS = st.lists(st.integers(0, 5_000_000), min_size=1, max_size=6, unique=True)
ENTRIES = make_keyring("ak", "1", "2").signing_entries


@given(starts=STARTS, now=st.integers(0, 8_000_000))
def test_a_token_is_verified_until_it_expires(starts, now):
    """The key that signs at any moment verifies from then until its longest token has expired."""
    keys = ordered(signing_key(f"key{at}", signs_from=at) for at in starts)
    signs = signer(keys, now)

    if signs is None:
        assert now < min(starts)
    else:
        assert signs.signs_from == max(at for at in starts if at <= now)
        for later in (0, MAX_LIFETIME * 1000, (MAX_LIFETIME + LEEWAY) * 1000 - 1):
            assert signs in verifying(keys, now + later)
    for key in keys:  # published before it signs
        if key.signs_from > now:
            assert key in verifying(keys, now)


def test_a_replaced_key_ends():
    """A key stops to verify 15 and a half minutes after its successor began."""
    first, second = signing_key("a", signs_from=0), signing_key("b", signs_from=1000)

    assert verifying((first, second), 1000 + KEPT_MS - 1) == (first, second)
    assert verifying((first, second), 1000 + KEPT_MS) == (second,)


@given(created=st.integers(0, 1 << 50), starts=st.integers(0, 1 << 50))
def test_an_entry_survives_the_way_there_and_back(created, starts):
    """Each key is read as it was written, under the pepper that it names."""
    for pepper in ("1", "2"):
        key = signing_key(created_at=created, signs_from=starts, pepper=pepper)
        assert ENTRIES.read(key.key_id, ENTRIES.write(key)) == key


def test_unreadable_entries_are_left_out():
    """The other keys are read, in the order in which they sign."""
    late, early = signing_key("late", signs_from=NOW + 1), signing_key("early")
    entries = {key.key_id: ENTRIES.write(key) for key in (late, early)} | {"bad": "1:2:3"}

    assert ENTRIES.read_all(entries) == (early, late)
