"""The link that publishes blocked clients: hostile texts in the store, and a bound on it."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.abuse import FailureBuckets
from authz.core.failure_budget import MAX_CLIENTS
from authz.storage.abuse import FARTHEST_MS, MOST, AbuseLink, blocked_of
from authz.storage.schema import DEFAULT
from tests.support.fakes import NOW

ONE = "203.0.113.7"
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
    """A link to a store with these blocked clients. It packs commands as the real one does."""

    def __init__(self, blocked, fault=None):
        self.blocked, self.version, self.fault = dict(blocked), 1, fault

    def send(self, on_reply, *command):
        """Carry out a command."""
        hiredis.pack_command(command)
        name, key, *words = command
        if self.fault is not None and name not in {"GET", "HGETALL"}:
            on_reply(self.fault)
            return
        if name == "INCR":
            self.version += 1
        elif name == "HSET":
            self.blocked |= dict(zip(words[::2], words[1::2], strict=True))
        elif name == "HDEL":
            for word in words:
                self.blocked.pop(word.decode("utf-8", "surrogateescape"), None)
        found = {DEFAULT.blocked: dict(self.blocked), DEFAULT.abuse_version: str(self.version)}
        on_reply(found.get(key, {}))


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
