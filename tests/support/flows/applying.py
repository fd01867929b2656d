"""A world of keys, files and people in memory, for tests of applying."""

from authz.core import new_keys
from authz.core.audit import AuditEntry
from authz.core.new_keys import KeySpec
from authz.flows.applying import Applying
from authz.flows.bulk_change import BulkChange
from authz.flows.by import By
from authz.flows.declared_keys import StoreDeclaredKeys
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


class MemorySink:
    """A SecretSink in memory. kept: the text of each key, by kid."""

    def __init__(self):
        self.prepared, self.kept = {}, {}

    def prepare(self, kid, text):
        """Implement SecretSink.prepare."""
        self.prepared[kid] = text

    def keep(self, kid):
        """Implement SecretSink.keep."""
        self.kept[kid] = self.prepared.pop(kid)

    def discard(self, kid):
        """Implement SecretSink.discard."""
        del self.prepared[kid]


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
        self.sink = MemorySink()
        self.applying = Applying(
            exporter=self.selection,
            keys=StoreDeclaredKeys(self.selection, self.bulk, self.store, self.keyring, self.clock),
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
                await self.applying.create(one, self.sink, by)
        async for _ in self.applying.change(intents, by, overwrites=overwrites):
            pass
        return [], await self.applying.remember(intents)
