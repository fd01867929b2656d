"""The TrailStore port: one suite for the twin in memory and for the stream on a real server."""

import pytest

from authz.core.trail.rows import Row, position
from authz.storage.trail import StoredRows
from tests.support.storage import stored
from tests.support.trail.memory_rows import MemoryRows, Writer


class Stored:
    """A real stream with the writer of the twin."""

    def __init__(self, rows: StoredRows, valkey) -> None:
        self.rows = rows
        self._admin = valkey.admin
        self.twin = MemoryRows()

    def history(self, changes: int) -> None:
        """Write entries of changes."""
        before = len(self.twin.rows)
        Writer(self.twin).history(changes)
        for row in self.twin.rows[before:]:
            self._admin.xadd(stored.AUDIT, dict(row.fields), id=row.id)
        self._admin.set(stored.SEQ, self.twin.seq)

    def remove_last(self) -> None:
        """Remove the last row, as somebody with access to the store could."""
        self._admin.xdel(stored.AUDIT, self._admin.xrevrange(stored.AUDIT, count=1)[0][0])


class InMemory:
    """The twin, with the same handles."""

    def __init__(self) -> None:
        self.rows = MemoryRows()

    def history(self, changes: int) -> None:
        """Write entries of changes."""
        Writer(self.rows).history(changes)

    def remove_last(self) -> None:
        """Remove the last row."""
        self.rows.rows.pop()


@pytest.fixture(params=["memory", "valkey"])
async def trail(request):
    """A trail of each kind."""
    if request.param == "memory":
        yield InMemory()
        return
    valkey = request.getfixturevalue("valkey")
    async with valkey.endpoint.client() as client:
        yield Stored(StoredRows(client), valkey)


async def test_rows_come_in_order_from_both_ends(trail):
    """Pages in both directions begin beside an id, whether there is such a row or not."""
    assert await trail.rows.after("", 5) == []
    assert await trail.rows.before("", 5) == []
    assert await trail.rows.heads() == (0, "")
    trail.history(7)
    ids = [f"{number}-0" for number in range(1, 8)]
    assert [row.id for row in await trail.rows.after("", 3)] == ids[:3]
    assert [row.id for row in await trail.rows.after("3-0", 9)] == ids[3:]
    assert [row.id for row in await trail.rows.after("3-5", 2)] == ids[3:5]
    assert [row.id for row in await trail.rows.before("", 2)] == ids[:4:-1]
    assert [row.id for row in await trail.rows.before("3-0", 9)] == ids[1::-1]
    assert await trail.rows.after("7-0", 1) == []
    assert await trail.rows.heads() == (7, "7-0")


async def test_a_row_is_added_behind_the_last_one_only(trail):
    """If the last row is another one, or has other fields, nothing is added."""
    trail.history(3)
    two, three = (await trail.rows.after("", 3))[1:]
    fields = {"kid": "", "change_id": "c", "action": "checkpoint"}
    assert await trail.rows.add(two, fields) is None
    assert await trail.rows.add(Row("9-0", three.fields), fields) is None
    assert await trail.rows.add(Row("3-0", two.fields), fields) is None
    assert await trail.rows.add(three, fields) == ("3-1", True)
    assert await trail.rows.add(three, fields) is None
    assert (await trail.rows.before("", 1))[0] == Row("3-1", fields)
    assert await trail.rows.heads() == (3, "3-1")


async def test_a_row_behind_removed_rows_shows_that_they_are_missing(trail):
    """The ids of rows that were removed at the end are not given out again."""
    trail.history(3)
    (last,) = await trail.rows.before("", 1)
    fields = {"kid": "", "change_id": "c", "action": "checkpoint"}
    assert await trail.rows.add(last, fields) is not None
    trail.remove_last()
    added = await trail.rows.add(last, fields)
    assert added is not None
    assert position(added[0]) == (3, 2)


async def test_nothing_is_added_to_an_empty_trail(trail):
    """A row about the trail needs a row before it."""
    assert await trail.rows.add(Row("1-0", {"kid": "a"}), {"kid": ""}) is None
