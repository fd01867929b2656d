"""Prefixes of imported keys that the settings declare."""

import pytest

from authz.core.errors import BadInput
from authz.core.keys.keyring import Keyring
from tests.support.fakes import make_pepper

PEPPERS = [make_pepper("1")]
RING = Keyring("ak", PEPPERS, [], ["sk-", "cust_"])


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("sk-01234", True),
        ("sk-0123", False),
        ("cust_123", True),
        ("cust-0123456", False),
        ("cust-01234567890", True),
        ("sk-0123 ", False),
        ("SK-01234", False),
        ("sk-" + "0" * 254, False),
    ],
)
def test_short_texts_need_the_prefix(text, taken):
    """With a declared prefix 8 characters are enough, without one 16 are needed."""
    assert (RING.parse_imported(text) is not None) is taken


def test_declared_texts_are_claimed():
    """A text with a declared prefix counts as ours, and native keys still do."""
    assert RING.claims("sk-")
    assert RING.claims("ak_")
    assert RING.declares("cust_")
    assert not RING.declares("ak_live_")
    assert not RING.claims("sk_")
    assert not Keyring("ak", PEPPERS).declares("sk-")


@pytest.mark.parametrize("prefix", ["", "a", "a b", "x" * 33, "ak_", "ak_live_", "ak", "ak_prod_"])
def test_a_prefix_that_cannot_be_declared(prefix):
    """A prefix that is too short, of another alphabet or ours is refused by name of its setting."""
    with pytest.raises(BadInput, match=r"keys\.imported_prefixes"):
        Keyring("ak", PEPPERS, [], [prefix])


def test_a_key_and_its_hash():
    """The hash of a key leads to the same digests as the key itself, and shows nothing."""
    text = "sk-0123456789abcdef"
    key = RING.parse_imported(text)
    assert len(set(key.all_digests())) == 2
    assert [digest for _, digest in key.hashed().digests()] == list(key.all_digests())[1:]
    assert repr(key.hashed()) == "ImportedHash()"
