"""The committed texts, the reference and the product agree."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from tests.support.core import key_reference as reference

FILE = Path(__file__).parents[2] / "vectors" / "keys.json"
VECTORS = json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def keyring():
    """The keyring that the vectors were made with."""
    peppers = [
        Pepper.expand(entry["version"], bytes.fromhex(entry["hex"])) for entry in VECTORS["peppers"]
    ]
    return Keyring(VECTORS["prefix"], peppers)


def step(keyring, text):
    """The first step of the product that refuses `text`, in the words of the vectors."""
    presented = keyring.parse(text)
    if presented is None:
        return "shape"
    return presented.flaw() or "accepted"


def test_the_file_is_what_the_reference_makes():
    """The vectors can be made anew, byte for byte in meaning."""
    assert reference.vectors() == VECTORS


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["text"][:26])
def test_accepted(keyring, vector):
    """An accepted text gives its kid, environment, pepper version and digest."""
    presented = keyring.parse(vector["text"])

    assert step(keyring, vector["text"]) == reference.judge(vector["text"]) == "accepted"
    assert presented.kid == vector["kid"]
    assert presented.env == vector["env"]
    assert presented.pepper_version == vector["pepper"]
    assert presented.digest().hex() == vector["digest"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["why"])
def test_refused(keyring, vector):
    """A refused text is refused by the same step as in the reference."""
    assert step(keyring, vector["text"]) == reference.judge(vector["text"]) == vector["by"]


def test_no_step_goes_untested():
    """The refused texts hold examples of every step, so that none can be switched off unseen."""
    assert {vector["by"] for vector in VECTORS["refused"]} == {"shape", "checksum", "tag"}


def test_minted_keys_are_keys_to_the_reference(keyring):
    """The reference accepts every key that the product mints, with the same digest."""
    for env in ("live", "test"):
        minted = keyring.mint(env)

        assert reference.judge(minted.text) == "accepted"
        assert reference.digest(minted.pepper_version, minted.text) == minted.digest.hex()


@given(st.integers(0, 62**16 - 1), st.integers(0, 2**256 - 1), st.sampled_from(["1", "b"]))
def test_keys_of_the_reference_are_keys_to_the_product(keyring, kid, secret, version):
    """The product accepts every key that the reference makes, with any tag and checksum."""
    text = reference.key_text("live", reference.to_base62(kid, 16), version, secret)

    assert step(keyring, text) == "accepted"
    assert step(keyring, text[:-1] + ("0" if text[-1] != "0" else "1")) == "checksum"
