"""StoredIndex and StoredTrail: listing keys and reading histories from a real store."""

import pytest

from authz.core.errors import Frozen, Unavailable, Unreadable
from authz.core.records import KeyRecord, Status
from authz.core.selector import Selector, State
from authz.flows.key_history import KeyHistory
from authz.flows.selection import Selection
from authz.storage.listing import READ_AT_ONCE, StoredIndex, StoredTrail
from tests.support.fakes import FakeClock
from tests.support.storage import stored
from tests.support.storage.sidecar import Admin


@pytest.fixture
async def client(valkey):
    """A client of the store."""
    made = valkey.endpoint.client()
    yield made
    await made.aclose()


@pytest.fixture
def directory(client):
    """A Selection on the store."""
    return Selection(StoredIndex(client), FakeClock())


@pytest.fixture
def histories(client):
    """A KeyHistory on the store."""
    return KeyHistory(StoredTrail(client))


async def issue(admin: Admin, count: int, client_id: str = "acme-web") -> list[str]:
    """Issue keys; keys of the same time are sorted by kid."""
    made = [await admin.issue(client_id=client_id) for _ in range(count)]
    return [r.kid for r in sorted(made, key=lambda record: (record.created_at, record.kid))]


async def listed(directory, limit, **filters):
    """Return the kids of all pages."""
    kids, cursor = [], ""
    while True:
        page = await directory.page(Selector(**filters), limit, cursor)
        kids += [entry.kid for entry in page.entries]
        if page.next is None:
            return kids
        cursor = page.next


async def test_pages(admin, directory, valkey):
    """All keys, or one client's, are listed oldest first on pages of any size."""
    ours, theirs = await issue(admin, 7), await issue(admin, 3, "acme-batch")
    made_at = {kid: valkey.admin.zscore(stored.KEYS, kid) for kid in ours + theirs}
    everyone = sorted(made_at, key=lambda kid: (made_at[kid], kid))
    for limit in (1, 3, 10, 1000):
        assert await listed(directory, limit) == everyone
        assert await listed(directory, limit, client_id="acme-web") == ours
        assert await listed(directory, limit, client_id="acme-batch") == theirs
    assert await listed(directory, 10, client_id="nobody") == []


async def test_many_keys_of_one_moment(admin, directory, valkey):
    """Keys of one millisecond are listed once each for any page size."""
    kids = await issue(admin, 9)
    for kid in kids:
        valkey.admin.zadd(stored.KEYS, {kid: 5})
    assert await listed(directory, 2) == sorted(kids)


async def test_records_and_states(admin, directory):
    """A page holds the current records."""
    kids = await issue(admin, 3)
    await admin.disable(kids[0])
    await admin.revoke(kids[2])
    page = await directory.page(Selector(), 10)
    assert [entry.record.status for entry in page.entries] == [
        Status.DISABLED,
        Status.ACTIVE,
        Status.REVOKED,
    ]
    assert await listed(directory, 10, states=frozenset({State.REVOKED})) == [kids[2]]


async def test_what_cannot_be_read(admin, directory, valkey):
    """A garbled record, one of another type and a missing one do not hide others."""
    kids = await issue(admin, 5)
    valkey.admin.hset(stored.key(kids[1]), "allowed_cidrs", "nonsense")
    valkey.admin.delete(stored.key(kids[2]), stored.key(kids[3]))
    valkey.admin.rpush(stored.key(kids[3]), "text")

    entries = (await directory.page(Selector(), 10)).entries
    assert [entry.kid for entry in entries] == kids
    assert [entry.record is None for entry in entries] == [False, True, True, True, False]
    assert "nonsense" in entries[1].why
    assert "not there" in entries[2].why
    assert "WRONGTYPE" in entries[3].why


async def test_a_list_that_moves_between_two_commands(admin, client, valkey):
    """A cursor whose rank changes between two commands is looked up again."""
    await issue(admin, 6)
    index = StoredIndex(client)
    looked_up = client.zrank
    intruders = iter(["a" * 16, "b" * 16])

    async def zrank(name, member):
        rank = await looked_up(name, member)
        for intruder in intruders:
            valkey.admin.zadd(stored.KEYS, {intruder: 0})
            break
        return rank

    client.zrank = zrank
    places = await index.kids(None, None, 6)
    assert list(await index.kids(None, places[1], 2)) == places[2:4]


