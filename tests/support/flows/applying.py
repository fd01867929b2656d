"""A world of keys, files and people in memory, for tests of applying."""

from authz.core import new_keys
from authz.core.audit import AuditEntry
from authz.core.new_keys import KeySpec
from authz.flows.applying import Applying
from authz.flows.bulk_change import BulkChange
from authz.flows.by import By
from authz.flows.key_history import KeyHistory
from authz.flows.lifecycle import Lifecycle
from authz.flows.selection import Selection
from tests.support.changes import author
from tests.support.fakes import FakeClock, MemoryKeyStore, make_keyring
from tests.support.flows.index import MemoryIndex


class MemoryApplied:
    """An AppliedStore in memory."""

    def __init__(self):
        self.found = {}

    async def load(self):
        """Implement AppliedStore.load."""
        return dict(self.found)

    async def save(self, found):
        """Implement AppliedStore.save."""
        self.found |= found


class StoreTrail:
    """An AuditTrail over the entries of a MemoryKeyStore."""

    def __init__(self, store):
        self.store = store

    async def entry(self, kid, version):
        """Implement AuditTrail.entry."""
        mine = [(seq, event) for seq, whose, event in self.store.audit if whose == kid]
        for (base, _), (seq, event) in zip([(0, None), *mine], mine, strict=False):
            if seq == version:
                return AuditEntry(seq, base, event)
        return None


class World:
    """A store in memory and an Applying over it."""

    def __init__(self):
        self.store, self.applied, self.clock = MemoryKeyStore(), MemoryApplied(), FakeClock()
        self.keyring = make_keyring()
        self.selection = Selection(MemoryIndex(self.store.records), self.clock)
        self.bulk = BulkChange(self.selection, self.store, self.store, self.clock)
        self.lifecycle = Lifecycle(self.store, self.keyring, self.clock)
        self.applying = Applying(
            selection=self.selection,
            bulk=self.bulk,
            keys=self.store,
            history=KeyHistory(StoreTrail(self.store)),
            applied=self.applied,
            clock=self.clock,
        )

    def issue(self, **fields):
        """Issue a key. Return its kid."""
        spec = KeySpec(**{"client_id": "acme-web", "env": "live", "life_ms": None} | fields)
        change = new_keys.issue(spec, self.keyring.mint("live"), author(), self.clock.wall_ms())
        self.store.apply_now(change)
        return change.record.kid

    async def apply(self, keys, *, overwrites=False):
        """Apply declared keys unless there is a problem. Return the problems and the versions."""
        intents = await self.applying.compare(keys, overwrites=overwrites)
        problems = [intent.problem for intent in intents if intent.problem]
        if problems:
            return problems, {}
        by = By("alice")
        for intent in intents:
            if intent.is_new:
                one = intent.declared
                await self.applying.create(one, self.keyring.mint(one.record.env), by)
        async for _ in self.applying.change(intents, by, overwrites=overwrites):
            pass
        return [], await self.applying.remember(intents)
