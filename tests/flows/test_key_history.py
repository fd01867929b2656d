"""The way back through a key's changes, over an audit trail in memory."""

from authz.core.audit import Action, AuditEntry, AuditEvent
from authz.flows.key_history import History, KeyHistory
from tests.support.fakes import NOW, make_record


class MemoryTrail:
    """An AuditTrail in memory. Counts what was asked."""

    def __init__(self, entries):
        self.entries = {entry.version: entry for entry in entries}
        self.asked = []

    async def entry(self, kid, version):
        """Implement AuditTrail.entry."""
        self.asked.append(version)
        return self.entries.get(version)


def entry(version: int, base: int) -> AuditEntry:
    """An entry of the trail."""
    return AuditEntry(version, base, AuditEvent(Action.UPDATE, "alice", "", NOW, {}))


async def test_history_goes_back_from_change_to_change():
    """From the record's version to the issue, one look at the trail for each change."""
    trail = MemoryTrail([entry(50, 9), entry(9, 4), entry(4, 0), entry(49, 3)])
    found = await KeyHistory(trail).of(make_record(version=50))
    assert found == History((entry(50, 9), entry(9, 4), entry(4, 0)), None)
    assert trail.asked == [50, 9, 4]


async def test_history_says_where_it_was_lost():
    """A missing entry ends the way, and its version is told."""
    trail = MemoryTrail([entry(50, 9)])
    found = await KeyHistory(trail).of(make_record(version=50))
    assert found == History((entry(50, 9),), 9)
