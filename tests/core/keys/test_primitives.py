"""The parts of key text: base62, HKDF and the comparison of digests."""

import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from authz.core.keys import base62, keyring
from authz.core.keys.credentials import matches
from authz.core.keys.pepper import hkdf_sha256
from tests.support.core.key_reference import from_base62, to_base62


@given(st.integers(0, 2**256 - 1))
def test_base62_is_what_the_reference_makes(number):
    """43 digits, most significant first, hold any number of 256 bits."""
    text = base62.encode(number, 43)

    assert text == to_base62(number, 43)
    assert from_base62(text) == number


@pytest.mark.parametrize(
    ("bits", "width"),
    [(256, keyring.SECRET_LENGTH), (64, keyring.TAG_LENGTH), (32, keyring.CHECKSUM_LENGTH)],
)
def test_the_widths_are_the_least_that_fit(bits, width):
    """Secret, tag and checksum have room for their bits and no digit to spare."""
    assert len(base62.encode(2**bits - 1, width)) == width
    with pytest.raises(ValueError, match="width"):
        base62.encode(2**bits - 1, width - 1)


def test_hkdf_rfc_5869_test_case_3():
    """RFC 5869, appendix A.3: SHA-256, no salt, no info; the first block of its output."""
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"

    assert hkdf_sha256(b"\x0b" * 22, b"").hex() == expected


@given(st.binary(min_size=1), st.binary(), st.integers(1, 32))
def test_hkdf_is_what_another_implementation_makes(secret, info, length):
    """HKDF agrees with another implementation for any secret, info and length."""
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
    """Two digests match if they are equal and have 32 bytes. An empty one matches nothing."""
    assert matches(presented, stored) is expected


@given(st.binary(min_size=32, max_size=64), st.binary(max_size=300))
def test_a_digest_is_the_hmac_of_the_library(secret, text):
    """The prepared states give what `hmac.digest` gives, each time."""
    pepper = keyring.Pepper.expand("1", secret)
    expected = hmac.digest(pepper.digest_key, text, "sha256")

    assert (pepper.digest(text), pepper.digest(text)) == (expected, expected)
