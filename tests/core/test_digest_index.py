"""DigestIndex against a Python set."""

import sys
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from authz.core.digest_index import DigestIndex

DIGESTS = [sha256(bytes((number,))).digest() for number in range(12)]
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.lists(st.sampled_from(DIGESTS), max_size=4)),
    max_size=30,
)


@given(steps=STEPS)
def test_membership_count_and_checksum(steps):
    """After any additions and removals the index holds exactly the digests of the set."""
    index, model = DigestIndex(), set()
    for name, digests in steps:
        getattr(index, name)(digests)
        model = model | set(digests) if name == "add" else model - set(digests)

        assert {digest for digest in DIGESTS if digest in index} == model
        assert len(index) == len(model)
        assert index.checksum == sum(int.from_bytes(found[:6]) for found in model) % 2**48


def test_clear():
    """A cleared index holds nothing and has the checksum of nothing."""
    index = DigestIndex()
    index.add(DIGESTS)
    index.clear()
    assert (len(index), index.checksum) == (0, 0)
    assert not any(digest in index for digest in DIGESTS)


def test_digests_of_one_shard():
    """Digests that share their first 12 bits are kept apart by the rest of the prefix."""
    index, near = DigestIndex(), [b"\xab\xc0" + bytes((number,)) * 6 for number in range(100)]
    index.add(near[::2])
    assert [digest in index for digest in near] == [True, False] * 50


def test_memory():
    """100,000 digests take at most 13 bytes each, so that a million takes less than 20 MB."""
    index = DigestIndex()
    index.add(sha256(number.to_bytes(4)).digest() for number in range(100_000))
    size = sys.getsizeof(index._shards) + sum(map(sys.getsizeof, index._shards))
    empty = DigestIndex()
    overhead = sys.getsizeof(empty._shards) + sum(map(sys.getsizeof, empty._shards))
    assert (size - overhead) / 100_000 < 13
    assert overhead + 13 * 1_000_000 < 20_000_000
