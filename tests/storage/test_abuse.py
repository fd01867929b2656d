"""The link that publishes blocked clients: hostile texts in the store, and a bound on it."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.abuse import FailureBuckets
from authz.core.errors import Unavailable
from authz.core.failure_budget import MAX_CLIENTS
from authz.storage.abuse import FARTHEST_MS, MOST, PIECE, AbuseLink, blocked_of
from authz.storage.link import Link
from authz.storage.schema import DEFAULT
from tests.support.fakes import NOW
from tests.support.real import eventually

ONE, OTHER = "203.0.113.7", "203.0.113.8"
SOON = str(NOW + 60_000)


class Clock:
    """Two seconds pass between two looks."""

    def __init__(self):
        self.seconds = 0.0

    def wall_ms(self):
        """Return the wall time."""
        return NOW

    def monotonic(self):
        """Return a later time each time."""
        self.seconds += 2
        return self.seconds


class StoreLink:
    """A link to a store with these blocked clients. It packs commands as the real one does.

    names: of the commands so far.
    """

    def __init__(self, blocked, fault=None):
        self.blocked, self.version, self.fault = dict(blocked), 1, fault
        self.names = []

    def send(self, on_reply, *command):
        """Carry out a command."""
        hiredis.pack_command(command)
        name, key, *words = command
        self.names.append(name)
        if self.fault is not None and name not in {"GET", "HGETALL", "HSCAN"}:
            on_reply(self.fault)
            return
        if name == "INCR":
            self.version += 1
            on_reply(self.version)
            return
        if name == "HSCAN":
            at, count = int(words[0]), int(words[2])
            texts = [text for pair in self.blocked.items() for text in pair]
            following = at + count if 2 * (at + count) < len(texts) else 0
            on_reply([str(following), texts[2 * at : 2 * (at + count)]])
            return
        if name == "HSET":
            self.blocked |= dict(zip(words[::2], words[1::2], strict=True))
        elif name == "HDEL":
            for word in words:
                self.blocked.pop(word.decode("utf-8", "surrogateescape"), None)
        on_reply(str(self.version) if key == DEFAULT.abuse_version else {})


def sidecar(link, *clients):
    """Return the buckets and the link of a sidecar that has read the store and blocks clients."""
    buckets = FailureBuckets(1, 60_000)
    abuse = AbuseLink(buckets, DEFAULT, Clock())
    abuse.send(link)
    for client in clients:
        assert [buckets.fail(client, NOW) for _ in range(2)] == [False, True]
    return buckets, abuse


@pytest.mark.parametrize("name", ["\udcff", "x" * 100_000, "", "\x1b[31m", ONE + "\n", "::1/65"])
@pytest.mark.parametrize("end", ["1", SOON, "9" * 15, "-1", "x"])
def test_a_text_that_is_no_client(name, end):
    """Such a text is not shown, does not stop the sidecar, and goes away."""
    link = StoreLink({name: end})
    assert blocked_of(link.blocked, NOW) == {}
    _, abuse = sidecar(link, ONE)
    abuse.send(link)
    assert link.blocked == {ONE: SOON}


CLIENTS = st.sampled_from(["203.0.113.7", "2001:db8::/64", "198.51.100.1", "nobody", ""])
ENDS = st.integers(NOW - 5, NOW + 5).map(str) | st.sampled_from(["x", "-1", "9" * 15])
FOUND = st.dictionaries(CLIENTS, ENDS)


@given(read=FOUND, found=FOUND, later=st.integers(0, 10))
def test_entries_that_were_read_before_count_as_if_read_anew(read, found, later):
    """The clients that were found before save time and change nothing."""
    known = blocked_of(read, NOW)

    assert blocked_of(found, NOW + later, known, read) == blocked_of(found, NOW + later)


def test_an_end_that_is_too_far():
    """No sidecar writes it: nobody may block a client for ever."""
    end = NOW + FARTHEST_MS
    assert blocked_of({ONE: str(end + 1)}, NOW) == {}
    assert blocked_of({ONE: str(end)}, NOW) == {ONE: end}


def test_the_store_is_bounded():
    """A full store gets no further client; the sidecar keeps its block, and publishes it later."""
    full = {f"10.0.{number >> 8}.{number & 255}": SOON for number in range(MAX_CLIENTS)}
    link = StoreLink(full)
    buckets, abuse = sidecar(link, ONE)
    for _ in range(3):
        abuse.send(link)
    assert link.blocked == full
    assert buckets.fail(ONE, NOW)
    link.blocked, link.version = {}, 2
    for _ in range(2):
        abuse.send(link)
    assert link.blocked == {ONE: SOON}


def test_a_store_that_refuses():
    """The memory of the sidecar stays bounded, and its blocks hold."""
    link = StoreLink({}, fault=hiredis.ReplyError("OOM command not allowed"))
    clients = [f"10.0.{number >> 8}.{number & 255}" for number in range(5 * MOST)]
    buckets, abuse = sidecar(link, *clients)
    for _ in range(10):
        abuse.send(link)
    assert all(buckets.fail(client, NOW) for client in clients)
    assert set(buckets.unpublished(MAX_CLIENTS)) == set(clients)


def addresses(count):
    """Return so many addresses."""
    return [f"10.0.{number >> 8}.{number & 255}" for number in range(count)]


def test_many_clients_are_read_in_pieces():
    """One reply with thousands of them would stop all Checks for milliseconds."""
    clients = addresses(30 * PIECE)
    link = StoreLink(dict.fromkeys(clients, SOON))
    buckets, _ = sidecar(link)
    assert all(buckets.fail(client, NOW) for client in clients)
    assert link.names.count("HSCAN") == 30


def test_a_sidecar_does_not_read_what_it_published_itself():
    """In an attack on one sidecar that would be thousands of clients a second."""
    link = StoreLink({})
    buckets, abuse = sidecar(link, ONE)
    link.names.clear()
    for _ in range(3):
        abuse.send(link)
    assert link.blocked == {ONE: SOON}
    assert link.names == ["HSET", "INCR", "GET", "GET", "GET"]
    assert buckets.fail(ONE, NOW)


def test_ended_blocks_are_forgotten():
    """Nobody else may change anything, so nothing is read that would say so."""

    class Passing(Clock):
        def wall_ms(self):
            return NOW + int(self.seconds * 1000)

    link, clock = StoreLink({}), Passing()
    buckets = FailureBuckets(1, 1_000)
    abuse = AbuseLink(buckets, DEFAULT, clock)
    for number in range(20):
        address = f"10.0.0.{number}"
        assert [buckets.fail(address, clock.wall_ms()) for _ in range(2)] == [False, True]
        abuse.send(link)
    assert 0 < len(link.blocked) < 10
    assert not buckets.fail("10.0.0.0", clock.wall_ms())  # it begins anew
    assert buckets.fail("10.0.0.19", clock.wall_ms())


def test_a_change_of_another_sidecar_beside_our_own_is_read():
    """Our own number says that there was another change before it."""
    link = StoreLink({})
    buckets, abuse = sidecar(link, ONE)
    link.blocked[OTHER] = SOON
    link.version += 1
    abuse.send(link)
    assert buckets.fail(OTHER, NOW)
    del link.blocked[ONE]  # somebody ends the block
    link.version += 1
    abuse.send(link)
    assert not buckets.fail(ONE, NOW)


def test_a_block_that_was_not_stored_is_not_taken_as_published():
    """The number of changes grew nevertheless."""

    class Refusing(StoreLink):
        def send(self, on_reply, *command):
            refused = command[0] == "HSET" and len(self.names) < 5
            self.fault = hiredis.ReplyError("OOM") if refused else None
            super().send(on_reply, *command)

    link = Refusing({})
    buckets, abuse = sidecar(link, ONE)
    abuse.send(link)
    assert link.blocked == {}
    assert buckets.fail(ONE, NOW)
    abuse.send(link)
    assert link.blocked == {ONE: SOON}


class Torn(StoreLink):
    """A link that keeps what is to come, until `go_on`."""

    def __init__(self, blocked):
        super().__init__(blocked)
        self.waiting = []

    def send(self, on_reply, *command):
        """Keep a command."""
        self.waiting.append((on_reply, command))

    def go_on(self, fault=None):
        """Carry out the oldest command, or answer it with a fault."""
        on_reply, command = self.waiting.pop(0)
        if fault is None:
            super().send(on_reply, *command)
        else:
            on_reply(fault)


@pytest.mark.parametrize("lost", range(1, 5))
def test_a_link_that_is_lost_while_it_is_read(lost):
    """The blocks that are known hold, and the next link reads from the beginning."""
    link = Torn(dict.fromkeys(addresses(2 * PIECE), SOON))
    buckets = FailureBuckets(1, 60_000)
    abuse = AbuseLink(buckets, DEFAULT, Clock())
    buckets.replace_fleet({ONE: NOW + 60_000}, [])
    abuse.send(link)
    for _ in range(lost - 1):
        link.go_on()
    abuse.send(link)  # nothing more is asked while it reads
    assert len(link.waiting) <= 2
    while link.waiting:
        link.go_on(Unavailable("lost"))
    assert buckets.fail(ONE, NOW)
    other = StoreLink({OTHER: SOON})
    abuse.send(other)
    assert buckets.fail(OTHER, NOW)


class Older(StoreLink):
    """A store whose users are those of an earlier build. It allows the network of ONE."""

    is_older = True

    def send(self, on_reply, *command):
        """Carry out a command, or refuse HSCAN."""
        if command[0] == "HSCAN" and self.is_older:
            self.names.append("HSCAN")
            on_reply(hiredis.ReplyError("NOPERM User s has no permissions to run 'hscan'"))
        elif command == ("HGETALL", DEFAULT.allowed):
            self.names.append("HGETALL")
            on_reply({ONE + "/32": "someone"})
        else:
            super().send(on_reply, *command)


class Odd(StoreLink):
    """A store that allows the network of ONE, and a text that is none."""

    def send(self, on_reply, *command):
        """Carry out a command."""
        if command == ("HGETALL", DEFAULT.allowed):
            on_reply({"10.0.0.1/8": "someone", ONE: "someone"})
        else:
            super().send(on_reply, *command)


def test_an_allowed_text_that_is_no_network(caplog):
    """An odd text is logged once. Other networks and the blocks of the fleet are taken."""
    link = Odd({ONE: SOON, OTHER: SOON})
    buckets, abuse = sidecar(link)
    for _ in range(5):  # others change something
        link.version += 1
        abuse.send(link)
    assert buckets.fail(OTHER, NOW)
    assert not buckets.fail(ONE, NOW)
    assert ["10.0.0.1/8" in text for text in caplog.messages] == [True]


def test_a_store_that_refuses_hscan(caplog):
    """The allowed networks are taken, the remedy is logged once, and HSCAN is rarely repeated."""
    link = Older({OTHER: SOON})
    buckets = FailureBuckets(1, 60_000)
    buckets.replace_fleet({ONE: NOW + 60_000}, [])
    abuse = AbuseLink(buckets, DEFAULT, Clock())
    abuse.send(link)
    assert not buckets.fail(ONE, NOW)
    for _ in range(9):  # 20 seconds, in which others change something
        link.version += 1
        abuse.send(link)
    assert link.names.count("HGETALL") == 10
    assert 2 <= link.names.count("HSCAN") <= 3
    assert [text for text in caplog.messages if "deploy/redis/users.acl" in text] == caplog.messages
    assert len(caplog.messages) == 1
    link.is_older = False
    for _ in range(6):  # nobody changes anything
        abuse.send(link)
    assert buckets.fail(OTHER, NOW)
    assert not buckets.fail(ONE, NOW)


def test_known_blocks_hold_while_hscan_is_refused():
    """Users of an earlier build may be loaded again: clients that are blocked stay so."""
    link = Older({OTHER: SOON})
    link.is_older = False
    client = "203.0.113.9"
    buckets, abuse = sidecar(link, client)
    abuse.send(link)
    link.is_older = True
    for _ in range(7):
        link.version += 1
        abuse.send(link)
    assert link.names.count("HSCAN") >= 2
    assert all(buckets.fail(one, NOW) for one in (OTHER, client))


async def test_a_real_store_that_refuses_hscan(valkey):
    """A user without HSCAN still learns the allowed networks."""
    link = await valkey.endpoint.open(lambda: Link(lambda _push: None, lambda: None))
    await link.call("HELLO", "3")
    await link.call("ACL", "SETUSER", "older", "on", "nopass", "~*", "+@all", "-hscan")
    try:
        await link.call("AUTH", "older", "any")
        await link.call("HSET", DEFAULT.allowed, ONE + "/32", "someone")
        await link.call("INCR", DEFAULT.abuse_version)
        buckets = FailureBuckets(1, 60_000)
        buckets.replace_fleet({ONE: NOW + 60_000}, [])
        AbuseLink(buckets, DEFAULT, Clock()).send(link)
        await eventually(lambda: not buckets.fail(ONE, NOW))
    finally:
        link.abort()
        valkey.admin.execute_command("ACL", "DELUSER", "older")


async def test_a_real_store_with_many_clients(valkey):
    """The pieces of a real store are the whole."""
    clients = addresses(12 * PIECE)
    link = await valkey.endpoint.open(lambda: Link(lambda _push: None, lambda: None))
    await link.call("HELLO", "3")
    await link.call("HSET", DEFAULT.blocked, *(text for one in clients for text in (one, SOON)))
    await link.call("INCR", DEFAULT.abuse_version)
    buckets = FailureBuckets(1_000_000, 60_000)  # blocked only if another sidecar says so
    abuse = AbuseLink(buckets, DEFAULT, Clock())
    abuse.send(link)
    await eventually(lambda: buckets.fail(clients[0], NOW))
    assert all(buckets.fail(client, NOW) for client in clients)
    link.abort()
