"""Key text: what is minted, what is read, what is proven, and what is never shown."""

import pprint
import re
import string
import zlib
from collections import UserDict

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from authz.core import changes, keys
from authz.core.changes import Author, KeySpec
from authz.core.errors import BadInput
from authz.core.keys import BASE62, Keyring, Pepper, base62, hkdf_sha256, matches
from authz.flows.lifecycle import Changed
from tests.core.key_reference import to_base62
from tests.fakes import (
    DAY,
    KID,
    NOW,
    issue_record,
    make_keyring,
    make_pepper,
    make_request,
)

SECRET = b"a secret of a pepper, 32 bytes.."


def whole(text):
    """`text` with a right checksum."""
    return text + to_base62(zlib.crc32(text.encode()), 6)


def is_refused(keyring, text, digest):
    """Is `text` neither well-shaped and whole, nor the key of `digest`?"""
    presented = keyring.parse(text)
    if presented is None:
        return True
    return not presented.is_whole() and not matches(presented.digest(), digest)


# mint and parse


@pytest.mark.parametrize("env", ["live", "test"])
@pytest.mark.parametrize("prefix", ["ak", "a1", "acme12345678"])
def test_format(prefix, env):
    """Key text is `{prefix}_{env}_{kid}_{pepper}{secret43}{tag11}{checksum6}` in base62."""
    minted = make_keyring(prefix, "3").mint(env)

    shape = (
        rf"{prefix}_{env}_([0-9A-Za-z]{{16}})_3[0-9A-Za-z]{{43}}[0-9A-Za-z]{{11}}[0-9A-Za-z]{{6}}"
    )
    assert re.fullmatch(shape, minted.text)[1] == minted.kid
    assert minted.text[-6:] == to_base62(zlib.crc32(minted.text[:-6].encode()), 6)


@given(st.sampled_from(["live", "test"]), st.sampled_from([None, KID, "0" * 16, "z" * 16]))
def test_round_trip(env, kid):
    """What is minted is read back, whole and genuine, with the digest that was stored."""
    keyring = make_keyring()

    minted = keyring.mint(env, kid)
    presented = keyring.parse(minted.text)

    assert (presented.kid, presented.env, presented.pepper_version) == (minted.kid, env, "1")
    assert kid is None or minted.kid == kid
    assert presented.is_whole()
    assert presented.is_genuine()
    assert matches(presented.digest(), minted.digest)


def test_every_mint_is_new():
    """Two keys, or two secrets of one key, have nothing secret in common."""
    keyring = make_keyring()

    texts = [keyring.mint("live", KID).text for _ in range(100)]
    kids = {keyring.mint("live").kid for _ in range(100)}

    assert len({text[26:69] for text in texts}) == 100
    assert len(kids) == 100


@pytest.mark.parametrize("env", ["", "prod", "LIVE", "live_", "live\n"])
def test_mint_refuses_an_unknown_environment(env):
    """There are two environments."""
    with pytest.raises(BadInput, match="live, test"):
        make_keyring().mint(env)


# what is refused


def test_every_change_of_one_character_is_refused():
    """Any character of a key replaced by any other leaves nothing that is whole or matches."""
    keyring = make_keyring()
    minted = keyring.mint("live")
    others = BASE62 + "_-.,!= \n\t\0\u00e9\u0661\uff11\u212a"

    survivors = [
        text
        for i in range(len(minted.text))
        for other in others
        if (text := minted.text[:i] + other + minted.text[i + 1 :]) != minted.text
        and not is_refused(keyring, text, minted.digest)
    ]

    assert not is_refused(keyring, minted.text, minted.digest)
    assert survivors == []


@given(st.data())
def test_every_other_edit_is_refused(data):
    """A key with characters cut out, put in or swapped is not that key, nor another."""
    keyring = make_keyring()
    minted = keyring.mint("live")
    begin = data.draw(st.integers(0, len(minted.text)))
    end = data.draw(st.integers(begin, len(minted.text)))
    middle = data.draw(
        st.one_of(
            st.text(max_size=8),
            st.text(
                string.ascii_letters + string.digits, min_size=end - begin, max_size=end - begin
            ),
            st.just(minted.text[begin:end][::-1]),
        )
    )
    edited = minted.text[:begin] + middle + minted.text[end:]

    assert edited == minted.text or is_refused(keyring, edited, minted.digest)


@given(st.text(max_size=300))
def test_any_text_can_be_read(text):
    """Parsing never raises, and garbage is no key."""
    keyring = make_keyring()

    assert keyring.parse(text) is None
    assert keyring.parse(f"ak_live_{KID}_1{text}") is None