async def test_only_ranges_are_read(admin, directory, valkey):
    """Listing runs no command that scans the store, by the server's own statistics."""
    await issue(admin, 5)
    valkey.admin.config_resetstat()
    await listed(directory, 2)
    await listed(directory, 2, client_id="acme-web", states=frozenset({State.ACTIVE}))
    used = {name.removeprefix("cmdstat_") for name in valkey.admin.info("commandstats")}
    used = {name for name in used if "|" not in name} - {"hello", "select", "ping", "info"}
    assert used == {"zrank", "zrange", "get", "hgetall", "evalsha_ro", "hmget"}


async def test_texts_without_the_right_to_run_scripts(valkey, admin):
    """A user who may not run scripts reads the same texts, and those of a key of another type."""
    record = await admin.issue(name="shop")
    valkey.admin.rpush(stored.key("z" * 16), "text")
    rules = ("reset", "on", ">pw", "~authz:*", "+@all", "-evalsha_ro")
    valkey.admin.execute_command("ACL", "SETUSER", "reader", *rules)
    async with valkey.login("reader", "pw").client() as poor, valkey.endpoint.client() as rich:
        wanted = [["shop", "live"], [None, None]]
        for client in (poor, rich):
            found = await StoredIndex(client).texts([record.kid, "z" * 16], ["name", "env"])
            assert [list(row) for row in found] == wanted


