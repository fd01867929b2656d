"""Minting: the kid of a new key leads to the home of the key."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.keys import base62
from authz.core.keys.keyring import Keyring
from authz.core.keys.minting import mint, mint_secret
from authz.core.keys.seed import Seed
from authz.core.keys.text import KID_PATTERN, new_kid
from authz.core.new_keys import KeySpec
from authz.core.partitions import COUNTS, ONE, Partitions
from tests.support.fakes import make_pepper, make_record

IDS = st.text("abcdefgh0123456789-", max_size=12)
OWNERS = st.builds(
    KeySpec,
    client_id=IDS,
    project_id=IDS,
    tenant_id=IDS,
    env=st.just("live"),
    life_ms=st.none(),
)
KIDS = st.text(base62.DIGITS, min_size=16, max_size=16)
SPEC = KeySpec(client_id="acme", env="live", life_ms=None)


def keyring(count: int) -> Keyring:
    """A keyring of an installation with this number of partitions."""
    return Keyring("ak", [make_pepper("1")], partitions=Partitions(count))


@given(kid=KIDS, owner=OWNERS, count=st.sampled_from(COUNTS))
def test_a_fitting_kid_leads_to_the_home(kid, owner, count):
    """The fitted kid keeps the first 13 digits, and follows from kid and owner alone."""
    partitions = Partitions(count)
    fitting = partitions.fitting(kid, owner)
    assert KID_PATTERN.fullmatch(fitting)
    assert partitions.of(fitting) == partitions.home_of(owner)
    assert fitting[:13] == kid[:13]
    assert partitions.fitting(kid, owner) == fitting
    assert partitions.fitting(fitting, owner) == fitting


@given(kid=KIDS, owner=OWNERS)
def test_one_partition_takes_every_kid(kid, owner):
    """With one partition a kid stays as it was drawn."""
    assert ONE.fitting(kid, owner) == kid


@pytest.mark.parametrize("count", [8, 48])
def test_fitting_kids_are_spread(count):
    """Kids of one home do not gather at few of their last digits."""
    partitions = Partitions(count)
    tails = Counter(partitions.fitting("0" * 13 + tail, SPEC)[13:] for tail in TAILS)
    assert len(tails) > len(TAILS) / count / 2
    assert max(tails.values()) < 12 * count


TAILS = [base62.encode(number, 3) for number in range(0, 62**3, 5)]


@given(seed=st.binary(min_size=32, max_size=32), owner=OWNERS, count=st.sampled_from(COUNTS))
def test_a_repeated_request_gets_the_same_fitting_key(seed, owner, count):
    """Kid and text follow from the seed, and the kid leads to the home."""
    ring, known = keyring(count), Seed(seed, "1")
    one, two = mint(ring, owner, known), mint(ring, owner, known)
    assert (one.kid, one.text) == (two.kid, two.text)
    assert ring.partitions.of(one.kid) == ring.partitions.home_of(owner)
    assert ring.parse(one.text).kid == one.kid


def test_one_partition_keeps_the_kid_of_a_seed():
    """The kid of a request that an earlier version began stays the same."""
    ring, seed = keyring(1), Seed(bytes(range(32)), "1")
    assert mint(ring, SPEC, seed).kid == seed.kid(make_pepper("1"))


def test_new_keys_lead_to_their_home():
    """A key without a seed gets a random kid that fits."""
    ring = keyring(48)
    minted = [mint(ring, replace(SPEC, tenant_id=f"t{number}")) for number in range(100)]
    homes = [ring.partitions.home("acme", "", f"t{number}") for number in range(100)]
    assert [ring.partitions.of(one.kid) for one in minted] == homes
    assert len({one.kid for one in minted}) == len(minted)


def test_a_new_secret_keeps_the_kid():
    """A rotation never changes the kid, whatever its home."""
    ring = keyring(8)
    record = make_record(kid=new_kid())
    assert mint_secret(ring, record).kid == record.kid
    seed = Seed(bytes(range(32)), "1")
    assert mint_secret(ring, record, seed).text == mint_secret(ring, record, seed).text


@given(before=OWNERS, after=OWNERS, count=st.sampled_from(COUNTS))
def test_moves(before, after, count):
    """A key may become another owner's whose home is the same, and no other one's."""
    partitions = Partitions(count)
    may = partitions.home_of(before) == partitions.home_of(after)
    assert (partitions.problem_of_move(before, after) == "") is may
    assert ONE.problem_of_move(before, after) == ""


@given(number=st.integers(0, 62**16 - 1))
def test_base62(number):
    """Each number is read as it was written."""
    assert base62.decode(base62.encode(number, 16)) == number


def test_base62_refuses_other_characters():
    """A character that is no digit raises ValueError."""
    with pytest.raises(ValueError, match=re.escape("substring not found")):
        base62.decode("a-b")
