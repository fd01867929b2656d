"""Key text: what is minted, what is read, and what is proven."""

import re
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.keys import base62
from authz.core.keys.credentials import matches
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from tests.support.core.key_reference import from_base62, to_base62
from tests.support.fakes import KID, make_keyring, make_pepper

SECRET = b"a secret of a pepper, 32 bytes.."


def whole(text):
    """`text` with a right checksum."""
    return text + to_base62(zlib.crc32(text.encode()), 6)


def is_refused(keyring, text, digest):
    """Return whether `text` has a wrong shape, a flaw, or another digest."""
    presented = keyring.parse(text)
    if presented is None:
        return True
    return presented.flaw() == "checksum" and not matches(presented.digest(), digest)


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
    """A minted key is parsed again, without a flaw and with the stored digest."""
    keyring = make_keyring()

    minted = keyring.mint(env, kid)
    presented = keyring.parse(minted.text)

    assert (presented.kid, presented.env, presented.pepper_version) == (minted.kid, env, "1")
    assert kid is None or minted.kid == kid
    assert presented.flaw() is None
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
    """An environment other than live and test is refused."""
    with pytest.raises(BadInput, match="live, test"):
        make_keyring().mint(env)


# what is refused


def test_every_change_of_one_character_is_refused():
    """Any character of a key replaced by any other leaves nothing that is whole or matches."""
    keyring = make_keyring()
    minted = keyring.mint("live")
    others = base62.DIGITS + "_-.,!= \n\t\0\u00e9\u0661\uff11\u212a"

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


@pytest.mark.parametrize("beyond", [lambda tag: tag + 2**64, lambda _tag: 62**11 - 1])
def test_a_tag_of_more_than_64_bits_is_none(beyond):
    """Eleven digits have room for more than a tag: it is not cut off to the right one."""
    text = make_keyring().mint("live").text
    body, tag = text[:-17], text[-17:-6]

    forged = make_keyring().parse(whole(body + to_base62(beyond(from_base62(tag)), 11)))

    assert forged.flaw() == "tag"


@given(st.text(base62.DIGITS, min_size=61, max_size=61), st.sampled_from(["1", "2"]))
def test_a_forged_key_with_a_right_checksum_has_no_tag(tail, version):
    """Anyone can make a checksum; only who has the pepper can make a tag."""
    forged = make_keyring().parse(whole(f"ak_live_{KID}_{version}{tail[:54]}"))

    assert forged.flaw() == "tag"


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
    """Parsing accepts one alphabet and exact lengths, and neither trims nor folds."""
    keyring = make_keyring()
    text = keyring.mint("live", KID).text

    assert keyring.parse(text) is not None
    assert keyring.parse(edit(text)) is None


def test_claims_what_begins_with_the_prefix():
    """Text that begins with the prefix and an underscore counts as ours, well-formed or not."""
    keyring = make_keyring()

    assert keyring.claims("ak_garbage")
    assert keyring.claims(keyring.mint("test").text)
    assert not any(map(keyring.claims, ["", "ak", "akk_live_", "AK_live_", " ak_live_", "xak_"]))


# peppers


def test_the_newest_pepper_mints_and_all_verify():
    """Older keys stay valid with a new pepper, and new keys carry its version."""
    old = make_keyring("ak", "1").mint("live")
    keyring = make_keyring("ak", "1", "2")

    new = keyring.mint("live")

    assert new.pepper_version == "2"
    for minted in (old, new):
        presented = keyring.parse(minted.text)
        assert presented.flaw() is None
        assert matches(presented.digest(), minted.digest)


def test_newest_is_the_last_configured_not_the_greatest():
    """Version characters name peppers; they do not order them."""
    assert make_keyring("ak", "z", "1").mint("live").pepper_version == "1"


def test_an_unknown_pepper_version_proves_nothing():
    """A key of a pepper that is not configured is whole, not genuine, and matches no digest."""
    minted = make_keyring("ak", "2").mint("live")

    presented = make_keyring("ak", "1").parse(minted.text)

    assert presented.pepper_version == "2"
    assert presented.flaw() == "tag"
    assert presented.digest() == b""
    assert not matches(presented.digest(), minted.digest)
    assert not matches(presented.digest(), b"")


def test_another_pepper_of_the_same_version_proves_nothing():
    """Another pepper of the same version proves no key."""
    minted = make_keyring().mint("live")

    presented = Keyring("ak", [make_pepper("1", SECRET)]).parse(minted.text)

    assert presented.flaw() == "tag"
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
