"""Seeds: the secret of a repeatable request follows from the seed and the pepper."""

import pytest

from authz.core.errors import Unavailable
from authz.core.keys.keyring import Keyring
from authz.core.keys.minting import mint
from authz.core.keys.seed import Seed
from authz.core.keys.text import KID_PATTERN
from authz.core.new_keys import KeySpec
from tests.support.fakes import KID, make_keyring, make_pepper

SEED = Seed(bytes(range(32)), "1")
SPEC = KeySpec(client_id="acme", env="live", life_ms=None)


def test_the_same_seed_gives_the_same_key():
    """Text, kid and change id are the same each time, and the key is a good one."""
    keyring = make_keyring()
    one, two = mint(keyring, SPEC, SEED), mint(keyring, SPEC, SEED)
    assert (one.kid, one.text, one.digest) == (two.kid, two.text, two.digest)
    assert KID_PATTERN.fullmatch(one.kid)
    presented = keyring.parse(one.text)
    assert presented.flaw() is None
    assert presented.digest() == one.digest
    assert keyring.change_id(SEED) == keyring.change_id(SEED)


def test_seed_and_pepper_both_count():
    """Another seed gives another secret, and so does another pepper."""
    keyring = make_keyring()
    other = Keyring("ak", [make_pepper("1", b"another pepper, of 32 bytes ....")])
    texts = {
        keyring.mint_repeatably("live", SEED, KID).text,
        keyring.mint_repeatably("live", Seed(bytes(32), "1"), KID).text,
        other.mint_repeatably("live", SEED, KID).text,
    }
    assert len(texts) == 3


def test_parts_do_not_repeat():
    """Secret, kid and change id are derived apart: the public ones tell nothing of the secret."""
    pepper = make_pepper("1")
    assert SEED.secret(pepper)[:16].hex() != SEED.change_id(pepper)


def test_an_older_pepper_stays_good():
    """A seed from before a new pepper gives the same text; without that pepper it gives none."""
    old, new = make_pepper("1"), make_pepper("2")
    before = mint(Keyring("ak", [old]), SPEC, SEED)
    assert mint(Keyring("ak", [old, new]), SPEC, SEED).text == before.text
    with pytest.raises(Unavailable, match="lacks the pepper"):
        mint(Keyring("ak", [new]), SPEC, SEED)


def test_a_seed_is_not_shown():
    """The text of a seed does not have its bytes."""
    assert repr(SEED) == "Seed(pepper_version='1')"
