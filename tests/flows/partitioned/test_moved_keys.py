"""Administration of moved keys: a divided store agrees with the store that it was made of.

Both lie on one server. After the division the same operations are made in both, by a seed.
"""

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from authz.core.changes import Refused, Unchanged
from authz.core.errors import Conflict, NotFound, Unavailable, Unreadable
from authz.core.keys.keyring import Keyring
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import OnOutage, parse_limit
from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import KeyRecord, RevocationReason
from authz.core.selector import Selector
from authz.core.usage.parts import Parts
from authz.core.usage.question import By, span
from authz.core.usage.tally import Clocks
from authz.flows.key_history import KeyHistory
from authz.flows.lifecycle import Changed, Lifecycle
from authz.flows.limits.limit_report import LimitReports
from authz.flows.partitioned.places import Places
from authz.flows.selection import Selection
from authz.storage.backup import Backup
from authz.storage.divided_restore import DividedRestore
from authz.storage.index_members import short_member
from authz.storage.verified_backup import verify
from authz.wiring.store_parts import StoreParts
from authz.wiring.usage_readers import usage_reading
from tests.support.changes import author, issued
from tests.support.fakes import FakeClock, make_pepper
from tests.support.real import RealClock
from tests.support.storage.partitioned import CLIENT, COUNT, parts_of
from tests.support.usage import committed, line
from tests.support.usage_counting import open_link

PARTITIONS = Partitions(COUNT)
DAY = 86_400_000
DAILY = (parse_limit("limit", "100/d"),)
FINGERPRINTS = Keyring("ak", [make_pepper("1")]).fingerprints


class Side:
    """One of the two stores, with everything around it."""

    def __init__(self, parts: StoreParts, links: Sequence, clock: FakeClock) -> None:
        ring = Keyring("ak", [make_pepper("1")], partitions=parts.partitions)
        self.parts, self.links, self.clock = parts, links, clock
        self.life = Lifecycle(parts.keys, ring, clock, lambda: parts.counters)
        self.selection = Selection(parts.index, clock)
        policy = LimitPolicy({}, {"p1": DAILY}, {"t1": DAILY}, OnOutage.DENY)
        self.limits = LimitReports(parts.counters, policy, clock)

    async def use(self, record: KeyRecord, number: int, now: int) -> None:
        """Count a request with a key. now: milliseconds since the epoch."""
        owners = (record.client_id, record.project_id, record.tenant_id)
        one = line(
            kid=record.kid,
            owners=" ".join(text or "-" for text in owners) + " - live",
            started=now,
            milliseconds="0",
            charge_id=f"{'ab' * 8}{number:012x}",
        )
        for at, part in Parts(self.parts.partitions).of([one]).items():
            commit = committed(*part, clocks=Clocks.near(now, 90 * DAY, DAY))
            await self.links[at].commit(commit, [one], now)

    async def view(self, kid: str) -> list[object]:
        """Return everything about a key that both stores must agree on."""
        record = await self.parts.keys.find(kid)
        if record is None:
            return []
        now = RealClock().wall_ms()
        history = await KeyHistory(self.parts.history).of(record)
        limits = await self.limits.view(record)
        uses = limits.uses if limits else ()
        reading = usage_reading(self.parts)
        used = await reading.of_key(kid, span(now - DAY, now, By.ROUTE, of_keys=True), By.ROUTE)
        return [
            replace(record, version=0, secrets=()),
            len(record.secrets),
            [(entry.event.action, entry.event.at) for entry in history.entries],
            [(use.owner, use.owner_id, use.used) for use in uses],
            used.total.requests,
            await reading.latest_times([kid]),
        ]

    async def lists(self) -> list[object]:
        """Return the lists of keys, by several selectors, in both directions."""
        found: list[object] = []
        for selector in (Selector(), Selector(client_id="c1"), Selector(tenant_id="t1")):
            for newest in (False, True):
                page = await self.selection.page(selector, 200, is_newest_first=newest)
                found.append([entry.kid for entry in page.entries])
        now = RealClock().wall_ms()
        totals = await usage_reading(self.parts).all_requests(
            span(now - DAY, now, By.STATUS, of_keys=False), By.STATUS
        )
        return [*found, totals.total.requests]


def spec(dice: random.Random) -> KeySpec:
    """Return the fields of a key with a random owner."""
    return KeySpec(
        client_id=f"c{dice.randrange(9)}",
        project_id=dice.choice(["", "", "p1", "p2"]),
        tenant_id=dice.choice(["", "t1", "t2", "t3"]),
        env="live",
        life_ms=None,
    )


