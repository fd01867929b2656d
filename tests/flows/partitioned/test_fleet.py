"""The sidecars of a store with several partitions, and the wait for them."""

from dataclasses import replace

import pytest

from authz.core.partitions import Partitions
from authz.core.sidecars import Confirmation, Outstanding
from authz.flows.confirmation import Extent, extent_of
from authz.flows.partitioned.fleet import (
    PartitionedSidecars,
    PartitionedWait,
    merged_confirmation,
)
from tests.support.core.places import places_of
from tests.support.fakes import KID, make_record
from tests.support.flows.fleet import MemoryRegistry, heard, waits

PARTITIONS = Partitions(8)
PLACES = places_of(8)
ABSENT = "partition 5: it has no entry there"


def registries(**by_partition) -> list[MemoryRegistry]:
    """Eight registries with one good sidecar each, at change 10; some with other entries."""
    found = [MemoryRegistry(10, [heard("a", applied=10)]) for _ in range(8)]
    for name, entries in by_partition.items():
        found[int(name[1:])] = MemoryRegistry(10, entries)
    return found


async def test_a_sidecar_that_is_well_everywhere_is_one_row():
    """Its numbers of changes are sums, so it has no lag; it is trusted."""
    last, (row,) = await PartitionedSidecars(PLACES, registries()).find()
    assert (last, row.sidecar.applied, row.sidecar.entries) == (80, 80, 8 * 7)
    assert row.is_trusted
    assert (row.doubt, row.sidecar.reason) == ("", "")


@pytest.mark.parametrize(
    ("entries", "lag", "reason", "doubt"),
    [
        ([heard("a", applied=7)], 3, "", ""),
        ([heard("a", applied=10, trusted=False, reason="lost")], 0, "partition 5: lost", ""),
        ([heard("a", applied=None)], None, "", ""),
        ([], None, ABSENT, ABSENT),
        ([replace(heard("a", applied=10), doubt="forged")], 0, "", "partition 5: forged"),
    ],
)
async def test_the_worst_partition_counts(entries, lag, reason, doubt):
    """Lag, trust and doubt of one partition are those of the sidecar, and name it."""
    last, (row,) = await PartitionedSidecars(PLACES, registries(p5=entries)).find()
    applied = row.sidecar.applied
    assert (None if applied is None else last - applied) == lag
    assert (row.sidecar.reason, row.doubt) == (reason, doubt)
    assert row.is_trusted is (not reason)


async def test_a_change_is_confirmed_by_its_partition():
    """Other partitions do not count, whatever their sidecars have applied."""
    record = make_record(version=9)
    at = PARTITIONS.home_of(record)
    behind = {f"p{other}": [heard("a", applied=1)] for other in range(8) if other != at}
    wait = PartitionedWait(PLACES, waits(registries(**behind)))
    await wait.connect(KID)
    assert (await wait.for_key(record, 0)).is_complete
    wait = PartitionedWait(PLACES, waits(registries(**{f"p{at}": [heard("a", applied=1)]})))
    assert [one.instance for one in (await wait.for_key(record, 0)).outstanding] == ["a"]
    assert [one.instance for one in (await wait.for_all(extent_of(record), 0)).outstanding] == ["a"]


async def test_changes_of_many_keys_are_confirmed_by_their_partitions():
    """Each partition has to have its own last change, which may be far below that of another."""
    extent = Extent()
    for number in range(40):
        record = make_record(client_id=f"c{number}")
        version = 10 if PARTITIONS.home_of(record) != 2 else 3
        record = replace(record, version=version)
        extent.add(replace(record, version=version - 1), record)
    assert extent.version == 10
    few = PartitionedWait(PLACES, waits(registries(p2=[heard("a", applied=3)])))
    assert (await few.for_all(extent, 0)).is_complete
    late = PartitionedWait(PLACES, waits(registries(p3=[heard("a", applied=9)])))
    assert not (await late.for_all(extent, 0)).is_complete
    assert (await late.for_all(Extent(), 0)).is_complete


def test_confirmations_are_merged():
    """A sidecar is outstanding if it is so anywhere, until the latest time that is named."""
    late, later = Outstanding("b", 5, is_over=True), Outstanding("b", 9, is_over=False)
    found = merged_confirmation(
        [Confirmation(3, (), 4), Confirmation(2, (late,), 6), Confirmation(2, (later,), 5)]
    )
    assert found == Confirmation(2, (later,), 6)
    assert not found.is_complete
    assert merged_confirmation([]) == Confirmation(0, (), 0)


@pytest.mark.parametrize("count", [1, 8, 48])
def test_an_extent_is_divided(count):
    """The shares of the partitions have all changes, each in the partition of its key."""
    extent, partitions = Extent(), Partitions(count)
    versions: dict[int, int] = {}
    for number in range(200):
        record = make_record(client_id=f"c{number}", version=number + 1)
        extent.add(record, record)
        versions[partitions.home_of(record)] = number + 1
    shares = extent.of_partitions(partitions)
    assert {at: share.version for at, share in shares.items()} == versions
