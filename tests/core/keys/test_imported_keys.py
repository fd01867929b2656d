"""Keys of somebody else's make: which texts may be one, and what is known of them."""

import hmac
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import new_keys, secret_changes
from authz.core.audit import Action
from authz.core.changes import Author
from authz.core.errors import BadInput
from authz.core.keys.credentials import Alias, Imported
from authz.core.new_keys import KeySpec
from authz.core.policy import judge
from tests.support.core.key_reference import expand
from tests.support.fakes import DAY, KID, NOW, make_keyring, make_record, make_request

RING = make_keyring()
ALPHABET = string.ascii_letters + string.digits + "_.~+/=-"
FOREIGN = "sk-0123456789abcdef"
AUTHOR = Author("c1", "alice", "moving house")


@given(st.text(ALPHABET, min_size=16, max_size=256))
def test_any_text_of_the_alphabet(text):
    """Any 16 to 256 characters of the alphabet may be an imported key, unless they claim ours."""
    claims = text.startswith(("ak_live_", "ak_test_"))
    assert (RING.parse_imported(text) is None) is claims


@given(st.text(max_size=300))
def test_other_texts(text):
    """Text that is too short, too long or of another alphabet is no imported key."""
    fits = 16 <= len(text) <= 256 and set(text) <= set(ALPHABET)
    fits = fits and not text.startswith(("ak_live_", "ak_test_"))
    assert isinstance(RING.parse_imported(text), Imported) is fits


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (RING.mint("live").text, False),
        (RING.mint("test").text, False),
        (RING.mint("live").text[:-1], False),
        ("ak_live_0123456789", False),
        ("ak_live0123456789", True),
        ("ak_prod_0123456789", True),
        ("AK_live_0123456789", True),
        ("xak_live_0123456789", True),
        ("sk_live_0123456789", True),
        (make_keyring("sk").mint("live").text, True),
        ("a" * 15, False),
        ("a" * 16, True),
        ("a" * 256, True),
        ("a" * 257, False),
        (FOREIGN + "\n", False),
        (FOREIGN + ",", False),
        (FOREIGN + " ", False),
        (FOREIGN + "é", False),
        (FOREIGN + "\u0661", False),
        ("a" * 10_000_000, False),
    ],
)
def test_what_looks_like_one(text, taken):
    """A native key never passes for an imported one; look-alikes without our start do."""
    assert (RING.parse_imported(text) is not None) is taken


def test_digests_newest_first():
    """One HMAC-SHA-256 under each pepper, the newest first: what a record would hold."""
    digests = list(make_keyring("ak", "1", "b").parse_imported(FOREIGN).digests())

    assert digests == [
        (version, hmac.digest(expand(secret, b"authz key digest"), FOREIGN.encode(), "sha256"))
        for version, secret in [("b", b"b" * 32), ("1", b"1" * 32)]
    ]


def test_nothing_shows_the_text():
    """An imported key shows nothing of itself, and its alias shows the kid alone."""
    imported = RING.parse_imported(FOREIGN)
    [(_, digest)] = imported.digests()

    assert f"{imported} {imported!r}" == "Imported() Imported()"
    assert repr(Alias(KID, digest)) == f"Alias(kid='{KID}')"
    change = new_keys.import_key(spec(), KID, list(imported.digests()), AUTHOR, NOW)
    assert repr(digest) not in repr(change)
    assert FOREIGN not in repr(change)


def spec(**overrides):
    """The fields of an imported key."""
    return KeySpec(**{"client_id": "acme-web", "env": "live", "life_ms": DAY} | overrides)


def test_import_makes_the_record_that_issue_makes():
    """An import is an issue with somebody else's secret: the same record, another action."""
    minted = RING.mint("live", KID)
    issued = new_keys.issue(spec(), minted, AUTHOR, NOW)
    digests = [("2", minted.digest), ("1", b"o" * 32)]

    imported = new_keys.import_key(spec(), KID, digests, AUTHOR, NOW)

    [secret] = imported.record.secrets
    assert (secret.digest, secret.pepper, secret.id) == (minted.digest, "2", "1")
    assert imported.record.expires_at == issued.record.expires_at == NOW + DAY
    assert imported.record.client_id == "acme-web"
    assert imported.base_version == 0
    assert imported.aliases == (minted.digest, b"o" * 32)
    assert imported.event.action is Action.IMPORT
    assert imported.event.detail == issued.event.detail
    assert issued.aliases == ()


def test_import_of_a_key_that_never_works():
    """A key that would expire before it begins is refused."""
    with pytest.raises(BadInput, match="before it begins"):
        new_keys.import_key(spec(not_before=NOW + 2 * DAY), KID, [("1", b"d" * 32)], AUTHOR, NOW)


def test_the_digest_proves_the_key():
    """An alias opens the record that holds its digest, and no other."""
    [(_, digest)] = RING.parse_imported(FOREIGN).digests()
    change = new_keys.import_key(spec(), KID, [("1", digest)], AUTHOR, NOW)
    alias = Alias(KID, digest)

    assert judge(change.record, alias, make_request(), NOW) is None
    assert judge(make_record(), alias, make_request(), NOW).reason.value == "wrong_secret"


def test_rotation_gives_an_imported_key_a_native_secret():
    """Both secrets open the key during the overlap, the imported one not after it."""
    [(_, digest)] = RING.parse_imported(FOREIGN).digests()
    record = new_keys.import_key(spec(life_ms=None), KID, [("1", digest)], AUTHOR, NOW).record
    minted = RING.mint("live", KID)
    rotated = secret_changes.rotate(record, minted, 1000, AUTHOR, NOW).record
    old, new = Alias(KID, digest), RING.parse(minted.text)

    for presented in (old, new):
        assert judge(rotated, presented, make_request(), NOW + 999) is None
    assert judge(rotated, old, make_request(), NOW + 1000).reason.value == "secret_retired"
    assert judge(rotated, new, make_request(), NOW + 1000) is None
