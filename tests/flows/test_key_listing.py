"""Pages of a list, and the way back through a key's changes, over an index in memory."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit import Action, AuditEntry, AuditEvent
from authz.core.errors import BadInput, Unreadable
from authz.core.records import Status
from authz.flows import key_listing
from authz.flows.key_listing import Entry, History, KeyListing
from tests.support.fakes import NOW, make_record


@dataclass
class MemoryIndex:
    """A KeyIndex in memory: (kid, record or what is wrong with it), oldest first.

    `stale`: kids that the index of every client holds, whoever they belong to.
    """

    keys: list[tuple[str, object]]
    stale: frozenset[str] = frozenset()
    looked_at: int = 0
    asked: list[int] = field(default_factory=list)

    async def kids(self, client_id, after, count):
        """Implement KeyIndex.kids."""
        mine = [kid for kid, found in self.keys if self._is_of(client_id, kid, found)]
        if after and after not in mine:
            raise BadInput("--cursor", "not in this list")
        start = mine.index(after) + 1 if after else 0
        self.asked.append(count)
        return mine[start : start + count]

    async def read(self, kids):
        """Implement KeyIndex.read."""
        self.looked_at += len(kids)
        return [dict(self.keys)[kid] for kid in kids]

    def _is_of(self, client_id, kid, found):
        owner = getattr(found, "client_id", client_id)
        return client_id is None or owner == client_id or kid in self.stale


class MemoryTrail:
    """An AuditTrail in memory. Counts what was asked."""

    def __init__(self, entries):
        self.entries = {entry.version: entry for entry in entries}
        self.asked = []

    async def entry(self, kid, version):
        """Implement AuditTrail.entry."""
        self.asked.append(version)
        return self.entries.get(version)


def kid(number: int) -> str:
    """A kid."""
    return f"{number:016}"


def key(number: int, **overrides):
    """A key of the index."""
    return kid(number), make_record(kid=kid(number), **overrides)


def listing(*keys, stale=()):
    """A directory over these keys, and its index."""
    index = MemoryIndex(list(keys), frozenset(stale))
    return KeyListing(index, MemoryTrail([])), index


async def walk(found: KeyListing, limit: int, **filters) -> list[list[Entry]]:
    """Every page, from the first to the last."""
    pages, cursor = [], ""
    while True:
        page = await found.page(limit, cursor, **filters)
        pages.append(list(page.entries))
        if page.next is None:
            return pages
        cursor = page.next


STATES = st.sampled_from([*Status, "unreadable", "gone"])


@given(
    states=st.lists(st.tuples(STATES, st.sampled_from(["acme", "other"])), max_size=12),
    limit=st.integers(1, 5),
    chunk=st.integers(1, 4),
    client_id=st.sampled_from([None, "acme"]),
    status=st.sampled_from([None, *Status]),
)
async def test_pages_hold_every_key_once(states, limit, chunk, client_id, status):
    """Walking the cursors gives all that fits and no more, in order, whatever the filters."""
    made = []
    for number, (state, client) in enumerate(states):
        if state == "unreadable":
            made.append((kid(number), Unreadable("garbled")))
        elif state == "gone":
            made.append((kid(number), None))
        else:
            made.append(key(number, status=state, client_id=client))
    found, _ = listing(*made, stale=[name for name, _ in made])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_listing, "CHUNK", chunk)
        patch.setattr(key_listing, "MAX_CHUNKS", 2)
        pages = await walk(found, limit, client_id=client_id, status=status)

    expected = [
        kid(number)
        for number, (state, client) in enumerate(states)
        if state in {"unreadable", "gone"}
        or (client_id in {None, client} and status in {None, state})
    ]
    assert [entry.kid for page in pages for entry in page] == expected
    assert all(len(page) <= limit for page in pages)


async def test_a_page_without_a_filter_reads_what_it_shows():
    """A page without a filter reads as many records as it shows."""
    found, index = listing(*(key(number) for number in range(10)))
    page = await found.page(4)
    assert ([entry.kid for entry in page.entries], page.next) == (list(map(kid, range(4))), kid(3))
    assert (index.looked_at, index.asked) == (4, [5])


async def test_the_last_page_has_no_next():
    """The last page has no next cursor, also if it is exactly full."""
    found, _ = listing(*(key(number) for number in range(4)))
    assert (await found.page(4)).next is None
    assert (await found.page(2, kid(1))).next is None


async def test_a_filter_reads_a_bounded_number(monkeypatch):
    """A page with a filter that fits nothing ends, with the cursor where it ended."""
    monkeypatch.setattr(key_listing, "CHUNK", 3)
    found, index = listing(*(key(number) for number in range(100)))
    page = await found.page(2, status=Status.REVOKED)
    assert (page.entries, page.next) == ((), kid(59))
    assert index.looked_at == 60


async def test_what_cannot_be_read_is_listed_and_hides_nothing():
    """A garbled record and one that is gone stand between the others, with what is wrong."""
    found, _ = listing(key(0), (kid(1), Unreadable("record 1: garbled")), (kid(2), None), key(3))
    entries = (await found.page(10, status=Status.ACTIVE)).entries
    assert [(entry.kid, entry.why) for entry in entries] == [
        (kid(0), ""),
        (kid(1), "record 1: garbled"),
        (kid(2), f"record {kid(2)}: is not there"),
        (kid(3), ""),
    ]


async def test_keys_of_a_client_goes_through_all_pages(monkeypatch):
    """Every key of the client, none of another."""
    monkeypatch.setattr(key_listing, "CHUNK", 2)
    found, _ = listing(*(key(n, client_id="acme" if n % 2 else "other") for n in range(9)))
    assert [entry.kid async for entry in found.keys_of("acme")] == [kid(n) for n in (1, 3, 5, 7)]


def entry(version: int, base: int) -> AuditEntry:
    """An entry of the trail."""
    return AuditEntry(version, base, AuditEvent(Action.UPDATE, "alice", "", NOW, {}))


async def test_history_goes_back_from_change_to_change():
    """From the record's version to the issue, one look at the trail for each change."""
    trail = MemoryTrail([entry(50, 9), entry(9, 4), entry(4, 0), entry(49, 3)])
    found = await KeyListing(MemoryIndex([]), trail).history(make_record(version=50))
    assert found == History((entry(50, 9), entry(9, 4), entry(4, 0)), None)
    assert trail.asked == [50, 9, 4]


async def test_history_says_where_it_was_lost():
    """A missing entry ends the way, and its version is told."""
    trail = MemoryTrail([entry(50, 9)])
    found = await KeyListing(MemoryIndex([]), trail).history(make_record(version=50))
    assert found == History((entry(50, 9),), 9)
