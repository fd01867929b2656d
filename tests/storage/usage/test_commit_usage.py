"""The script that counts usage, and its link, when the store is damaged, full or away."""

import pytest

from authz.core.errors import Unavailable, Unreadable
from authz.core.usage.counts import Level
from authz.core.usage.ports import Counted, Known
from authz.core.usage.tally import Clocks
from authz.storage import functions
from authz.storage.usage import rows
from authz.storage.usage.stored_usage import StoredUsage
from tests.support.real import RealClock, eventually
from tests.support.storage import stored
from tests.support.usage import KID, committed, line
from tests.support.usage_counting import open_link

KEPT = dict.fromkeys(Level, 86_400 * 40)
OTHER = "Q" * 16
BASE = stored.DEFAULT.usage


def linked(valkey, **options):
    """A link to a store that is set up."""
    valkey.admin.hset(stored.META, "schema", "1")
    return open_link(valkey.endpoint, KEPT, **options)


def usage(*kids):
    """Return a commit with one request of each key, and the time now in ms."""
    now = RealClock().wall_ms()
    lines = [line(kid=kid, started=now, milliseconds="0") for kid in kids]
    return committed(*lines, clocks=Clocks.near(now, 3_600_000, 60_000)), now


async def requests(valkey, kid) -> int:
    """The number of requests of a key that are counted."""
    day = RealClock().wall_ms() // 86_400_000
    async with valkey.endpoint.client() as client:
        found = await StoredUsage(client).counts(kid, Level.DAY, range(day - 1, day + 1))
    return sum(counts.requests for counts in found.values())


async def test_a_key_whose_data_is_damaged(valkey):
    """Other keys are counted, and the reply says that one is damaged; it is not sent for ever."""
    async with linked(valkey) as link:
        valkey.admin.set(f"{BASE}{KID}", "garbage")
        commit, now = usage(KID, OTHER)
        assert await link.commit(commit, [b"one"], now) == Counted(garbled=1)
        assert isinstance(await link.commit(commit, [b"one"], now), Known)
    assert await requests(valkey, OTHER) == 1


async def test_a_row_that_is_damaged(valkey):
    """A row of the former version that is no array is not read, and the error says where it is."""
    async with linked(valkey) as link:
        commit, now = usage(KID)
        await link.commit(commit, [b"one"], now)
        day = now // 86_400_000
        valkey.admin.hset(f"{BASE}{KID}:d:{day // Level.DAY.window}", str(day), "x")
        assert await link.commit(commit, [b"two"], now) == Counted()
    with pytest.raises(Unreadable, match=str(day)):
        await requests(valkey, KID)


@pytest.mark.parametrize(("field", "text"), [("bx", "1"), ("seen", "x"), ("at", "9" * 5_000)])
async def test_a_process_that_is_damaged(valkey, field, text):
    """Its numbers cannot be read. Work that runs for ever, such as early retirement, goes on."""
    valkey.admin.zadd(f"{BASE}procs", {"one": 1})
    valkey.admin.hset(f"{BASE}proc:one", field, text)
    async with valkey.endpoint.client() as client:
        with pytest.raises(Unreadable):
            await StoredUsage(client).processes()


@pytest.mark.parametrize("field", ["x!revoked", "xn", f"{'9' * 5_000}n"])
async def test_a_day_that_is_damaged(valkey, field):
    """A day that is no number is refused as every number."""
    valkey.admin.hset(f"{BASE}{KID}:d:0", field, "1")
    async with valkey.endpoint.client() as client:
        with pytest.raises(Unreadable):
            await StoredUsage(client).days(KID, range(5))


async def test_a_full_store(own_valkey):
    """A store that takes no more writes has neither the digest nor a count; later it has both."""
    async with linked(own_valkey) as link:
        commit, now = usage(KID)
        own_valkey.admin.config_set("maxmemory", "1")
        with pytest.raises(Unavailable, match="maxmemory"):
            await link.commit(commit, [b"one"], now)
        own_valkey.admin.config_set("maxmemory", "0")
        assert own_valkey.admin.keys(f"{BASE}*") == []
        await eventually(lambda: not link.reason)
        assert await link.commit(commit, [b"one"], now) == Counted()
    assert await requests(own_valkey, KID) == 1


async def test_a_store_that_hangs(own_valkey):
    """After the deadline the outcome is unknown; asked again, the store counts it once."""
    async with linked(own_valkey, deadline=0.2) as link:
        commit, now = usage(KID)
        own_valkey.pause()
        with pytest.raises(Unavailable, match="answered"):
            await link.commit(commit, [b"one"], now)
        own_valkey.resume()
        await eventually(lambda: not link.reason)
        await link.commit(commit, [b"one"], now)
    assert await requests(own_valkey, KID) == 1


