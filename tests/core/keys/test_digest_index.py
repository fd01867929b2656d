"""DigestIndex: it has every digest that was added, and takes few bytes for each."""

import hashlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.keys.digest_index import DigestIndex, checksum_of, entry_of

DIGESTS = st.lists(st.binary(min_size=32, max_size=32), max_size=50)


def digest(number):
    """Return a digest, different for each number."""
    return hashlib.sha256(b"%d" % number).digest()


@given(DIGESTS, DIGESTS, st.integers(0, 50))
def test_as_a_set_of_entries(added, asked, cut):
    """An index behaves as a set of entries, however they are divided into additions."""
    index, model = DigestIndex(), set(map(entry_of, added))
    for part in (added[:cut], added[cut:]):
        index.add("".join(map(entry_of, part)))
    for one in (*added, *asked):
        assert index.has_any([one]) == (entry_of(one) in model)
    assert index.has_any(asked) == (not model.isdisjoint(map(entry_of, asked)))
    assert (index.count, index.checksum) == (len(added), checksum_of(map(entry_of, added)))


@pytest.mark.parametrize("text", ["0", "00", "0" * 11, "0" * 13, "g" * 12, "00 " * 6, "ä" * 12])
def test_refused(text):
    """Text that is no sequence of entries adds nothing."""
    index = DigestIndex()
    with pytest.raises(ValueError, match="hexadecimal"):
        index.add(text)
    assert (index.count, index.checksum) == (0, 0)


def test_memory():
    """A million entries take at most 20 MB."""
    parts = [
        "".join(entry_of(digest(n)) for n in range(start, start + 2000))
        for start in range(0, 1_000_000, 2000)
    ]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        index = DigestIndex()
        for part in parts:
            index.add(part)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert index.has_any([digest(1)])
    assert taken < 20e6
