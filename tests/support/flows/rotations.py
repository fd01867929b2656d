"""Twins of what rotations need: the deliveries that have begun, and the audit trail."""

from authz.core.audit import AuditEntry
from authz.core.errors import Unavailable, Unreadable


class MemoryDeliveries:
    """PendingDeliveries in memory. is_down: the store fails."""

    def __init__(self):
        self.entries = {}
        self.is_down = False

    async def begin(self, kid, entry):
        """Implement PendingDeliveries.begin."""
        return self.entries.setdefault(kid, entry)

    async def all(self):
        """Implement PendingDeliveries.all."""
        return dict(self.entries)

    async def compare_and_set(self, kid, known, new):
        """Implement PendingDeliveries.compare_and_set."""
        if self.is_down:
            raise Unavailable("the store is down")
        if self.entries.get(kid) != known:
            return False
        del self.entries[kid]
        if new is not None:
            self.entries[kid] = new
        return True


class MemoryTrail:
    """An AuditTrail over the changes of a store in memory. is_garbled: no entry can be read."""

    def __init__(self, store):
        self.store = store
        self.is_garbled = False
        self.is_trimmed = False

    async def entry(self, kid, version):
        """Implement AuditTrail.entry."""
        if self.is_garbled:
            raise Unreadable("the entry is garbled")
        base = 0
        for made, of, event in self.store.audit if not self.is_trimmed else ():
            if of == kid and made == version:
                return AuditEntry(version, base, event)
            base = made if of == kid else base
        return None
