"""The index of imported digests on a real server, and the sidecar's copy of it."""

import pytest

from authz.core.keys.digest_index import entry_of
from authz.storage import imported_index, schema
from authz.storage.imported_index import ImportedIndex
from authz.storage.index_state import decode_state, encoded_index
from authz.storage.indexing import Indexing
from tests.support.fakes import KID, FakeClock, make_keyring
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.changing import NEWEST, imported, issued
from tests.support.storage.sidecar import Sidecar
from tests.support.storage.users import restrict

INDEX = stored.IMPORTED
STRANGER = b"s" * 32
# The end of a change that an earlier version makes: a number, a notice, and perhaps an alias.
OLD_CHANGE = """
local seq = redis.call('INCR', KEYS[1])
local kid, alias, last = ARGV[2], KEYS[3], KEYS[3] and ' imported' or ''
redis.call('XADD', KEYS[2], seq .. '-0', 'kid', kid, 'status', 'active', 'at', 1, 'change_id', 'x')
if alias then redis.call('SET', alias, kid) end
redis.call('PUBLISH', ARGV[1], seq .. ' ' .. kid .. ' active 1 x' .. last)
"""


def kid(number):
    """Return a kid."""
    return f"{number:016}"


def key(number):
    """Return the digest of an imported key, different for each number."""
    return number.to_bytes(4) * 8


def keys(first, count):
    """Return changes that import keys."""
    numbers = range(first, first + count)
    return [imported(f"c-{n}", kid(n), [key(n)]) for n in numbers]


def state(valkey):
    """Return the state of the store's index."""
    return decode_state(valkey.admin.getrange(INDEX, 0, 45))


def old_change(valkey, *alias):
    """Make a change as an earlier version does, which does not know the index."""
    valkey.admin.eval(
        OLD_CHANGE, 2 + len(alias), stored.SEQ, stored.LOG, *alias, stored.CHANGES, KID
    )


class Follower(Sidecar):
    """A sidecar that holds an index."""

    def __init__(self, endpoint, *, max_entries=1000, **settings):
        super().__init__(endpoint, **settings)
        self.index = self.feed.imported
        self.index._max_entries = max_entries

    async def complete(self, count):
        """Wait until the index is complete with `count` entries."""
        await eventually(lambda: self.index.excludes([STRANGER]) and self.index.entries == count)

    async def doubtful(self):
        """Wait until the index proves nothing."""
        await eventually(lambda: not self.index.excludes([STRANGER]))


# what is written


async def test_every_change_keeps_it_current(valkey, admin, imports):
    """Imports add entries; each change brings the index to its number."""
    await admin.store.apply(issued())
    await imports.allow_imports()
    assert valkey.admin.get(INDEX) == encoded_index(1, [])
    await imports.apply_all(keys(0, 30))
    await admin.revoke(kid(3))
    await admin.store.apply(issued("c-last", "z" * 16))
    assert valkey.admin.get(INDEX) == encoded_index(33, [entry_of(key(n)) for n in range(30)])
    assert not await Indexing(admin.store._client).is_needed()


async def test_the_same_import_again(valkey, admin, imports):
    """A repeated import adds no entry."""
    await imports.allow_imports()
    await admin.store.apply(imported())
    before = valkey.admin.get(INDEX)
    await admin.store.apply(imported())
    assert valkey.admin.get(INDEX) == before


async def test_without_imports(valkey, admin):
    """A store without imports gets no index."""
    await admin.store.apply(issued())
    assert not valkey.admin.exists(INDEX)
    assert not await Indexing(admin.store._client).is_needed()


async def test_change_of_an_earlier_version(valkey, admin, imports):
    """After it the index stays behind for good, because an import may be missing."""
    await imports.allow_imports()
    await imports.apply_all(keys(0, 3))
    old_change(valkey)
    await imports.apply_all(keys(3, 3))
    assert state(valkey)[:2] == (3, 3)
    assert await Indexing(admin.store._client).is_needed()


