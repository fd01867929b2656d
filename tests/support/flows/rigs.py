"""Each flow with twins of everything around it."""

import asyncio
import inspect

from authz.core.decision import Allow
from authz.core.new_keys import KeySpec
from authz.core.policy import judge
from authz.core.records import RevocationReason, Status
from authz.flows.check import Checker
from authz.flows.lifecycle import Lifecycle
from tests.support.caches import make_cache
from tests.support.core.key_reference import checksum
from tests.support.fakes import (
    DAY,
    KID,
    FakeClock,
    MemoryKeySource,
    MemoryKeyStore,
    RecordingProbe,
    issue_record,
    make_keyring,
    make_record,
    make_request,
)

KEYRING = make_keyring()
RECORD = make_record()
REVOKED = make_record(status=Status.REVOKED, version=2)
SPEC = KeySpec(client_id="acme-web", env="live", life_ms=90 * DAY)
FOREVER = 1e9  # seconds


def numbered(i, **overrides):
    """The record of one of many kids."""
    return make_record(kid=f"{i:016}", **overrides)


class CacheRig:
    """A trusted cache and everything around it."""

    def __init__(self, **settings):
        self.source = MemoryKeySource()
        self.clock = FakeClock()
        self.probe = RecordingProbe()
        settings = {"jitter": lambda: 0.0} | settings
        self.cache = make_cache(self.source, self.clock, self.probe, **settings)
        self.cache.trust(FOREVER)

    async def ask(self, kid=KID, waiters=1):
        """Begin to find `kid`; the tasks wait for the source when this returns."""
        tasks = [asyncio.create_task(self.cache.find(kid)) for _ in range(waiters)]
        await asyncio.sleep(0)
        return tasks

    async def hold(self, *records):
        """Put records into the cache by the ordinary way."""
        for record in records:
            [task] = await self.ask(record.kid)
            self.source.answer(record.kid, record)
            assert await task == record


class Vouched:
    """A PepperProof: the store has vouched for these pepper versions."""

    def __init__(self, *versions):
        self.versions = set(versions)

    def refutes(self, pepper_version):
        """Implement PepperProof.refutes."""
        return pepper_version in self.versions


class CheckRig:
    """A checker with everything around it, and one issued key that the source knows."""

    def __init__(self):
        self.keyring = make_keyring()
        self.record, self.text = issue_record(self.keyring)
        self.source, self.clock, self.probe = MemoryKeySource(), FakeClock(), RecordingProbe()
        self.source.records[self.record.kid] = self.record
        self.peppers = Vouched("1")
        self.cache = make_cache(self.source, self.clock, self.probe)
        self.cache.trust(1e9)
        self.checker = Checker(self.cache, self.peppers, self.clock, self.probe)

    def request(self, text, **overrides):
        """A request with a key in it."""
        return make_request(credential=self.keyring.parse(text), **overrides)

    async def decide(self, request):
        """The decision, whether or not it has to wait for the source."""
        decision = self.checker.check(request)
        if not inspect.isawaitable(decision):
            return decision
        task = asyncio.ensure_future(decision)
        await asyncio.sleep(0)
        self.source.answer_all()
        return await task

    async def warm(self):
        """The record is in the cache, and nothing has been counted."""
        assert await self.decide(self.request(self.text)) == Allow(self.record)
        self.probe.decisions.clear()
        self.source.loads.clear()

    def forge(self, text=None, tag="0" * 11):
        """A key with another tag and a right checksum."""
        forged = (text or self.text)[:-17] + tag
        return forged + checksum(forged)

    def sibling(self):
        """Another key of the same kid that our pepper made: genuine, and not in the record."""
        return self.keyring.mint("live", self.record.kid).text


class LifecycleRig:
    """A lifecycle on a store in memory."""

    def __init__(self, store=None):
        self.store = store or MemoryKeyStore()
        self.clock = FakeClock()
        self.keys = Lifecycle(self.store, KEYRING, self.clock)

    def author(self):
        """Alice, with a fresh change id."""
        return self.keys.author("alice", "because")

    def opens(self, text):
        """Return whether the stored record allows this key now."""
        presented = KEYRING.parse(text)
        record = self.store.records[presented.kid]
        return judge(record, presented, make_request(), self.clock.wall_ms()) is None

    def revoke(self, kid):
        """The revocation of the examples."""
        return self.keys.revoke(kid, RevocationReason.KEY_COMPROMISE, self.author())

    def disable(self, kid):
        """Disable as alice."""
        return self.keys.disable(kid, self.author())

    def rotate(self, kid, grace_ms=0):
        """Rotate as alice."""
        return self.keys.rotate(kid, grace_ms, self.author())

    @property
    def actions(self):
        """The actions in the audit trail."""
        return [event.action for _, _, event in self.store.audit]
