"""The text of publishable keys, and texts of other systems that begin like it."""

import pytest

from authz.core.errors import BadInput
from authz.core.keys.keyring import Keyring
from tests.support.fakes import make_pepper

PEPPERS = [make_pepper("1")]
RING = Keyring("ak", PEPPERS)
PUBLIC = RING.mint("live", public=True).text
OF_ANOTHER_SYSTEM = "pk_live_51H8aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"


@pytest.mark.parametrize("env", ["live", "test"])
def test_it_begins_with_a_prefix_of_its_own(env):
    """The text says that the key is publishable, and proves itself like every key."""
    minted = RING.mint(env, public=True)
    presented = RING.parse(minted.text)

    assert minted.text.startswith(f"pk_{env}_")
    assert presented is not None
    assert (presented.kid, presented.env, presented.flaw()) == (minted.kid, env, None)


def test_neither_kind_becomes_the_other():
    """A text whose prefix was replaced is no key: prefix, checksum and tag belong together."""
    secret = RING.mint("live").text

    for text in ("ak" + PUBLIC[2:], "pk" + secret[2:]):
        assert RING.parse(text).flaw() is not None


def test_it_is_claimed_and_no_imported_key():
    """A whole publishable key is ours, after Bearer, too."""
    assert RING.claims(PUBLIC)
    assert RING.claims(f"{PUBLIC}  ")
    assert RING.is_public(PUBLIC)
    assert RING.parse_imported(PUBLIC) is None


def test_it_is_no_secret():
    """A request may show a publishable key anywhere: in a path, in another header."""
    assert not RING.shows_key(f"a {PUBLIC}")
    assert not RING.shows_escaped(PUBLIC.replace("_", "%5F"))


def test_keys_of_other_systems_that_begin_so_stay_theirs():
    """Other vendors have keys that begin with pk_live_: they can be imported, and are not ours."""
    assert RING.parse(OF_ANOTHER_SYSTEM) is None
    assert not RING.claims(OF_ANOTHER_SYSTEM)
    assert RING.parse_imported(OF_ANOTHER_SYSTEM) is not None
    declared = Keyring("ak", PEPPERS, [], ["pk_"])
    assert declared.parse_imported(OF_ANOTHER_SYSTEM) is not None
    assert declared.parse_imported(PUBLIC) is None


@pytest.mark.parametrize("older", [[], ["zz"]])
def test_an_installation_whose_secret_keys_begin_with_pk_keeps_them(older):
    """There the default makes no publishable keys, and every key stays secret."""
    ring = Keyring("pk", PEPPERS, older) if not older else Keyring("ak", PEPPERS, ["pk"])
    text = Keyring("pk", PEPPERS).mint("live").text

    assert ring.parse(text) is not None
    assert not ring.is_public(text)
    assert ring.shows_key(text)
    with pytest.raises(BadInput, match=r"keys\.public_prefix"):
        ring.mint("live", public=True)


def test_another_prefix_can_be_chosen():
    """The settings name the prefix."""
    ring = Keyring("ak", PEPPERS, public_prefix="pub")

    assert ring.mint("live", public=True).text.startswith("pub_live_")
    assert ring.parse(PUBLIC) is None
