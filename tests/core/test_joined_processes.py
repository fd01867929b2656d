"""The charge ids of a process that counted on while its store was moved to several partitions."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.usage.completeness import BLOCK, ProcessSeen, completeness, joined

PROCESS = "0123456789abcdef"
ISSUED = 3 * BLOCK


def seen(ids: set[int]) -> ProcessSeen:
    """Return the entry of a partition in which these charge ids came, as the store counts them."""
    top = max(ids) // BLOCK
    numbers = Counter(one // BLOCK for one in ids)
    whole = {block: BLOCK - (block == 0) for block in range(top + 1)}
    blocks = {block: numbers[block] for block in whole if numbers[block] < whole[block]}
    return ProcessSeen(PROCESS, len(ids), max(ids), blocks=blocks)


@pytest.mark.parametrize("lost", [set(), {5, 6}, {BLOCK + 1}, {3 * BLOCK}])
@given(last=st.integers(2 * BLOCK, ISSUED), late=st.sets(st.integers(1, ISSUED), max_size=50))
def test_ids_that_came_in_several_partitions(lost: set[int], last: int, late: set[int]) -> None:
    """The number of missing ids is that of one partition, wherever the late entries came."""
    late -= lost
    before = set(range(1, last + 1)) - lost - late
    others = (set(range(last + 1, ISSUED + 1)) | late) - lost
    parts = [part for part in ({n for n in others if n % 3 == at} for at in range(3)) if part]
    found = joined([*map(seen, parts), seen(before)])
    assert [each.process for each in found] == [PROCESS]
    both = completeness({PROCESS: ISSUED}, found)
    assert (both.seen, both.missing) == (ISSUED - len(lost), len(lost))


def test_processes_of_one_partition_each_stay_as_they_are() -> None:
    """Entries of different processes are not changed, and keep their order."""
    some = [ProcessSeen(name, 1, 1, blocks={0: 1}) for name in "ba"]
    assert joined(some) == some
