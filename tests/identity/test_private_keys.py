"""Private halves of signing keys: sealed for one key and one pepper."""

import pytest

from authz.core.errors import Unreadable
from authz.identity.es256 import ORDER, PrivateKey, verifier
from authz.identity.private_keys import PrivateKeys
from tests.support.fakes import make_keyring
from tests.support.tokens import PRIVATE, signing_key

KEYS = PrivateKeys(make_keyring("ak", "1", "2").signing_seal_keys)
OTHER = PrivateKey.of(b"\x0c" * 32)


def test_a_sealed_key_signs_as_before():
    """The opened half signs so that the public half verifies it."""
    public = signing_key()
    opened = KEYS.open(KEYS.seal(PRIVATE, public), public)

    assert verifier(public.x, public.y)(b"text", opened.sign(b"text"))
    assert not verifier(public.x, public.y)(b"other", opened.sign(b"text"))


@pytest.mark.parametrize(
    "change",
    [
        lambda sealed: None,
        lambda sealed: "",
        lambda sealed: sealed[:-1],
        lambda sealed: sealed[:-4] + "AAAA",
        lambda sealed: "2" + sealed[1:],
        lambda sealed: "3" + sealed[1:],
        lambda sealed: KEYS.seal(OTHER, signing_key()),
        lambda sealed: KEYS.seal(PRIVATE, signing_key("other")),
    ],
)
def test_any_other_text_is_unreadable(change):
    """A half that is missing, damaged, of another key or under another pepper is not opened."""
    public = signing_key()

    with pytest.raises(Unreadable):
        KEYS.open(change(KEYS.seal(PRIVATE, public)), public)


def test_nothing_shows_the_secret():
    """The sealed text and each repr are without the secret number."""
    sealed = KEYS.seal(PRIVATE, signing_key())

    assert PRIVATE.secret().hex() not in repr(PRIVATE) + repr(signing_key())
    assert "BwcHBw" not in sealed


def test_a_signature_has_one_form():
    """Every signature has the smaller s, and the larger one is refused."""
    verify = verifier(PRIVATE.x, PRIVATE.y)
    for at in range(20):
        signature = PRIVATE.sign(b"%d" % at)
        s = int.from_bytes(signature[32:])
        assert s <= ORDER // 2
        assert verify(b"%d" % at, signature)
        assert not verify(b"%d" % at, signature[:32] + (ORDER - s).to_bytes(32))


def test_a_point_that_is_not_on_the_curve_is_no_key():
    """An invalid curve point is refused before it verifies anything."""
    with pytest.raises(Unreadable):
        verifier(b"\x01" * 32, b"\x02" * 32)