@given(st.text(BASE62, min_size=61, max_size=61), st.sampled_from(["1", "2"]))
def test_a_forged_key_with_a_right_checksum_has_no_tag(tail, version):
    """Anyone can make a checksum; only who has the pepper can make a tag."""
    forged = make_keyring().parse(whole(f"ak_live_{KID}_{version}{tail[:54]}"))

    assert forged.is_whole()
    assert not forged.is_genuine()


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text + "\n",
        lambda text: text + " ",
        lambda text: " " + text,
        lambda text: text + "\0",
        lambda text: f"{text},{text}",
        lambda text: text.upper(),
        lambda text: "ak" + text,
        lambda text: "a" + text[2:],
        lambda text: "AK" + text[2:],
        lambda text: "ak2" + text[2:],
        lambda text: "\u0430k" + text[2:],
        lambda text: text.replace("_live_", "_prod_"),
        lambda text: text.replace("_live_", "_Live_"),
        lambda text: text.replace("_live_", "__"),
        lambda text: text.replace(KID, "\u0661" * 16),
        lambda text: text.replace(KID, KID[:-1] + "\u00e9"),
        lambda text: text.replace(KID, KID[:-1]),
        lambda text: text[:-1] + "\uff10",
        lambda text: text + "0" * (257 - len(text)),
        lambda text: text + "0" * (59 * 1024),
        lambda text: text * 100_000,
        lambda _: "",
    ],
)
def test_reading_is_strict(edit):
    """One alphabet, exact lengths, nothing trimmed, nothing folded."""
    keyring = make_keyring()
    text = keyring.mint("live", KID).text

    assert keyring.parse(text) is not None
    assert keyring.parse(edit(text)) is None


def test_claims_what_begins_with_the_prefix():
    """What begins with the prefix and an underscore is ours to judge, well-formed or not."""
    keyring = make_keyring()

    assert keyring.claims("ak_garbage")
    assert keyring.claims(keyring.mint("test").text)
    assert not any(map(keyring.claims, ["", "ak", "akk_live_", "AK_live_", " ak_live_", "xak_"]))


# peppers


def test_the_newest_pepper_mints_and_all_verify():
    """Keys made before a new pepper go on, keys made after it carry its version."""
    old = make_keyring("ak", "1").mint("live")
    keyring = make_keyring("ak", "1", "2")

    new = keyring.mint("live")

    assert keyring.newest_version == new.pepper_version == "2"
    for minted in (old, new):
        presented = keyring.parse(minted.text)
        assert presented.is_genuine()
        assert matches(presented.digest(), minted.digest)


def test_newest_is_the_last_configured_not_the_greatest():
    """Version characters name peppers; they do not order them."""
    assert make_keyring("ak", "z", "1").mint("live").pepper_version == "1"


def test_an_unknown_pepper_version_proves_nothing():
    """A key of a pepper that is not configured is whole, not genuine, and matches no digest."""
    minted = make_keyring("ak", "2").mint("live")

    presented = make_keyring("ak", "1").parse(minted.text)

    assert presented.pepper_version == "2"
    assert presented.is_whole()
    assert not presented.is_genuine()
    assert presented.digest() == b""
    assert not matches(presented.digest(), minted.digest)
    assert not matches(presented.digest(), b"")


def test_another_pepper_of_the_same_version_proves_nothing():
    """A pepper is its bytes, not its version."""
    minted = make_keyring().mint("live")

    presented = Keyring("ak", [make_pepper("1", SECRET)]).parse(minted.text)

    assert presented.is_whole()
    assert not presented.is_genuine()
    assert not matches(presented.digest(), minted.digest)


def test_one_pepper_gives_separate_keys():
    """Tag key, digest key and fingerprint of a pepper have nothing in common."""
    pepper = Pepper.expand("1", SECRET)

    assert pepper.tag_key != pepper.digest_key
    assert len(pepper.tag_key) == len(pepper.digest_key) == 32
    assert len(bytes.fromhex(pepper.fingerprint)) == 16
    assert not pepper.tag_key.startswith(bytes.fromhex(pepper.fingerprint))
    assert not pepper.digest_key.startswith(bytes.fromhex(pepper.fingerprint))
    assert Keyring("ak", [pepper]).fingerprints == {"1": pepper.fingerprint}


@pytest.mark.parametrize(
    ("version", "secret"),
    [
        ("", SECRET),
        ("12", SECRET),
        ("_", SECRET),
        ("\u0661", SECRET),
        ("1", SECRET[:31]),
        ("1", b""),
    ],
)
def test_a_pepper_is_checked(version, secret):
    """A version is one base62 character, a pepper has at least 32 bytes."""
    with pytest.raises(BadInput, match="pepper"):
        Pepper.expand(version, secret)


