"""Events of the audit trails of several partitions, in one list."""

from authz.core.trail.rows import Row
from authz.flows.partitioned.trail import PartitionedRows, merged_events
from authz.flows.trail.listing import Events, TrailEvent
from tests.support.core.places import places_of
from tests.support.trail.memory_rows import MemoryRows


def event(row: str, at: int, why: str = "") -> TrailEvent:
    """An event at a time, or one that cannot be read."""
    return TrailEvent(row, "", at, "" if why else "issue", why=why)


def test_events_of_a_partition_keep_their_order():
    """Events keep the order of their trail after a clock was set back."""
    found = {
        0: Events((event("3-0", 40), event("2-0", 90), event("1-0", 10)), has_more=False),
        1: Events((event("2-0", 50), event("1-0", 20)), has_more=False),
    }
    merged = merged_events(found, 9)
    assert [one.id for one in merged.events] == ["1.2-0", "0.3-0", "0.2-0", "1.1-0", "0.1-0"]
    assert not merged.has_more


def test_an_event_that_cannot_be_read_is_not_lost_behind_older_ones():
    """An event without a time keeps its place in its partition."""
    found = {
        0: Events((event("2-0", 0, "garbled"), event("1-0", 10)), has_more=False),
        1: Events((event("3-0", 50), event("2-0", 0, "garbled"), event("1-0", 5)), has_more=False),
    }
    merged = merged_events(found, 3)
    assert [one.id for one in merged.events] == ["0.2-0", "1.3-0", "1.2-0"]
    assert merged.has_more


async def test_a_row_without_a_time_holds_back_no_rows_of_its_partition():
    """A damaged row stands where its partition has it, and rows behind it keep their place."""
    rows = {
        0: [Row("1-0", {"at": "10"}), Row("2-0", {"at": "30"}), Row("3-0", {"at": "soon"})],
        1: [Row("1-0", {"at": "5"}), Row("2-0", {"at": "20"})],
    }
    parts = [MemoryRows(), MemoryRows()]
    for at, part in enumerate(parts):
        part.rows += rows[at]
    found = await PartitionedRows(places_of(8), parts).before("", 10)
    assert [one.id for one in found] == ["0.3-0", "0.2-0", "1.2-0", "0.1-0", "1.1-0"]
