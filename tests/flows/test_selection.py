"""Pages of selected keys, over an index in memory."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput, Unreadable
from authz.core.name_patterns import Glob, Search
from authz.core.records import Status
from authz.core.selector import Selector, State
from authz.flows import selection
from authz.flows.selection import Cost, Entry, Selection
from tests.support.fakes import NOW, FakeClock, make_record
from tests.support.flows.index import MemoryIndex

REVOKED = Selector(states=frozenset({State.REVOKED}))


def kid(number: int) -> str:
    """A kid."""
    return f"{number:016}"


def key(number: int, **overrides):
    """A key of the index. Two share each millisecond."""
    made = {"kid": kid(number), "created_at": NOW + number // 2} | overrides
    return kid(number), make_record(**made)


def chosen(*keys, stale=()):
    """A selection over these keys, and its index."""
    index = MemoryIndex(dict(keys), frozenset(stale))
    return Selection(index, FakeClock()), index


async def walk(
    found: Selection, limit: int, selector: Selector, *, is_newest_first: bool = False
) -> list[list[Entry]]:
    """Every page, from the first to the last."""
    pages, cursor = [], ""
    while True:
        page = await found.page(selector, limit, cursor, is_newest_first=is_newest_first)
        pages.append(list(page.entries))
        if page.next is None:
            return pages
        cursor = page.next


STATES = st.sampled_from([*Status, "unreadable", "gone"])


@given(
    states=st.lists(st.tuples(STATES, st.sampled_from(["acme", "other"])), max_size=12),
    limit=st.integers(1, 5),
    chunk=st.integers(1, 4),
    selector=st.builds(
        Selector,
        client_id=st.sampled_from([None, "acme"]),
        states=st.sampled_from([frozenset(), frozenset({State.ACTIVE}), REVOKED.states]),
        name=st.sampled_from([None, Glob("*0*")]),
        search=st.sampled_from([None, Search("0")]),
        created_before=st.sampled_from([None, NOW - 1, NOW + 3]),
    ),
)
async def test_pages_hold_every_key_once(states, limit, chunk, selector):
    """Walking the cursors gives all that fits and no more, in order, whatever the conditions."""
    made = {}
    for number, (status, client) in enumerate(states):
        if status == "unreadable":
            made[kid(number)] = Unreadable("garbled")
        elif status == "gone":
            made[kid(number)] = None
        else:
            made |= [key(number, status=status, client_id=client, name=str(number))]
    found, index = chosen(*made.items(), stale=made)
    with pytest.MonkeyPatch.context() as patch:
        for constant in ("CHUNK", "SCREENED", "MAX_SCANNED", "MAX_READ"):
            patch.setattr(selection, constant, chunk)
        pages = await walk(found, limit, selector)
        every = [entry async for entry in found.each(selector)]
        back = await walk(found, limit, selector, is_newest_first=True)

    order = await index.kids(None, None, 100)
    expected = [
        place.kid
        for place in order
        if not hasattr(made[place.kid], "kid") or selector.matches(made[place.kid], NOW)
    ]
    assert [entry.kid for page in pages for entry in page] == expected
    assert every == [entry for page in pages for entry in page]
    assert every[::-1] == [entry for page in back for entry in page]
    assert all(len(page) <= limit for page in pages)


async def test_a_page_without_a_condition_reads_its_keys_alone():
    """A page without a condition reads as many records as it shows."""
    found, index = chosen(*(key(number) for number in range(10)))
    page = await found.page(Selector(), 4)
    assert [entry.kid for entry in page.entries] == list(map(kid, range(4)))
    assert (index.read_kids, index.asked) == (list(map(kid, range(4))), [5])
    assert page.cost == Cost(4, 4)


@pytest.mark.parametrize(("each", "most"), [(1, 20), (2, 24), (5, 30)])
async def test_a_page_reads_few_records_in_vain(each, most):
    """A condition that one key of `each` fits costs about the records of one page."""
    some = {"states": frozenset({State.ACTIVE})}
    status = (Status.ACTIVE, Status.DISABLED)
    found, _ = chosen(*(key(n, status=status[bool(n % each)]) for n in range(1000)))
    page = await found.page(Selector(**some), 20)
    assert len(page.entries) == 20
    assert page.cost.read <= most


async def test_the_last_page_has_no_next():
    """The last page has no next cursor, also if it is exactly full."""
    found, _ = chosen(*(key(number) for number in range(4)))
    assert (await found.page(Selector(), 4)).next is None
    assert (await found.page(Selector(), 2, kid(1))).next is None


async def test_a_page_looks_at_a_bounded_number(monkeypatch):
    """A page with a condition that nothing fits ends, with a cursor and its cost."""
    monkeypatch.setattr(selection, "SCREENED", 3)
    monkeypatch.setattr(selection, "MAX_SCANNED", 60)
    found, index = chosen(*(key(number) for number in range(100)))
    page = await found.page(REVOKED, 2)
    assert (page.entries, page.next) == ((), f"{kid(59)}-{NOW + 29}")
    assert (page.cost, index.read_kids) == (Cost(60, 0), [])


async def test_a_page_of_old_keys_looks_at_a_bounded_number(monkeypatch):
    """The newest keys that a time leaves out count as looked at."""
    monkeypatch.setattr(selection, "MAX_SCANNED", 60)
    found, _ = chosen(*(key(number) for number in range(100)))
    page = await found.page(Selector(created_before=NOW), 2, is_newest_first=True)
    assert (page.entries, page.next, page.cost) == ((), f"{kid(40)}-{NOW + 20}", Cost(60, 0))


async def test_a_page_reads_a_bounded_number(monkeypatch):
    """A condition that needs whole records ends a page sooner."""
    monkeypatch.setattr(selection, "CHUNK", 3)
    monkeypatch.setattr(selection, "MAX_READ", 6)
    found, _ = chosen(*(key(number) for number in range(100)))
    page = await found.page(Selector(metadata={"team": "web"}), 2)
    assert (page.next, page.cost) == (f"{kid(5)}-{NOW + 2}", Cost(6, 6))


async def test_unreadable_keys_are_listed_and_hide_nothing():
    """A garbled record and one that is gone stand between the others, with the reason."""
    found, _ = chosen(key(0), (kid(1), Unreadable("record 1: garbled")), (kid(2), None), key(3))
    entries = (await found.page(Selector(states=frozenset({State.ACTIVE})), 10)).entries
    assert {(entry.kid, entry.why) for entry in entries} == {
        (kid(0), ""),
        (kid(1), "record 1: garbled"),
        (kid(2), f"record {kid(2)}: is not there"),
        (kid(3), ""),
    }


async def test_old_keys_end_the_reading():
    """A condition on the creation ends at the first key that is too young."""
    found, index = chosen(*(key(number) for number in range(10)))
    page = await found.page(Selector(created_before=NOW + 2), 10)
    assert [entry.kid for entry in page.entries] == list(map(kid, range(4)))
    assert page.next is None
    assert len(index.read_kids) == 4


async def test_a_cursor_outlives_its_key():
    """The next page follows although the cursor's key has another client, or is gone."""
    keys = dict(key(number, client_id="acme") for number in range(6))
    index = MemoryIndex(keys)
    found, acme = Selection(index, FakeClock()), Selector(client_id="acme")
    cursor = (await found.page(acme, 3)).next
    keys[kid(2)] = replace(keys[kid(2)], client_id="other")
    assert [entry.kid for entry in (await found.page(acme, 3, cursor)).entries] == [
        kid(3),
        kid(4),
        kid(5),
    ]
    assert len((await found.page(acme, 3, kid(2))).entries) == 3
    del keys[kid(2)]
    assert len((await found.page(acme, 3, cursor)).entries) == 3
    with pytest.raises(BadInput, match="begin without a cursor"):
        await found.page(acme, 3, kid(2))


@pytest.mark.parametrize("cursor", ["x", f"{kid(1)}-", f"{kid(1)}-{10**15}", f"{kid(1)}-1\n"])
async def test_a_cursor_that_is_none(cursor):
    """A text of another shape is refused."""
    found, _ = chosen(key(0))
    with pytest.raises(BadInput, match="cursor"):
        await found.page(Selector(), 3, cursor)