async def test_a_store_that_lost_the_script(valkey):
    """After SCRIPT FLUSH the script is loaded again, and the commit is sent again."""
    async with linked(valkey) as link:
        valkey.admin.script_flush()
        commit, now = usage(KID)
        assert await link.commit(commit, [b"one"], now) == Counted()


async def test_by_a_function(own_valkey):
    """With functions the meter counts by one, and by the script once the store lost it."""
    async with own_valkey.endpoint.client() as client:
        await functions.load(client)
    async with linked(own_valkey) as link:
        commit, now = usage(KID)
        assert await link.commit(commit, [b"one"], now) == Counted()
        assert "cmdstat_evalsha" not in own_valkey.admin.info("commandstats")
        own_valkey.admin.function_flush()
        assert await link.commit(commit, [b"two"], now) == Counted()
    assert await requests(own_valkey, KID) == 2


async def test_every_name_has_an_end(valkey):
    """Every name of usage expires, except sums, routes, latest uses and the start of rankings."""
    async with linked(valkey) as link:
        commit, now = usage(KID)
        await link.commit(commit, [b"one"], now)
    lasting = {f"{BASE}{name}" for name in ("sums", "routes", "last", "procs", "all:y", "ranked")}
    names = set(valkey.admin.keys(f"{BASE}*"))
    assert {name for name in names if valkey.admin.ttl(name) < 0} <= lasting
    assert len(names) >= 12


@pytest.mark.parametrize(
    ("data", "items"),
    [
        (b"\x90", []),
        (b"\x93\x01\x7f\xff", [1, 127, -1]),
        (b"\x93\xcc\xff\xcd\x01\x00\xce\x00\x01\x00\x00", [255, 256, 65536]),
        (b"\x92\xcf\x00\x1f\xff\xff\xff\xff\xff\xff\xd0\x80", [2**53 - 1, -128]),
        (b"\x92\xa2ab\xd9\x01c", ["ab", "c"]),
        (b"\xdc\x00\x01\x05", [5]),
    ],
)
def test_packed_rows(data, items):
    """Arrays of integers and text are decoded as MessagePack says."""
    assert rows.array("row", data.decode("utf-8", "surrogateescape")) == items


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x92\x01", b"\x91\xcd\x01", b"\x91\xc0", b"\x91\x01\x02", b"\x91\xa3a"]
)
def test_packed_rows_that_are_damaged(data):
    """Anything else is Unreadable, and names the row."""
    with pytest.raises(Unreadable, match="row"):
        rows.array("row", data.decode("utf-8", "surrogateescape"))


async def test_a_user_without_the_rights(own_valkey):
    """A meter that may not write open usage counts nothing and says which right it lacks.

    Its batches are counted once the user has the right.
    """
    rules = ("on", ">weak", "+@all", "-set", "~*", "&*")
    own_valkey.admin.execute_command("ACL", "SETUSER", "weak", *rules)
    own_valkey.admin.hset(stored.META, "schema", "1")
    async with open_link(own_valkey.login("weak", "weak"), KEPT) as link:
        commit, now = usage(KID)
        with pytest.raises(Unavailable, match="SET on usage"):
            await link.commit(commit, [b"one"], now)
        assert own_valkey.admin.keys(f"{BASE}*") == []
        own_valkey.admin.execute_command("ACL", "SETUSER", "weak", "+set")
        await eventually(lambda: not link.reason)
        assert await link.commit(commit, [b"one"], now) == Counted()
    assert await requests(own_valkey, KID) == 1


async def test_a_user_of_an_earlier_version(own_valkey):
    """A meter that may not overwrite a part of the open usage counts as well."""
    rules = ("on", ">weak", "+@all", "-setrange", "~*", "&*")
    own_valkey.admin.execute_command("ACL", "SETUSER", "weak", *rules)
    own_valkey.admin.hset(stored.META, "schema", "1")
    async with open_link(own_valkey.login("weak", "weak"), KEPT) as link:
        for digest in (b"one", b"two", b"three"):
            commit, now = usage(KID)
            assert await link.commit(commit, [digest], now) == Counted()
    assert await requests(own_valkey, KID) == 3


async def test_the_next_request_of_a_minute_writes_a_part(own_valkey):
    """Only the state and the latest counts of a key are written then, and its end stays."""
    async with linked(own_valkey) as link:
        commit, now = usage(KID)
        await link.commit(commit, [b"one"], now)
        own_valkey.admin.expire(f"{BASE}{KID}:o", 1000)
        assert await link.commit(commit, [b"two"], now) == Counted()
        commands = own_valkey.admin.info("commandstats")
        assert (commands["cmdstat_setrange"]["calls"], commands["cmdstat_set"]["calls"]) == (1, 1)
        assert 0 < own_valkey.admin.ttl(f"{BASE}{KID}:o") <= 1000
    assert await requests(own_valkey, KID) == 2