@pytest.mark.parametrize("text", ["", "x", "0" * 46, encoded_index(9, []), None])
async def test_garbled(valkey, admin, imports, text):
    """A garbled index stops no change, and is made again."""
    await imports.allow_imports()
    valkey.admin.delete(INDEX)
    if text is None:
        valkey.admin.rpush(INDEX, "a list")
    else:
        valkey.admin.set(INDEX, text)
    assert await imports.apply_all(keys(0, 2)) == [1, 2]
    if text is None:
        valkey.admin.delete(INDEX)
    assert await Indexing(admin.store._client).is_needed()
    assert await Indexing(admin.store._client).run() == 2
    assert valkey.admin.get(INDEX) == encoded_index(2, [entry_of(key(n)) for n in range(2)])


# how it is made


async def test_made_while_keys_change(valkey, admin, imports, monkeypatch):
    """Imports during the making are in the index, and later ones too."""
    await imports.allow_imports()
    await imports.apply_all(keys(0, 20))
    await admin.store.apply(issued())
    valkey.admin.delete(INDEX)
    indexing = Indexing(admin.store._client)
    write, left = indexing._write, [keys(20, 3), keys(23, 2)]

    async def busy(*arguments):
        if left:
            await imports.apply_all(left.pop(0))
        return await write(*arguments)

    monkeypatch.setattr(indexing, "_write", busy)
    assert await indexing.run() == 25
    await imports.apply_all(keys(25, 1))
    found = state(valkey)
    assert (found.seq, found.entries) == (27, 26)
    entries = valkey.admin.get(INDEX)[46:]
    assert {entries[n : n + 12] for n in range(0, len(entries), 12)} == {
        entry_of(key(n)) for n in range(26)
    }


# the copy


async def test_copy_follows(valkey, admin, imports, monkeypatch):
    """The copy is read in pages, then grows with each notice; strangers are excluded."""
    monkeypatch.setattr(imported_index, "PAGE", 4)
    await imports.allow_imports()
    await imports.apply_all(keys(0, 10))
    async with Follower(valkey.endpoint) as sidecar:
        assert not sidecar.index.excludes([STRANGER])
        await sidecar.complete(10)
        await imports.apply_all(keys(10, 50))
        await sidecar.complete(60)
        assert all(sidecar.index.includes([key(n)]) for n in range(60))
        assert not any(sidecar.index.excludes([STRANGER, key(n)]) for n in range(60))