@pytest.mark.parametrize("prefix", ["", "a", "1a", "Ak", "a_k", "a" * 13, "ak\n", "\u0430k", "a.k"])
def test_a_prefix_is_checked(prefix):
    """A prefix is 2 to 12 lower-case letters and digits, a letter first."""
    with pytest.raises(BadInput, match=r"keys\.prefix"):
        make_keyring(prefix)


def test_a_keyring_is_checked():
    """No pepper, or two of one version, is a mistake of configuration."""
    with pytest.raises(BadInput, match="authz init"):
        Keyring("ak", [])
    with pytest.raises(BadInput, match="same version"):
        make_keyring("ak", "1", "1")


# the parts


@given(st.integers(0, 2**256 - 1))
def test_base62_is_what_the_reference_makes(number):
    """43 digits, most significant first, hold any number of 256 bits."""
    text = base62(number, 43)

    assert text == to_base62(number, 43)
    assert sum(BASE62.index(digit) * 62**i for i, digit in enumerate(reversed(text))) == number


@pytest.mark.parametrize(
    ("bits", "width"),
    [(256, keys.SECRET_LENGTH), (64, keys.TAG_LENGTH), (32, keys.CHECKSUM_LENGTH)],
)
def test_the_widths_are_the_least_that_fit(bits, width):
    """Secret, tag and checksum have room for their bits and no digit to spare."""
    assert len(base62(2**bits - 1, width)) == width
    with pytest.raises(ValueError, match="width"):
        base62(2**bits - 1, width - 1)


def test_hkdf_rfc_5869_test_case_3():
    """RFC 5869, appendix A.3: SHA-256, no salt, no info; the first block of its output."""
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"

    assert hkdf_sha256(b"\x0b" * 22, b"").hex() == expected


@given(st.binary(min_size=1), st.binary(), st.integers(1, 32))
def test_hkdf_is_what_another_implementation_makes(secret, info, length):
    """Any secret, info and length up to one block."""
    expected = HKDF(SHA256(), length, salt=None, info=info).derive(secret)

    assert hkdf_sha256(secret, info, length) == expected


@pytest.mark.parametrize(
    ("presented", "stored", "expected"),
    [
        (bytes(32), bytes(32), True),
        (bytes(32), bytes(31) + b"\1", False),
        (b"", b"", False),
        (b"", bytes(32), False),
        (bytes(32), b"", False),
        (bytes(31), bytes(31), False),
        (bytes(33), bytes(33), False),
    ],
)
def test_matches(presented, stored, expected):
    """Only two equal digests of 32 bytes match; an empty one matches nothing."""
    assert matches(presented, stored) is expected


# what is never shown


def shown_forms(thing):
    """Every way in which a log or a message could come to show a thing."""
    forms = [repr(thing), str(thing), f"{thing}", f"{thing!a}", "%s" % (thing,)]  # noqa: UP031
    return " ".join([*forms, pprint.pformat(thing), repr([thing]), repr({"thing": thing})])


class Headers(UserDict):
    """Headers whose bound `get` shows them, as that of any class written in Python does."""


def secret_parts(minted, pepper):
    """Everything that must not be seen: key text, its body, its digest, the keys of the pepper."""
    body = minted.text.rpartition("_")[2]
    hidden = [minted.digest, pepper.tag_key, pepper.digest_key, b"1" * 32]
    return [minted.text, body, body[1:44], *map(repr, hidden), *(raw.hex() for raw in hidden)]


def test_nothing_shows_a_secret():
    """No form of any value shows key text, a digest or a pepper."""
    keyring, pepper = make_keyring(), make_pepper()
    record, _ = issue_record(keyring)
    minted = keyring.mint("live", record.kid)
    presented = keyring.parse(minted.text)
    author = Author("change-1", "alice")
    change = changes.rotate(record, minted, DAY, author, NOW)
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
    things = [
        pepper,
        keyring,
        minted,
        presented,
        change,
        change.record,
        change.record.newest_secret,
        change.event,
        changes.issue(spec, minted, author, NOW),
        make_request(
            credential=presented,
            path=f"/v1/models?api_key={minted.text}",
            header=Headers({"x-api-key": minted.text}).get,
        ),
        Changed(change.record, minted.text),
    ]

    seen = [
        (type(thing).__name__, part)
        for thing in things
        for part in secret_parts(minted, pepper)
        if part in shown_forms(thing)
    ]

    assert seen == []
    assert minted.text in shown_forms(minted.text)  # the search itself finds what is there
    assert repr(minted.digest) in shown_forms([minted.digest])


def test_public_parts_are_shown():
    """What stands in a log can be told apart: the kid is public."""
    keyring = make_keyring()
    record, text = issue_record(keyring)

    assert repr(keyring.parse(text)) == f"Presented(kid='{record.kid}')"
    assert repr(Changed(record, text)) == f"Changed(kid='{record.kid}', version=1)"
