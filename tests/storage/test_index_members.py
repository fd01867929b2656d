"""Members of the indexes of keys in both forms: the codec, changes, and `authz compact`."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.keys import base62
from authz.core.selector import Position
from authz.storage import compacting as module
from authz.storage import schema
from authz.storage.compacting import Compacting
from authz.storage.field_codec import as_bytes
from authz.storage.index_members import SHORT_BYTES, kid_of, short_member
from authz.storage.listing import StoredIndex
from tests.support.storage import stored
from tests.support.storage.sealing import sealed
from tests.support.storage.sidecar import administration

KIDS = st.text(base62.DIGITS, min_size=16, max_size=16)
ACME, OTHER = "acme-web", "acme-batch"


# the codec


@given(KIDS, KIDS)
def test_each_kid_has_a_short_member_of_the_same_order(first, second):
    """A short member has 12 bytes, gives back its kid, and sorts as the kid does."""
    one, other = as_bytes(short_member(first)), as_bytes(short_member(second))
    assert len(one) == SHORT_BYTES
    assert kid_of(short_member(first)) == first
    assert kid_of(first) == first
    assert (one < other) is (first < second)


@pytest.mark.parametrize("kid", ["0" * 16, "z" * 16, "0" * 8 + "z" * 8])
def test_the_ends_of_the_range(kid):
    """The lowest and the highest number of each half have a short member."""
    assert kid_of(short_member(kid)) == kid


@pytest.mark.parametrize("text", ["", "kid", "0" * 15, "0" * 17, "-" * 16, "é" * 16, "é" * 6])
def test_other_texts_stay(text):
    """A text that is no kid is its own member."""
    assert short_member(text) == text


@given(st.binary(max_size=20))
def test_every_member_can_be_read(raw):
    """Any bytes are read: as a kid if they are the short member of one, else as they are."""
    text = raw.decode(errors="surrogateescape")
    found = kid_of(text)
    assert found == text or short_member(found) == text


# changes


def mark(valkey, text=schema.ALL_COMPACT):
    """Mark the store as one with compact records."""
    valkey.admin.hset(stored.META, schema.META_COMPACT, text)


def members(valkey, client_id=None):
    """Return the members of an index: of a client, or of all keys."""
    return valkey.admin.zrange(stored.client(client_id) if client_id else stored.KEYS, 0, -1)


def shorts(*records):
    """Return the short members of these keys, in the order of an index."""
    ordered = sorted(records, key=lambda one: (one.created_at, one.kid))
    return [short_member(one.kid) for one in ordered]


async def places(valkey, client_id=None, count=2, **options):
    """Return the positions of all keys, page by page."""
    async with valkey.endpoint.client() as client:
        index, found, after = StoredIndex(client), [], None
        while page := await index.kids(client_id, after, count, **options):
            found += page
            after = page[-1]
        return found


def positions(*records):
    """Return the positions of these keys, in order."""
    return sorted(Position(one.created_at, one.kid) for one in records)


async def move(admin, record, to):
    """Give a key to another client, and return its record."""
    done = await admin.lifecycle.update(
        record.kid, {"client_id": to}, admin.lifecycle.author("ops")
    )
    return done.record


async def test_a_compact_store_has_short_members(valkey, admin):
    """Issued, changed and moved keys stand by their short members, and are listed by their kids."""
    mark(valkey)
    records = [await admin.issue(client_id=ACME) for _ in range(5)]
    await admin.disable(records[1].kid)
    records[2] = await move(admin, records[2], OTHER)
    assert members(valkey) == shorts(*records)
    assert members(valkey, OTHER) == shorts(records[2])
    assert members(valkey, ACME) == shorts(*records[:2], *records[3:])
    assert await places(valkey) == positions(*records)
    assert await places(valkey, OTHER) == positions(records[2])
    backwards = await places(valkey, is_newest_first=True)
    assert backwards == positions(*records)[::-1]
    async with valkey.endpoint.client() as client:
        index = StoredIndex(client)
        assert await index.newest(2) == [one.kid for one in positions(*records)[-2:]]
        assert sorted(await index.sample(9)) == sorted(one.kid for one in records)


async def test_a_store_whose_keys_stand_by_their_kids(valkey, admin):
    """Until `authz compact` has run, new keys stand by their kids, and so does a key that moves."""
    old = await admin.issue(client_id=ACME)
    mark(valkey)
    records = [old, *[await admin.issue(client_id=ACME) for _ in range(3)]]
    await admin.disable(old.kid)
    records[3] = await move(admin, records[3], OTHER)
    assert members(valkey) == [one.kid for one in positions(*records)]
    assert members(valkey, OTHER) == [records[3].kid]
    assert members(valkey, ACME) == [one.kid for one in positions(*records[:3])]


async def test_a_key_that_stands_in_both_forms(valkey, admin):
    """If an earlier version has added the kid of a key, its next change removes that again."""
    mark(valkey)
    record = await admin.issue(client_id=ACME)
    for name in (stored.KEYS, stored.client(ACME)):
        valkey.admin.zadd(name, {record.kid: record.created_at})
    await admin.disable(record.kid)
    assert members(valkey) == members(valkey, ACME) == shorts(record)


@pytest.mark.parametrize("is_twice", [False, True])
async def test_a_key_that_leaves_an_index(valkey, admin, is_twice):
    """A key that moves leaves its former client in both forms."""
    mark(valkey)
    record = await admin.issue(client_id=ACME)
    if is_twice:
        valkey.admin.zadd(stored.client(ACME), {record.kid: record.created_at})
    await move(admin, record, OTHER)
    assert members(valkey, ACME) == []
    assert members(valkey, OTHER) == shorts(record)


async def test_a_cursor_whose_key_is_gone(valkey, admin):
    """A page that follows a key without a place begins behind that place, in both directions."""
    mark(valkey)
    records = [await admin.issue() for _ in range(6)]
    wanted = positions(*records)
    gone = wanted[2]
    valkey.admin.zrem(stored.KEYS, as_bytes(short_member(gone.kid)))
    async with valkey.endpoint.client() as client:
        index = StoredIndex(client)
        assert await index.kids(None, gone, 2) == wanted[3:5]
        assert await index.kids(None, gone, 2, is_newest_first=True) == wanted[1::-1]


# `authz compact`


async def compact(valkey, *, to_hashes=False, **options):
    """Run `authz compact` and return its result."""
    async with valkey.endpoint.client() as client:
        return await Compacting(client, to_hashes=to_hashes).run(**options)


async def test_members_change_with_the_records_and_back(valkey, admin, monkeypatch):
    """`authz compact` makes all members short, and with `--undo` kids again. Lists stay."""
    monkeypatch.setattr(module, "PAGE", 3)
    records = [await admin.issue(client_id=c) for c in [ACME, ACME, OTHER] * 3]
    kids, of_acme, wanted = members(valkey), members(valkey, ACME), await places(valkey)
    assert (await compact(valkey, dry_run=True)).indexed == 9
    assert members(valkey) == kids
    found = await compact(valkey)
    assert (found.written, found.indexed) == (9, 9)
    assert members(valkey) == shorts(*records)
    assert members(valkey, ACME) == list(map(short_member, of_acme))
    assert await places(valkey) == wanted
    again = await compact(valkey)
    assert (again.looked_at, again.written, again.indexed) == (9, 0, 0)
    back = await compact(valkey, to_hashes=True)
    assert (back.written, back.indexed) == (9, 9)
    assert (members(valkey), members(valkey, ACME)) == (kids, of_acme)


async def test_a_compact_store_of_an_earlier_build(valkey, admin):
    """If the records are compact already, `authz compact` changes the members alone."""
    records = [await admin.issue(client_id=ACME) for _ in range(4)]
    await compact(valkey)
    for name in (stored.KEYS, stored.client(ACME)):
        for record in records:
            valkey.admin.zrem(name, as_bytes(short_member(record.kid)))
            valkey.admin.zadd(name, {record.kid: record.created_at})
    found = await compact(valkey)
    assert (found.looked_at, found.written, found.indexed) == (4, 0, 4)
    assert members(valkey) == members(valkey, ACME) == shorts(*records)


async def test_a_damaged_record_has_the_member_that_fits_its_form(valkey, admin):
    """A damaged hash keeps its kid. With `--undo` a damaged compact record gets its kid."""
    good, bad = await admin.issue(), await admin.issue()
    whole = valkey.admin.hget(stored.key(bad.kid), "created_at")
    valkey.admin.hset(stored.key(bad.kid), "created_at", "007")
    await compact(valkey)
    assert set(members(valkey)) == {short_member(good.kid), bad.kid}
    valkey.admin.hset(stored.key(bad.kid), "created_at", whole)
    await compact(valkey)
    valkey.admin.set(stored.key(bad.kid), "text")
    await compact(valkey, to_hashes=True)
    assert set(members(valkey)) == {good.kid, bad.kid}


@pytest.mark.parametrize("to_hashes", [False, True])
async def test_lists_and_changes_go_on(valkey, monkeypatch, to_hashes):
    """While members change, each list has every key once, and no change leaves a second member."""
    monkeypatch.setattr(module, "PAGE", 3)
    async with administration(sealed(valkey.endpoint)) as admin:
        records = [await admin.issue(client_id=ACME) for _ in range(24)]
        # Many keys of one moment: a list that is read meanwhile must not lose its place in them.
        for record, at in zip(records, itertools.cycle((5, 6, 7)), strict=False):
            for name in (stored.KEYS, stored.client(ACME)):
                valkey.admin.zadd(name, {record.kid: at})
        wanted = await places(valkey)
        if to_hashes:
            await compact(valkey)
        done = asyncio.Event()

        async def read():
            lists = []
            while not done.is_set() or not lists:
                lists += [await places(valkey, client_id) for client_id in (None, ACME)]
            return lists

        async def work():
            await compact(valkey, to_hashes=to_hashes)
            done.set()

        async def change():
            return [await admin.issue(client_id=OTHER) for _ in range(8)]

        lists, _, made = await asyncio.gather(read(), work(), change())
        old = {one.kid for one in records}
        for found in lists:
            assert [place for place in found if place.kid in old] == wanted
        await compact(valkey, to_hashes=to_hashes)
        expected = [*wanted, *positions(*made)]
        assert await places(valkey) == expected
        form = str if to_hashes else short_member
        assert members(valkey) == [form(place.kid) for place in expected]