async def test_first_import(valkey, admin, imports):
    """The first import of a store reaches a running sidecar."""
    async with Follower(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await imports.allow_imports()
        await imports.apply_all(keys(0, 1))
        await sidecar.complete(1)


async def test_import_during_the_reading(valkey, admin, imports, monkeypatch):
    """Entries that notices announce while pages are read are neither lost nor counted twice."""
    monkeypatch.setattr(imported_index, "PAGE", 3)
    await imports.allow_imports()
    await imports.apply_all(keys(0, 40))
    async with Follower(valkey.endpoint) as sidecar:
        for first in range(40, 80, 2):
            await imports.apply_all(keys(first, 2))
        await sidecar.complete(80)


async def test_lost_notice(valkey, admin, imports):
    """An import without a notice is read after the next heartbeat."""
    await imports.allow_imports()
    async with Follower(valkey.endpoint) as sidecar:
        await sidecar.complete(0)
        sidecar.feed._on_push, heard = (lambda push: None), sidecar.feed._on_push
        sidecar.feed.link._on_push = sidecar.feed._on_push
        await imports.apply_all(keys(0, 3))
        await sidecar.complete(3)
        sidecar.feed.link._on_push = heard


async def test_old_import_ends_the_proof(valkey, admin, imports):
    """An import by an earlier version ends the proof with its notice, until the index is made."""
    await imports.allow_imports()
    await imports.apply_all(keys(0, 2))
    async with Follower(valkey.endpoint, lease=60) as sidecar:
        await sidecar.complete(2)
        old_change(valkey, stored.alias(STRANGER))
        await sidecar.doubtful()
    async with Follower(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.doubtful()


async def test_old_change_ends_the_proof(valkey, admin, imports):
    """Any change by an earlier version ends the proof at the next heartbeat."""
    await imports.allow_imports()
    async with Follower(valkey.endpoint) as sidecar:
        await sidecar.complete(0)
        old_change(valkey)
        await sidecar.doubtful()
        assert await Indexing(admin.store._client).run() == 0
        await eventually(lambda: sidecar.index.excludes([STRANGER]))


async def test_another_index(valkey, admin, imports):
    """A copy that contradicts the store is dropped and read again."""
    await imports.allow_imports()
    await imports.apply_all(keys(0, 5))
    async with Follower(valkey.endpoint) as sidecar:
        await sidecar.complete(5)
        valkey.admin.set(INDEX, encoded_index(5, [entry_of(key(n)) for n in range(5, 9)]))
        await sidecar.complete(4)
        assert sidecar.index.excludes([key(0)])
        assert sidecar.index.includes([key(8)])


async def test_content_that_contradicts_its_state(valkey, admin, imports):
    """An index whose entries do not fit its state proves nothing."""
    await imports.allow_imports()
    await imports.apply_all(keys(0, 5))
    valkey.admin.setrange(INDEX, 46, "f" * 12)
    async with Follower(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.caught_up(5)
        for _ in range(3):
            assert not sidecar.index.excludes([STRANGER])
            await sidecar.feed.link.call("PING")


async def test_too_large(valkey, admin, imports):
    """An index over the bound is not held, also if it grows over it."""
    await imports.allow_imports()
    await imports.apply_all(keys(0, 5))
    async with Follower(valkey.endpoint, max_entries=5) as sidecar:
        await sidecar.complete(5)
        await imports.apply_all(keys(5, 1))
        await sidecar.doubtful()
        assert not sidecar.index.includes([key(0)])


async def test_ends_with_the_link(own_valkey, own_admin):
    """Without a link the copy proves nothing; it still knows its entries."""
    sidecar = Follower(own_valkey.endpoint)
    async with own_valkey.endpoint.client() as client, sidecar:
        from authz.storage.imports import StoredImports

        imports = StoredImports(client)
        await imports.allow_imports()
        await imports.apply_all(keys(0, 2))
        await sidecar.complete(2)
        sidecar.feed.link.abort()
        await sidecar.complete(2)


async def test_without_the_right(valkey, admin, imports):
    """A user of an earlier version stays trusted without the index, and is refused once a link."""
    await imports.allow_imports()
    async with Follower(restrict(valkey, also=["mget"])) as sidecar:
        await sidecar.trusted()
        assert not sidecar.index.excludes([STRANGER])
        assert await sidecar.alias([NEWEST]) is None
    [refused] = valkey.admin.acl_log()
    assert (refused["count"], refused["object"]) == (1, "getrange")


class Asked:
    """A link whose replies a test gives."""

    def __init__(self):
        self.waiting = []

    def send(self, on_reply, *command):
        """Keep the callback."""
        self.waiting.append(on_reply)

    def answer(self, text):
        """Give the oldest command this reply."""
        self.waiting.pop(0)(text)


def copy_of(entries):
    """Return a copy that is complete at change 10 with these entries, and its link."""
    index, link = ImportedIndex(FakeClock(), schema.DEFAULT, 1000), Asked()
    index.begin_link()
    index.send(link, 10)
    text = encoded_index(10, entries)
    for reply in (text[:46], text[46:], text[:46]) if entries else (text,):
        link.answer(reply)
    assert index.excludes([STRANGER])
    return index, link


def test_an_old_import_while_a_heartbeat_asks():
    """The notice of an import comes before the state that was read without its entry."""
    index, link = copy_of([])
    index.send(link, 10)
    index.note(f"11 {KID} active 1 x imported")
    link.answer(encoded_index(10, []))
    assert not index.excludes([STRANGER])
    index.send(link, 11)
    link.answer(encoded_index(11, [])[:46])  # `authz init` has made the index again
    assert index.excludes([STRANGER])


def test_an_import_into_an_index_that_was_made_again_with_fewer_entries():
    """An entry with a number that the copy has already is not in the copy."""
    index, _ = copy_of([entry_of(key(1)), entry_of(key(1)), entry_of(key(2))])
    index.note(f"11 {KID} active 1 x 3:{entry_of(STRANGER)} imported")
    assert not index.excludes([STRANGER])


def test_entries_of_real_digests():
    """An entry is the beginning of the digest in the name of the alias."""
    [(_, digest)] = make_keyring().parse_imported("sk-0123456789abcdef").digests()
    assert stored.alias(digest).split(":")[-1].startswith(entry_of(digest))
