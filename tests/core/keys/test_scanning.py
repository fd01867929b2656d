"""The search for keys in bytes."""

import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.keys import base62
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.keys.scanning import MAX_READINGS, OVERLAP, KeyScanner, key_pattern
from tests.linear.growth import is_linear

RING = Keyring("ak", [Pepper.expand("1", b"p" * 32)], ["old"])
PUBLIC = RING.mint("live", public=True).text
SCANNER = KeyScanner(("ak", "old"), ("sk-",))
KEYS = [RING.mint(env).text for env in ("live", "test") for _ in range(3)]


def found(data: bytes, scanner: KeyScanner = SCANNER) -> list[str]:
    """Return the texts that are found."""
    return [one.reveal() for one in scanner.find(data, len(data))]


@pytest.mark.parametrize("before", [b"", b"x", b"_", b"ak_", b"\\n", b"%20", b"\x00\xff", b'"'])
@pytest.mark.parametrize("after", [b"", b"x", b"_", b"\x00", b"\\n", b"ak_live_", b"="])
def test_a_key_is_found_between_any_other_bytes(before, after):
    """No character beside a key hides it."""
    assert found(before + KEYS[0].encode() + after) == [KEYS[0]]


def test_a_sighting_holds_no_secret_that_is_shown():
    """Kid and environment are read from the key, and its secret is in no text about it."""
    (one,) = SCANNER.find(KEYS[0].encode(), len(KEYS[0]))
    kid = RING.parse(KEYS[0]).kid
    assert (one.env, one.kid, one.shown) == ("live", kid, f"ak_live_{kid}_...")
    assert KEYS[0][30:] not in repr(one)


def test_a_changed_key_is_not_found():
    """A key with one other character has a wrong checksum."""
    for at in range(len("ak_live_"), len(KEYS[0])):
        if KEYS[0][at] != "_":
            other = "x" if KEYS[0][at] != "x" else "y"
            assert not found((KEYS[0][:at] + other + KEYS[0][at + 1 :]).encode())


def test_a_key_behind_a_damaged_one_is_found():
    """A cut-off key does not hide the key that follows without a gap."""
    for length in range(1, len(KEYS[0])):
        assert found((KEYS[0][:length] + KEYS[1]).encode()) == [KEYS[1]]


def test_older_prefixes():
    """Keys with an older prefix are ours."""
    old = Keyring("old", [Pepper.expand("1", b"p" * 32)]).mint("live").text
    assert found(f"{old} {KEYS[2]}".encode()) == [KEYS[2], old]
    assert not found(old.encode(), KeyScanner(("ak",)))


def test_possible_keys():
    """A text with a declared prefix is possible from 16 characters on, at a word's beginning."""
    text = b'a = "sk-0123456789abcdef", task-0123456789abcdef sk-short'
    (one,) = SCANNER.find(text, len(text))
    assert (one.reveal(), one.shown, one.is_possible) == ("sk-0123456789abcdef", "sk-...", True)


@pytest.mark.parametrize(
    "before",
    ["K=", "https://", "?key=", "-Hx-key:", "(", '"', "a.", "+", "\0", "\\n", "%3D", "%0a"],
)
def test_a_possible_key_after_a_sign(before):
    """A text with a declared prefix is found after = and /, as in a file `.env` and a URL."""
    text = f"{before}sk-0123456789abcdef".encode()
    assert [one.reveal() for one in SCANNER.find(text, len(text))] == ["sk-0123456789abcdef"]


def test_readings_of_a_possible_key():
    """Signs of the text around it may belong to a key or not. The longest reading comes first."""
    key = "sk-0123456789abcdef"
    text = f"{key}/v1/a. {KEYS[0]}. {key}{'.a' * 90}".encode()
    first, many, ours = sorted(SCANNER.find(text, len(text)), key=lambda one: (one.kid, one.start))
    assert first.readings == (f"{key}/v1/a.", f"{key}/v1/a", f"{key}/v1", key)
    assert (many.readings[0], many.readings[-1]) == (f"{key}{'.a' * 90}", key)
    assert len(many.readings) <= MAX_READINGS
    assert ours.readings == (KEYS[0],)