async def operate(side: Side, kid: str, what: str, value: str) -> str:
    """Carry out an operation on a key. Return what came of it, in a word."""
    by = author()
    try:
        match what:
            case "update":
                done = await side.life.update(kid, {"name": value}, by)
            case "move":
                done = await side.life.update(kid, {"client_id": value}, by)
            case "disable":
                done = await side.life.disable(kid, by)
            case "enable":
                done = await side.life.enable(kid, by)
            case "rotate":
                done = await side.life.rotate(kid, DAY, by)
            case "reset":
                done = await side.life.reset_limits(kid, by)
            case "revoke":
                done = await side.life.revoke(kid, RevocationReason.UNSPECIFIED, by)
            case _:
                await side.parts.deletion.delete(kid, by, is_forced=True)
                return "deleted"
    except (NotFound, Conflict) as fault:
        return type(fault).__name__
    assert isinstance(done, (Changed, Refused, Unchanged))
    return type(done).__name__


WHAT = ("update", "update", "disable", "enable", "rotate", "reset", "revoke", "delete")


async def compare(valkey, seed: int) -> None:
    """Divide a store of random keys, and compare both after random operations."""
    dice, clock = random.Random(seed), FakeClock()
    async with AsyncExitStack() as stack:
        sides = []
        for count in (1, COUNT):
            parts = await stack.enter_async_context(parts_of(valkey, count))
            where = [client.names for client in parts.clients]
            assert len(where) == count
            sides.append(parts)
        one, many = sides
        await one.stores[0].initialise(FINGERPRINTS, is_compact=dice.random() < 0.5)
        first = Side(one, (), clock)
        kids = []
        for _ in range(30):
            kids.append((await first.life.issue(spec(dice), author())).record.kid)
            clock.advance(1)
        for kid in kids[::9]:
            await first.life.disable(kid, author())
        lines: list[dict] = []
        await Backup(one.clients[0], lines.append).run(FINGERPRINTS, 5)
        numbered = list(enumerate(lines, start=1))
        verified = verify(numbered, FINGERPRINTS)
        await DividedRestore(many.clients).run(verified, numbered, 0)
        links = [
            await stack.enter_async_context(open_link(endpoint))
            for endpoint in (
                valkey.endpoint,
                *replace(valkey.endpoint, count=COUNT).partitions(),
            )
        ]
        both = [Side(one, links[:1], clock), Side(many, links[1:], clock)]
        records = {kid: await one.keys.find(kid) for kid in kids}
        assert sum(PARTITIONS.of(kid) != PARTITIONS.home_of(records[kid]) for kid in kids) > 15
        for number in range(60):
            kid, what, value = dice.choice(kids), dice.choice(WHAT), f"n{number}"
            outcomes = {await operate(side, kid, what, value) for side in both}
            assert len(outcomes) == 1, (what, outcomes)
            used, now = dice.choice(kids), RealClock().wall_ms()
            for side in both:
                await side.use(records[used], number, now)
            clock.advance(1)
        for kid in kids:
            assert await both[0].view(kid) == await both[1].view(kid)
        assert await both[0].lists() == await both[1].lists()


@pytest.mark.parametrize("seed", range(4))
async def test_a_divided_store_agrees_with_one_store(valkey, seed):
    """Records, histories, limits, usage and lists are the same, whatever was done to the keys."""
    await compare(valkey, seed)


class Ignoring(Places):
    """A mutant: no key is moved."""

    async def of_all(self, kids):
        return [self.partitions.of(kid) for kid in kids]


async def test_a_mutant_that_ignores_the_entries_is_found(valkey, monkeypatch):
    """The comparison fails if keys are looked for where their kids lead."""
    monkeypatch.setattr(Places, "of_all", Ignoring.of_all)
    with pytest.raises(AssertionError):
        await compare(valkey, 0)


@pytest.mark.parametrize("text", ["8", "x"])
async def test_a_key_with_a_spoiled_entry_is_revoked(valkey, text):
    """Administration looks for it in every partition. Without a record the entry is a fault."""
    async with parts_of(valkey) as parts:
        life = Side(parts, (), FakeClock()).life
        home = PARTITIONS.home(CLIENT)
        kid = next(one for one in (f"{n:016}" for n in range(99)) if PARTITIONS.of(one) != home)
        named = parts.clients[PARTITIONS.of(kid)]
        await named.hset(named.names.moved, short_member(kid), text)
        with pytest.raises(Unreadable):
            await parts.keys.find(kid)
        await parts.keys.apply(issued(kid))
        done = await life.revoke(kid, RevocationReason.UNSPECIFIED, author())
        assert isinstance(done, Changed)


async def test_a_key_is_revoked_without_the_partition_that_names_it(valkey):
    """Administration looks for it in every other partition. Without its home it cannot."""
    async with parts_of(valkey) as parts:
        life = Side(parts, (), FakeClock()).life
        home = PARTITIONS.home(CLIENT)
        kid = next(one for one in (f"{n:016}" for n in range(99)) if PARTITIONS.of(one) != home)
        await parts.keys.apply(issued(kid))
        parts.missing[PARTITIONS.of(kid)] = Unavailable("it is away")
        assert (await parts.keys.find(kid)).kid == kid
        done = await life.revoke(kid, RevocationReason.UNSPECIFIED, author())
        assert isinstance(done, Changed)
        parts.missing[home] = Unavailable("it is away, too")
        with pytest.raises(Unavailable, match="away"):
            await parts.keys.find(kid)
