"""A frozen store refuses every change that a move would lose, and changes nothing meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from authz.core.audit import Action
from authz.core.changes import Author
from authz.core.errors import Unavailable
from authz.core.keys.credentials import ImportedHash
from authz.core.merging import Applied
from authz.core.new_keys import KeySpec
from authz.core.notifications.ports import DeadLetter, Progress
from authz.core.records import RevocationReason
from authz.core.trail.notes import note_event
from authz.core.usage.anomalies.ports import Round
from authz.flows import store_in_force
from authz.flows.importing import Importer, Wanted
from authz.flows.lifecycle import Lifecycle
from authz.flows.usage.erasure import UsageErasure
from authz.process.clock import SystemClock
from authz.storage.abuse import StoredAbuse
from authz.storage.applied import StoredApplied
from authz.storage.deliveries import StoredDeliveries
from authz.storage.leak_memory import StoredLeakMemory
from authz.storage.notifications import StoredLetters, StoredNotifications, StoredReplays
from authz.storage.replies import checked
from authz.storage.resharding.freezing import Freezing
from authz.storage.resharding.lease import RunLease
from authz.storage.schema import DEFAULT, META_RESHARDING, names_of
from authz.storage.session_ends import StoredSessionEnds
from authz.storage.signing_keys import StoredSigningKeys
from authz.storage.trail import StoredRows
from authz.storage.usage.erasing import StoredEraser
from authz.storage.usage.habits import StoredHabits
from authz.wiring.administration import keyring
from authz.wiring.store_parts import StoreParts
from tests.support.cli.in_process import CommandRunner
from tests.support.storage.resharding import in_parts, settings, spend
from tests.support.usage import committed, line
from tests.support.usage_counting import open_link

RUN = "this run"
SINK = "siem"
GROUPS = ("tenant:t", "project:p", "project:t/p")
Door = Callable[["Store"], Awaitable[Any]]


class Store:
    """A store with one partition, and what changes it. kids: an active key, and a revoked one."""

    def __init__(self, parts: StoreParts, valkey: Any) -> None:
        self.parts = parts
        self.valkey = valkey
        self.client = parts.only
        self.names = names_of(self.client)
        self.ring = keyring(settings())
        self.flow = Lifecycle(parts.keys, self.ring, parts.clock, lambda: parts.counters)
        self.rows = StoredRows(self.client)
        self.clock = SystemClock()
        self.kids: list[str] = []

    def author(self) -> Author:
        """Return an author."""
        return self.flow.author("tests")

    async def fill(self) -> None:
        """Issue two keys of a project and a tenant, and revoke one. Add events and a delivery."""
        for _ in range(2):
            done = await self.flow.issue(self.spec(), self.author())
            self.kids.append(done.record.kid)
        await self.flow.revoke(self.kids[1], RevocationReason.UNSPECIFIED, self.author())
        await StoredNotifications(self.client).save(SINK, Progress("1-0"))
        await StoredLetters(self.client).put(SINK, "1-0-a", DeadLetter("t", self.kids[0], 1, "no"))
        await StoredReplays(self.client).ask(SINK, ["1-0-b"])
        await StoredDeliveries(self.client).begin(self.kids[0], "begun")

    def spec(self) -> KeySpec:
        """Return what a new key is to be."""
        owner = {"client_id": "c", "project_id": "p", "tenant_id": "t"}
        return KeySpec(env="live", life_ms=None, **owner)

    async def freeze(self) -> None:
        """Freeze the store, the limits of its keys and those of their pools."""
        freezing = Freezing(self.client, RUN, 8)
        events = [f"events:{kind}:{SINK}" for kind in ("sink", "dead", "again")]
        await freezing.freeze(events)
        await freezing.freeze_limits([*self.kids, *GROUPS])

    def content(self) -> dict[str, bytes | None]:
        """Return all that it holds, apart from what the lease of the run is."""
        admin = self.valkey.admin
        return {
            name: admin.dump(name) for name in admin.scan_iter() if name != self.names.resharder
        }


async def imported(store: Store) -> None:
    """Import a key by its hash."""
    parts = store.parts
    importer = Importer(parts.imports, parts.index, parts.clock, "tests", "")
    peppers = [*store.ring._peppers.values()]
    await importer.put([Wanted(ImportedHash(b"7" * 32, peppers), store.spec())])


async def used(store: Store) -> None:
    """Count a batch of usage as a meter does."""
    now = time.time_ns() // 1_000_000
    async with open_link(store.valkey.endpoint) as link:
        commit = committed(line(kid=store.kids[0], started=now))
        await link.commit(commit, [b"a batch"], now)


async def noted(store: Store) -> None:
    """Add a row about the trail."""
    event = note_event(Action.ERASE_USAGE, store.author(), 7, {"key": store.kids[0]})
    await store.rows.append(event, "7" * 32)


async def spent(store: Store, group: str) -> None:
    """Take a unit of a limit."""
    await checked(spend(store.client, store.names.limit(group), 1))


REFUSED: dict[str, Door] = {
    "issue": lambda store: store.flow.issue(store.spec(), store.author()),
    "update": lambda store: store.flow.update(store.kids[0], {"name": "new"}, store.author()),
    "revoke": lambda store: store.flow.revoke(
        store.kids[0], RevocationReason.UNSPECIFIED, store.author()
    ),
    "import": imported,
    "delete": lambda store: store.parts.deletion.delete(store.kids[1], store.author()),
    "usage": used,
    "row": noted,
    "erase usage": lambda store: UsageErasure(
        StoredEraser(store.client), store.rows, store.clock
    ).erase(store.kids[0], store.author()),
    "spend of a key": lambda store: spent(store, store.kids[0]),
    "spend of a tenant": lambda store: spent(store, GROUPS[0]),
    "spend of a project": lambda store: spent(store, GROUPS[1]),
    "spend of a project of a tenant": lambda store: spent(store, GROUPS[2]),
    "applied": lambda store: StoredApplied(store.client).save(
        {store.kids[0]: Applied(1, {"name": "n"})}
    ),
    "begin a delivery": lambda store: StoredDeliveries(store.client).begin(store.kids[1], "e"),
    "replace a delivery": lambda store: StoredDeliveries(store.client).compare_and_set(
        store.kids[0], "begun", "by"
    ),
    "forget a delivery": lambda store: StoredDeliveries(store.client).compare_and_set(
        store.kids[0], "begun", None
    ),
    "progress": lambda store: StoredNotifications(store.client).save(SINK, Progress("2-0")),
    "dead letter": lambda store: StoredLetters(store.client).put(
        SINK, "2-0", DeadLetter("t", "", 1, "no")
    ),
    "replay": lambda store: StoredReplays(store.client).ask(SINK, ["2-0"]),
    "ended keys": lambda store: StoredLeakMemory(store.client).take_places([store.kids[0]], 1, 5),
    "allowed": lambda store: StoredAbuse(store.client, store.clock).allow("10.0.0.0/8", "me"),
    "unblock": lambda store: StoredAbuse(store.client, store.clock).unblock(["10.0.0.1"]),
    "private half": lambda store: StoredSigningKeys(store.client).private_half("signer"),
    "judged": lambda store: StoredHabits(store.client).finish(Round(1, 1, 0, 0, {})),
    "sighting": lambda store: checked(store.client.xadd(store.names.seen, {"kid": "k"})),
}


@pytest.fixture
def runner(tmp_path, valkey, monkeypatch):
    """A directory with a pepper, and an initialised store of one partition."""
    return CommandRunner(tmp_path, valkey, monkeypatch)


def test_what_changes_data_is_refused(runner, valkey):
    """Every change that a move would lose raises Unavailable, and leaves all values as they were.

    A deletion may have blanked the usage of its key before: that key is still there. A first
    import has marked authz:meta before.
    """

    async def look(parts: StoreParts) -> None:
        store = Store(parts, valkey)
        await store.fill()
        lease = RunLease(store.client, RUN)
        await lease.hold(store.freeze())
        usage = store.names.usage
        for name, door in REFUSED.items():
            before = store.content()
            (outcome,) = await asyncio.gather(door(store), return_exceptions=True)
            assert isinstance(outcome, Unavailable), (name, outcome)
            after = store.content()
            changed = {one for one in before | after if before.get(one) != after.get(one)}
            if name == "import":
                changed.discard(store.names.meta)
            if name == "delete":
                changed = {one for one in changed if not one.startswith(usage)}
            assert not changed, name

    in_parts(look)


def test_a_refused_change_says_when_to_try_again(runner, valkey, monkeypatch):
    """A command waits for the end of a move, then says that the store is moving, and exits with 3.

    It waits for 100 seconds, here for one.
    """
    monkeypatch.setattr(store_in_force, "PATIENCE", 1.0)
    kid, _ = runner.issue()

    async def freeze():
        async with aclosing(valkey.endpoint.client()) as client:
            await RunLease(client, RUN).hold(Freezing(client, RUN, 8).freeze([]))

    asyncio.run(freeze())
    valkey.admin.hset(DEFAULT.meta, META_RESHARDING, "8")
    done = runner.run("keys", "revoke", kid)
    assert (done.code, "is moving to 8 partitions; try again" in done.err) == (3, True), done.err


def test_a_thawed_store_is_as_it_was(runner, valkey):
    """Freeze and thaw leave every value as it was, also if both are repeated."""

    async def look(parts: StoreParts) -> None:
        store = Store(parts, valkey)
        await store.fill()
        await used(store)
        await spend(store.client, store.names.limit(store.kids[0]), 3)
        before = store.content()

        async def both() -> None:
            freezing = Freezing(store.client, RUN, 8)
            for _ in range(2):
                await store.freeze()
                await store.freeze()
                assert store.content() != before
                await freezing.thaw()
                await freezing.thaw()
                assert store.content() == before

        await RunLease(store.client, RUN).hold(both())

    in_parts(look)


def test_an_ended_session_stays_ended(runner, valkey):
    """A frozen store takes the end of a session, which is copied after the move."""

    async def look(parts: StoreParts) -> None:
        store = Store(parts, valkey)
        await RunLease(store.client, RUN).hold(store.freeze())
        await StoredSessionEnds(store.client).end("5" * 64, 9, 60_000)
        assert await StoredSessionEnds(store.client).ended(["5" * 64]) == [9]

    in_parts(look)