@pytest.mark.parametrize(
    "key", ["sk-0123456789abcdef", "sk-0123456789abcde==", "sk-a+b/c.d~0123456789abc="]
)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        *(
            ("It is ", after)
            for after in ("", ".", "...", "/v1", "/v1/keys/a.b/c.d", "=", "~", "+")
        ),
        ("https://x/", "/v1/k?a=b"),
        ("https://x/sk-service/v1/keys/", "/x"),
        ("sk-aaaaaaaaaaaaaaaa/", ""),
        ("sk-a/", "."),
        ("/sk-/sk-a=", "."),
        ("/sk-" * 100 + "/", "/sk-" * 100),
    ],
)
def test_a_possible_key_among_signs_and_other_beginnings(key, before, after):
    """One of the readings is the key, whatever stands before and after it."""
    text = f"{before}{key}{after}".encode()
    sightings = list(SCANNER.find(text, len(text)))
    assert key in {reading for one in sightings for reading in one.readings}
    assert all(len(one.readings) <= MAX_READINGS for one in sightings)


@pytest.mark.parametrize("part", ["sk-", "/sk-", "=sk-a", "/sk-0123456789ab", "sk-/", ".", "sk-="])
def test_many_beginnings_of_possible_keys(part):
    """The sightings are at most one for each 8 bytes, and their search takes linear time."""

    def made(length):
        return (part * (length // len(part))).encode()

    def count(text):
        return sum(1 for _ in SCANNER.find(text, len(text)))

    few, many = count(made(64 * 1024)), count(made(1024 * 1024))
    assert few <= 64 * 1024 // 8
    assert many <= 16 * few + 16
    assert is_linear(count, made)


def test_masked_text_has_no_key():
    """A path that contains a key is masked, also one with an imported key."""
    assert SCANNER.masked(f"a/{KEYS[0]}.txt") == f"a/{KEYS[0][:25]}....txt"
    assert SCANNER.masked("a/sk-0123456789abcdef/b") == "a/sk-..."


@given(st.data())
def test_blocks_find_what_one_block_finds(data):
    """Blocks that overlap find each key once, wherever a block ends."""
    parts = data.draw(
        st.lists(
            st.sampled_from(
                [
                    *KEYS,
                    "sk-0123456789abcdef",
                    "/sk-",
                    "/sk-a",
                    "=",
                    " ",
                    "\n",
                    "ak_live_",
                    "x" * 90,
                ]
            ),
            max_size=16,
        )
    )
    text = "".join(parts).encode()
    borders = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    got, kept, offset = [], b"", 0
    for first, last in zip([0, *borders], [*borders, len(text)], strict=True):
        block = kept + text[first:last]
        sightings = SCANNER.find(block, len(block), len(kept), is_last=False)
        got += [(offset + one.start, one.reveal()) for one in sightings]
        kept = block[-OVERLAP:]
        offset += len(block) - len(kept)
    got += [
        (offset + one.start, one.reveal())
        for one in SCANNER.find(kept, len(kept), len(kept), is_last=True)
    ]
    assert sorted(got) == sorted((one.start, one.reveal()) for one in SCANNER.find(text, len(text)))


def test_random_text_raises_no_alarm():
    """1 MiB of random text with every beginning of a key has no key: the checksum decides."""
    random = b"".join(
        b"ak_live_" + b"_".join(
            base62.encode(secrets.randbits(n), width).encode()
            for n, width in ((95, 16), (363, 61))
        )
        for _ in range(12_000)
    )  # fmt: skip
    assert re.search(key_pattern("ak").encode(), random)
    assert not found(random)


def test_a_publishable_key_is_found_once_and_marked():
    """Also if the settings declare its beginning as that of imported keys."""
    scanner = KeyScanner(("ak", "old"), ("pk_",), public_prefix="pk")

    def kinds(text, which=scanner):
        data = f"key {text};".encode()
        return [(one.public, one.is_possible) for one in which.find(data, len(data))]

    assert kinds(PUBLIC) == [(True, False)]
    assert kinds(f"{PUBLIC[:-1]}-") == [(False, True)]
    assert kinds(PUBLIC, KeyScanner(("ak",))) == []
    assert kinds(KEYS[0]) == [(False, False)]
