"""Keyring with older prefixes."""

import pytest

from authz.core.errors import BadInput
from authz.core.keys.keyring import Keyring
from tests.support.fakes import make_pepper

PEPPERS = [make_pepper("1")]
OLD = Keyring("ak", PEPPERS)
NEW = Keyring("zz", PEPPERS, ["ak", "old1"])


def test_keys_of_each_prefix_are_parsed():
    """Old and new keys prove themselves. A new key has the new prefix."""
    for ring in (OLD, NEW):
        minted = ring.mint("live")
        presented = NEW.parse(minted.text)
        assert presented is not None
        assert (presented.kid, presented.flaw()) == (minted.kid, None)
    assert NEW.mint("test").text.startswith("zz_test_")


def test_an_older_prefix_is_ours_in_every_way():
    """Its texts are claimed, found inside others, and never taken for imported keys."""
    text = OLD.mint("live").text
    assert NEW.claims(text)
    assert NEW.claims("old1_")
    assert NEW.shows_key(f"Token {text}")
    assert NEW.parse_imported(text[:-3]) is None
    assert Keyring("zz", PEPPERS).parse_imported(text) is not None


def test_a_bad_older_prefix_is_refused():
    """The error is that of keys.prefix."""
    with pytest.raises(BadInput, match=r"keys\.prefix"):
        Keyring("zz", PEPPERS, ["A_"])
