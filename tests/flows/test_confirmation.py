"""Waiting for the sidecars: what a key's history has to do with it."""

from dataclasses import replace

import pytest

from authz.core.audit import Action, AuditEntry, AuditEvent
from authz.core.errors import Unreadable
from authz.core.fields import MAX_OUTAGE_GRACE_MS
from authz.core.sidecars import Heard, Sidecar
from authz.flows import confirmation
from authz.flows.confirmation import acknowledged
from tests.support.fakes import NOW, FakeClock, make_record

LEASE, GRACE = 1000, 30_000
HOUR = 3_600_000


class MemoryDirectory:
    """A SidecarDirectory with one sidecar that was just heard."""

    def __init__(self, applied):
        said = Sidecar(
            instance="web-1",
            version="0.1.0",
            address="",
            started_at=NOW,
            applied=applied,
            lease_ms=LEASE,
            grace_ms=GRACE,
            trusted=True,
            reason="",
            entries=1,
        )
        self.heard = Heard(said, 0)

    async def find(self):
        """Implement SidecarRegistry.find."""
        return 9, [self.heard]


class MemoryTrail:
    """An AuditTrail of one key: made by change 1, grace shortened by 4, touched by 7 and 9."""

    def __init__(self):
        detail = {4: {"outage_grace": {"old": HOUR, "new": 0}}}
        self.entries = {
            version: AuditEntry(
                version, base, AuditEvent(Action.UPDATE, "alice", "", NOW, detail.get(version, {}))
            )
            for version, base in ((1, 0), (4, 1), (7, 4), (9, 7))
        }
        self.looks = []

    async def entry(self, _kid, version):
        """Implement AuditTrail.entry."""
        self.looks.append(version)
        entry = self.entries[version]
        if isinstance(entry, Exception):
            raise entry
        return entry


async def reach(applied, trail):
    """For how long after change 9 a sidecar that has applied this may go on, beyond its lease."""
    record = make_record(version=9, outage_grace=0)
    found = await acknowledged(MemoryDirectory(applied), trail, record, 0, FakeClock())
    return [each.may_allow_until - NOW - LEASE for each in found.outstanding]


@pytest.mark.parametrize(
    ("applied", "expected", "looks"),
    [
        (9, [], []),
        (8, [0], [9]),
        (7, [0], [9]),
        (4, [0], [9, 7]),
        (3, [HOUR], [9, 7, 4]),
        (None, [HOUR], [9, 7, 4, 1]),
    ],
)
async def test_history_is_read_as_far_back_as_a_sidecar_is_behind(applied, expected, looks):
    """History is read only as far back as a sidecar is behind."""
    trail = MemoryTrail()

    assert await reach(applied, trail) == expected
    assert trail.looks == looks


@pytest.mark.parametrize("missing", [None, Unreadable("garbled")])
async def test_what_history_does_not_tell_is_the_longest_grace(missing):
    """Where history is missing, the longest grace counts for sidecars that are so far behind."""
    trail = MemoryTrail()
    trail.entries[7] = missing

    assert await reach(7, trail) == [0]
    assert await reach(6, trail) == [MAX_OUTAGE_GRACE_MS]


@pytest.mark.parametrize("jump", [0, 3_600_000, -3_600_000])
async def test_a_wall_clock_that_is_moved_ends_no_waiting(jump):
    """A jump of the wall clock changes no waiting: a silent sidecar counts until its lease ends."""
    clock, directory = FakeClock(), MemoryDirectory(1)

    async def find():
        clock.advance(0.5)
        clock.jump_wall(jump)
        return 9, [directory.heard]

    directory.find = find
    record = make_record(version=9, outage_grace=0)
    trail = MemoryTrail()
    trail.entries[4] = replace(trail.entries[7], base_version=1)
    found = await acknowledged(directory, trail, record, 10, clock)

    assert (found.is_complete, found.elapsed_ms) == (True, 1000)


async def test_history_is_not_read_for_ever(monkeypatch):
    """After MAX_LOOK_BACK changes the longest grace counts."""
    monkeypatch.setattr(confirmation, "MAX_LOOK_BACK", 2)

    assert await reach(4, MemoryTrail()) == [0]
    assert await reach(1, MemoryTrail()) == [MAX_OUTAGE_GRACE_MS]