async def test_records_without_the_right_to_run_scripts(valkey, admin):
    """Many records are the same by a script and by commands, also those that cannot be read."""
    kids = await issue(admin, 14)
    valkey.admin.hset(stored.key(kids[1]), "allowed_cidrs", "nonsense")
    valkey.admin.delete(stored.key(kids[2]), stored.key(kids[3]))
    valkey.admin.rpush(stored.key(kids[3]), "text")
    wanted = kids * (READ_AT_ONCE // len(kids) + 1)
    rules = ("reset", "on", ">pw", "~authz:*", "+@all", "-evalsha_ro")
    valkey.admin.execute_command("ACL", "SETUSER", "reader", *rules)
    async with valkey.login("reader", "pw").client() as poor, valkey.endpoint.client() as rich:
        by_commands = await StoredIndex(poor).read(wanted)
        by_script = await StoredIndex(rich).read(wanted)
    assert len(by_script) == len(wanted) > READ_AT_ONCE
    assert list(map(repr, by_script)) == list(map(repr, by_commands))
    assert [isinstance(one, KeyRecord) for one in by_script[:5]] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert by_script[2] is None
    assert "WRONGTYPE" in str(by_script[3])


# history


async def test_history(admin, histories):
    """A history shows who, what, when and why, newest first, among changes of other keys."""
    record = await admin.issue()
    author = admin.lifecycle.author
    await admin.issue()
    await admin.lifecycle.update(record.kid, {"name": "shop"}, author("bob", "a better name"))
    await admin.issue()
    await admin.disable(record.kid)
    revoked = await admin.revoke(record.kid)

    history = await histories.of(await admin.lifecycle.show(record.kid))

    assert history.lost is None
    assert [entry.event.action.value for entry in history.entries] == [
        "revoke",
        "disable",
        "update",
        "issue",
    ]
    assert [entry.version for entry in history.entries] == [revoked.version, 5, 3, 1]
    assert [entry.base_version for entry in history.entries] == [5, 3, 1, 0]
    update = history.entries[2].event
    assert (update.actor, update.note) == ("bob", "a better name")
    assert update.detail == {"name": {"old": "", "new": "shop"}}


async def test_history_costs_its_own_changes(admin, histories, valkey):
    """A history costs one XRANGE of one entry for each change of the key."""
    record = await admin.issue()
    for _ in range(50):
        await admin.issue()
    await admin.disable(record.kid)
    found = await admin.lifecycle.show(record.kid)
    valkey.admin.config_resetstat()
    await histories.of(found)
    stats = valkey.admin.info("commandstats")
    assert stats["cmdstat_xrange"]["calls"] == 2


async def test_an_entry_that_came_late(admin, histories, valkey):
    """An audit entry that was written late is found."""
    record = await admin.issue()
    await admin.issue()
    (_, entry), *_ = valkey.admin.xrange(stored.AUDIT, "1-0", "1-0")
    valkey.admin.xdel(stored.AUDIT, "1-0")
    valkey.admin.xadd(stored.AUDIT, entry, id="2-1")
    await admin.disable(record.kid)

    history = await histories.of(await admin.lifecycle.show(record.kid))
    assert [(e.version, e.base_version) for e in history.entries] == [(3, 1), (1, 0)]
    assert history.lost is None


async def test_a_trail_that_was_trimmed(admin, histories, valkey):
    """A trimmed audit trail gives a partial history that says where it ends."""
    record = await admin.issue()
    await admin.disable(record.kid)
    await admin.revoke(record.kid)
    valkey.admin.xdel(stored.AUDIT, "1-0")
    history = await histories.of(await admin.lifecycle.show(record.kid))
    assert [entry.version for entry in history.entries] == [3, 2]
    assert history.lost == 1


@pytest.mark.parametrize(
    "damage",
    [
        {"base": "7"},
        {"base": "x"},
        {"action": "vanish"},
        {"at": ""},
        {"detail": "7"},
        {"detail": "{"},
    ],
)
async def test_an_entry_that_is_garbled(admin, histories, valkey, damage):
    """A garbled audit entry is named, and a history never loops."""
    record = await admin.issue()
    ((_, entry),) = valkey.admin.xrange(stored.AUDIT)
    valkey.admin.delete(stored.AUDIT)
    valkey.admin.xadd(stored.AUDIT, entry | damage, id="1-0")
    if damage == {"base": "7"}:
        assert (await histories.of(record)).lost == 1
        return
    with pytest.raises(Unreadable, match=f"audit entry of {record.kid} at version 1"):
        await histories.of(record)


async def test_a_store_that_is_gone(own_valkey, own_admin):
    """Listing and history raise Unavailable if the store is gone."""
    record = await own_admin.issue()
    client = own_valkey.endpoint.client()
    directory = Selection(StoredIndex(client), FakeClock())
    own_valkey.kill()
    with pytest.raises(Unavailable):
        await directory.page(Selector(), 10)
    with pytest.raises(Unavailable):
        await KeyHistory(StoredTrail(client)).of(record)
    await client.aclose()


@pytest.mark.parametrize("is_newest_first", [False, True])
@pytest.mark.parametrize("client_id", [None, "acme-web"])
async def test_a_list_that_a_move_removed_has_no_end(
    admin, client, valkey, client_id, is_newest_first
):
    """Its keys are in the partitions, so an empty answer would hide them."""
    await issue(admin, 2)
    index, names = StoredIndex(client), stored.DEFAULT
    (first, last) = await index.kids(client_id, None, 2)
    after = last if is_newest_first else first
    valkey.admin.delete(names.keys, names.client("acme-web"))
    assert await index.kids(client_id, after, 2, is_newest_first=is_newest_first) == []
    valkey.admin.hset(names.meta, "resharding", "8")
    assert await index.kids(client_id, None, 2, is_newest_first=is_newest_first) == []
    valkey.admin.hset(names.meta, mapping={"partitions": "8", "complete": "1"})
    for place in (after, None):
        with pytest.raises(Frozen, match="has 8 partitions"):
            await index.kids(client_id, place, 2, is_newest_first=is_newest_first)


async def test_a_record_that_a_move_removed_is_not_absent(admin, client, valkey):
    """Its key is in the partitions. A record that is there is read."""
    gone, here = await issue(admin, 2)
    index, names = StoredIndex(client), stored.DEFAULT
    valkey.admin.delete(names.key(gone))
    valkey.admin.hset(names.meta, mapping={"partitions": "8", "complete": "1"})
    assert isinstance((await index.read([here]))[0], KeyRecord)
    with pytest.raises(Frozen, match="has 8 partitions"):
        await index.read([here, gone])
