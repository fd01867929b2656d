"""The KeyStore port: one suite for a twin in memory, the store, and several partitions."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from authz.core import changes, secret_changes
from authz.core.changes import KeyChange
from authz.core.errors import AliasTaken, Conflict
from authz.core.keys.keyring import Keyring
from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import RevocationReason, Status
from authz.flows.lifecycle import Lifecycle
from authz.storage.imports import StoredImports
from authz.storage.keys import StoredKeys
from tests.support.changes import DIGESTS, KEYRING, author, change_to, imported, issued
from tests.support.fakes import DAY, KID, NOW, FakeClock, MemoryKeyStore, make_pepper, make_record
from tests.support.storage import stored
from tests.support.storage.partitioned import beside, lead_home, parts_of
from tests.support.storage.strategies import RECORDS

OTHER_KID = beside(KID, "0" * 16)
FINEST = Partitions(48)  # a kid that fits there fits with 8, too


@pytest.fixture(params=["memory", "valkey", "partitions"])
async def store(request):
    """An empty KeyStore of each kind. Both kids lie in one partition."""
    if request.param == "memory":
        yield MemoryKeyStore()
        return
    if request.param == "partitions":
        async with parts_of(request.getfixturevalue("valkey")) as parts:
            await lead_home(parts, [KID, OTHER_KID])
            yield parts.keys
        return
    async with request.getfixturevalue("valkey").endpoint.client() as client:
        yield StoredKeys(client)


async def test_unknown(store):
    """A kid that was never issued is None."""
    assert await store.find(KID) is None


async def test_issue(store):
    """An issued record is found, equal in every field, with its new version."""
    change = issued()
    version = await store.apply(change)
    assert version == 1
    assert await store.find(KID) == replace(change.record, version=version)
    assert await store.find(OTHER_KID) is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=RECORDS)
async def test_round_trip(store, record):
    """Every record is found as it was applied."""
    record = replace(record, kid=FINEST.fitting(record.kid, record))
    before = await store.find(record.kid)
    version = await store.apply(change_to(record, before.version if before else 0))
    assert await store.find(record.kid) == replace(record, version=version)


async def test_versions_grow_over_all_keys(store):
    """Each change gets a version above every one before it, whichever key it is of."""
    first = await store.apply(issued(KID))
    second = await store.apply(issued(OTHER_KID))
    record = await store.find(KID)
    third = await store.apply(change_to(record, first))
    assert first < second < third
    assert (await store.find(OTHER_KID)).version == second
    assert (await store.find(KID)).version == third


@pytest.mark.parametrize("base", [0, 1, 3])
async def test_conflict(store, base):
    """A change of a record at another version is refused, and changes nothing."""
    await store.apply(issued())
    await store.apply(change_to(await store.find(KID), 1))
    before = await store.find(KID)
    with pytest.raises(Conflict, match=KID):
        await store.apply(change_to(replace(before, name="lost"), base))
    assert await store.find(KID) == before


async def test_conflict_without_a_record(store):
    """A change of a record that is not there is refused."""
    with pytest.raises(Conflict):
        await store.apply(change_to(make_record(), 1))
    assert await store.find(KID) is None


async def test_repeated_change(store):
    """The same change applied again is a no-op with the same version."""
    change = issued()
    version = await store.apply(change)
    other = await store.apply(issued(OTHER_KID))
    assert await store.apply(change) == version
    assert await store.apply(change) == version
    assert await store.find(KID) == replace(change.record, version=version)
    assert await store.apply(change_to(await store.find(KID), version)) == other + 1


async def test_change_that_others_came_after(store):
    """A change that was applied and overtaken conflicts: it is not applied over the newer one."""
    first = issued()
    await store.apply(first)
    newer = changes.disable(await store.find(KID), author(), NOW)
    await store.apply(newer)
    with pytest.raises(Conflict):
        await store.apply(first)
    assert (await store.find(KID)).status is Status.DISABLED


async def test_two_at_the_same_moment(store):
    """Of two changes of one version of a key, exactly one is made; the other conflicts."""
    await store.apply(issued())
    record = await store.find(KID)
    made = [change_to(replace(record, name=name), record.version) for name in ("one", "two")]
    outcomes = await asyncio.gather(*map(store.apply, made), return_exceptions=True)
    (conflict,) = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert isinstance(conflict, Conflict)
    winner = next(
        change
        for change, outcome in zip(made, outcomes, strict=True)
        if not isinstance(outcome, Exception)
    )
    assert await store.find(KID) == replace(winner.record, version=2)


async def test_the_same_at_the_same_moment(store):
    """One change, sent twice at the same moment, is made once."""
    change = issued()
    assert await asyncio.gather(store.apply(change), store.apply(change)) == [1, 1]
    assert await store.apply(issued(OTHER_KID)) == 2


async def test_lifecycle_makes_both(store):
    """Two people who change one key at the same moment both get what they asked for."""
    ring = Keyring("ak", [make_pepper("1")], partitions=FINEST)
    lifecycle = Lifecycle(store, ring, FakeClock())
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
    kid = (await lifecycle.issue(spec, author())).record.kid

    rotated, disabled = await asyncio.gather(
        lifecycle.rotate(kid, DAY, author()), lifecycle.disable(kid, author())
    )

    record = await store.find(kid)
    assert record.status is Status.DISABLED
    assert len(record.secrets) == 2
    assert {rotated.record.version, disabled.record.version} == {2, 3}
    assert record.version == 3


class Comparison(RuleBasedStateMachine):
    """The same operations on the twin and on a real server, with the same outcome each time."""

    kids = st.sampled_from([KID, OTHER_KID, "1" * 16])

    def __init__(self, valkey):
        super().__init__()
        valkey.reset()
        self.admin = valkey.admin
        self.runner = asyncio.Runner()
        self.client = self.runner.run(self._open(valkey))
        self.twin = MemoryKeyStore()
        self.real = StoredKeys(self.client)
        self.made = []

    @staticmethod
    async def _open(valkey):
        return valkey.endpoint.client()

    def teardown(self):
        self.runner.run(self.client.aclose())
        self.runner.close()

    def find(self, kid):
        twin, real = (self.runner.run(store.find(kid)) for store in (self.twin, self.real))
        assert twin == real
        return real

    def apply(self, change):
        outcomes = []
        for store in (self.twin, self.real):
            try:
                outcomes.append(self.runner.run(store.apply(change)))
            except (Conflict, AliasTaken) as conflict:
                outcomes.append(str(conflict))
        assert outcomes[0] == outcomes[1]
        self.made.append(change)
        self.find(change.record.kid)
        self.compare_trails()

    def compare_trails(self):
        """Log and audit trail tell the same."""
        log = [
            (entry_id, entry["kid"], entry["status"] == "revoked")
            for entry_id, entry in self.admin.xrange(stored.LOG)
        ]
        assert log == [(f"{entry.seq}-0", entry.kid, entry.revoked) for entry in self.twin.log]
        audit = [
            (entry_id, entry["kid"], entry["action"])
            for entry_id, entry in self.admin.xrange(stored.AUDIT)
        ]
        assert audit == [
            (f"{seq}-0", kid, event.action.value) for seq, kid, event in self.twin.audit
        ]

    @rule(kid=kids)
    def issue(self, kid):
        self.apply(issued(kid))

    @rule(kid=kids, digests=st.lists(st.sampled_from(DIGESTS), min_size=1, max_size=3))
    def import_key(self, kid, digests):
        self.apply(imported(kid, digests))
        wanted = [[digest] for digest in DIGESTS]
        found = [
            self.runner.run(store.resolve_all(wanted))
            for store in (self.twin, StoredImports(self.client))
        ]
        assert found[0] == found[1]

    @rule(kid=kids, record=RECORDS, behind=st.integers(0, 2))
    def write(self, kid, record, behind):
        """Any record, on the version there is or on one before it."""
        found = self.find(kid)
        base = max(0, (found.version if found else 0) - behind)
        # No end: a rotation counts from it, and this one may lie before the secret was made.
        self.apply(change_to(replace(record, kid=kid, expires_at=None), base))

    @rule(kid=kids, action=st.sampled_from(["revoke", "rotate", "disable", "enable"]))
    def change(self, kid, action):
        """Make a change as the lifecycle does."""
        found = self.find(kid)
        if found is None:
            return
        plan = {
            "revoke": lambda: changes.revoke(found, RevocationReason.SUPERSEDED, author(), NOW),
            "rotate": lambda: secret_changes.rotate(
                found, KEYRING.mint(found.env, kid), DAY, author(), NOW
            ),
            "disable": lambda: changes.disable(found, author(), NOW),
            "enable": lambda: changes.enable(found, author(), NOW),
        }[action]()
        if isinstance(plan, KeyChange):
            self.apply(plan)

    @rule(data=st.data())
    def repeat(self, data):
        """A change that was sent before, whatever became of it."""
        if self.made:
            self.apply(data.draw(st.sampled_from(self.made)))


def test_twin_and_server_agree(valkey):
    """The store in memory and the real server reply the same to any sequence of calls."""
    run_state_machine_as_test(
        lambda: Comparison(valkey),
        settings=settings(max_examples=30, stateful_step_count=12, deadline=None),
    )
