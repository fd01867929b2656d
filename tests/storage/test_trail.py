"""The audit trail on a real server: marks of all writers, older versions, and a restore."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
import redis.asyncio

from authz.core.audit import AuditEntry
from authz.core.changes import Author
from authz.core.trail.checkpoints import restored
from authz.core.trail.erasures import subject
from authz.core.trail.report import Problem, Report
from authz.core.trail.rows import Row
from authz.core.trail.verification import Verification
from authz.flows.deletion import Deletion
from authz.flows.lifecycle import Lifecycle
from authz.flows.trail.sealing import Sealer
from authz.flows.trail.verifying import verify
from authz.flows.usage.erasure import UsageErasure
from authz.process.clock import SystemClock
from authz.storage import restore, tombstones, verified_backup
from authz.storage.backup import Backup
from authz.storage.deletions import StoredDeletions
from authz.storage.imports import StoredImports
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredTrail
from authz.storage.sealed_lines import SealedWriter, read
from authz.storage.trail import StoredRows, entry_of
from authz.storage.usage.erasing import StoredEraser
from tests.bench import audit
from tests.support.changes import imported, issued
from tests.support.fakes import NOW, make_keyring
from tests.support.real import Valkey
from tests.support.storage import stored
from tests.support.storage.sidecar import administration

RING = make_keyring()
KEYS = RING.trail_keys


async def report_on(rows: StoredRows, **known: int) -> Report:
    """Verify a trail."""
    return await verify(rows, rows, KEYS, lambda found: Verification(KEYS, removed=found, **known))


def marking(valkey: Valkey) -> redis.asyncio.Redis:
    """Return a client whose entries get a mark, as commands and the admin API have."""
    return replace(valkey.endpoint, marks=lambda: KEYS).client()


def first_version_entry(fields: dict[str, str]) -> tuple[str, str, str, int, dict, int]:
    """Read the fields of an entry as the first version did, which knew no marks."""
    return (
        fields["action"],
        fields["actor"],
        fields["note"],
        int(fields["at"]),
        dict(json.loads(fields["detail"])),
        int(fields["base"]),
    )


async def test_two_writers_and_a_sealer_make_a_clean_trail(valkey: Valkey):
    """Commands and imports mark their entries; each checkpoint stands behind what it seals."""
    async with marking(valkey) as client, marking(valkey) as other:
        await StoredKeys(client).initialise(RING.fingerprints)
        rows = StoredRows(client)
        sealer = Sealer(rows, KEYS, SystemClock(), "sealer")
        flows = [Lifecycle(StoredKeys(one), RING, SystemClock()) for one in (client, other)]
        kids = []
        for turn in range(12):
            flow = flows[turn % 2]
            change = issued(f"{turn:016}")
            await StoredKeys(other).apply(change)
            kids.append(change.record.kid)
            await flow.disable(kids[turn // 2], flow.author("test", "a note"))
            if turn % 4 == 3:
                assert (await sealer.seal()).rows
        await StoredImports(client).apply_all([imported("i" * 16)])
        report = await report_on(rows)
        assert report.is_intact
        assert (report.checkpoints, report.unsealed, report.unmarked) == (3, 1, 0)


async def test_an_erasure_of_usage_is_a_row_without_a_kid(valkey: Valkey):
    """Its row stands behind the last one, is marked and sealed, and makes no version of the key."""
    async with marking(valkey) as client:
        keys, rows = StoredKeys(client), StoredRows(client)
        await keys.initialise(RING.fingerprints)
        sealer = Sealer(rows, KEYS, SystemClock(), "sealer")
        erasure = UsageErasure(StoredEraser(client), rows, SystemClock())
        gone = "Z" * 16  # deleted, and the trail is empty
        await erasure.erase(gone, Author("c1", "alice", "why"))
        change = issued()
        await keys.apply(change)
        await erasure.erase(change.record.kid, Author("c2", "bob", "", "10.0.0.7 curl", "r1"))
        await sealer.seal()
        await erasure.erase(gone, Author("c3", "bob"))
        found = await rows.after("", 10)
        assert [(row.id, row.kid, subject(row)) for row in found] == [
            ("0-1", "", gone),
            ("1-0", change.record.kid, change.record.kid),
            ("1-1", "", change.record.kid),
            ("1-2", "", ""),
            ("1-3", "", gone),
        ]
        entry = entry_of(found[2])
        assert isinstance(entry, AuditEntry)
        event = entry.event
        assert (event.actor, event.source, event.request_id) == ("bob", "10.0.0.7 curl", "r1")
        assert (await report_on(rows)).is_intact
        valkey.admin.xdel(stored.AUDIT, "1-1")
        assert not (await report_on(rows)).is_intact


@pytest.mark.parametrize(
    "detail", ["", "[]", "3", "{}", '{"key": 3}', '{"key": "a b"}', "[" * 100_000]
)
def test_a_garbled_erasure_is_about_no_key(detail: str) -> None:
    """A row that somebody else wrote does not stop a list."""
    assert subject(Row("1-1", {"kid": "", "action": "erase_usage", "detail": detail})) == ""


async def test_older_versions_read_a_trail_with_marks_and_checkpoints(valkey: Valkey):
    """Their fields are where they were, and rows about the trail belong to no key."""
    async with marking(valkey) as client, valkey.endpoint.client() as unmarked:
        new, old = StoredKeys(client), StoredKeys(unmarked)
        await new.initialise(RING.fingerprints)
        sealer = Sealer(StoredRows(client), KEYS, SystemClock(), "sealer")
        lifecycle = Lifecycle(new, RING, SystemClock())
        change = issued()
        kid = change.record.kid
        await old.apply(change)
        await lifecycle.disable(kid, lifecycle.author("ops", "why"))
        await sealer.seal()
        before = Lifecycle(old, RING, SystemClock())
        await before.enable(kid, before.author("ops"))  # an older version writes behind it
        await sealer.seal()
        found = valkey.admin.xrange(stored.AUDIT)
        assert [(row, fields["kid"]) for row, fields in found] == [
            *(("1-0", kid), ("2-0", kid), ("2-1", "")),
            *(("3-0", kid), ("3-1", "")),
        ]
        assert first_version_entry(found[1][1])[:3] == ("disable", "ops", "why")
        assert [first_version_entry(fields)[5] for _, fields in found] == [0, 1, 0, 2, 0]
        trail = StoredTrail(client)
        for version in (1, 2, 3):
            entry = await trail.entry(kid, version)
            assert entry is not None
            assert entry.base_version == version - 1
        report = await report_on(StoredRows(client))
        assert [f.problem for f in report.findings] == [Problem.UNMARKED]
        assert (await report_on(StoredRows(client), unmarked_until=3)).is_intact


async def test_a_restored_trail_is_sealed_as_before(valkey: Valkey):
    """A backup has the marks and checkpoints. The restore notes which numbers it skips."""
    async with marking(valkey) as client:
        keys = StoredKeys(client)
        await keys.initialise(RING.fingerprints)
        await keys.apply(issued())
        rows = StoredRows(client)
        await Sealer(rows, KEYS, SystemClock(), "sealer").seal()
        file = io.BytesIO()
        write = SealedWriter(file, RING.backup_keys[-1]).write
        await Backup(client, write).run(RING.fingerprints, NOW)
        valkey.admin.flushdb()
        verified = verified_backup.verify(
            read(io.BytesIO(file.getvalue()), RING.backup_keys), RING.fingerprints
        )
        lines = read(io.BytesIO(file.getvalue()), RING.backup_keys)
        assert await restore.Restore(client, _note).run(verified, lines, 40) == 41
        assert (await report_on(rows)).is_intact
        await keys.apply(issued("n" * 16))
        await Sealer(rows, KEYS, SystemClock(), "sealer").seal()
        report = await report_on(rows)
        assert report.is_intact
        assert (report.checkpoints, report.last) == (2, "42-1")


def _note(last: int, number: int, left_out: Mapping[str, bytes]) -> dict[str, str]:
    numbers = {"last": last, "number": number}
    return restored(KEYS, change_id="r", writer="ops", at=NOW, left_out=left_out, **numbers)


async def test_rows_removed_at_the_end_are_found(valkey: Valkey):
    """The sequence shows missing changes, and the stream shows a missing checkpoint."""
    async with administration(valkey.endpoint), marking(valkey) as client:
        keys, rows = StoredKeys(client), StoredRows(client)
        await keys.apply(issued())
        await keys.apply(issued("n" * 16))
        await Sealer(rows, KEYS, SystemClock(), "sealer").seal()
        valkey.admin.xdel(stored.AUDIT, "2-1")
        assert [f.problem for f in (await report_on(rows)).findings] == [Problem.MISSING]
        valkey.admin.xdel(stored.AUDIT, "2-0")
        assert [f.where for f in (await report_on(rows)).findings] == ["2"]
        await Sealer(rows, KEYS, SystemClock(), "sealer").seal()
        assert not (await report_on(rows)).is_intact  # another checkpoint does not hide it


async def test_a_long_trail_of_two_writers():
    """A short run of the benchmark: no honest row is suspected."""
    report, sealing, rate = await audit.run(3000)
    assert report.is_intact
    assert min(sealing.checkpoints, rate) > 0


async def test_a_deleted_key_leaves_an_intact_trail(valkey: Valkey):
    """Its entries are gone from the stream, before and after the checkpoint that follows."""
    async with marking(valkey) as client:
        keys, rows = StoredKeys(client), StoredRows(client)
        await keys.initialise(RING.fingerprints)
        lifecycle = Lifecycle(keys, RING, SystemClock())
        for number in range(3):
            await keys.apply(issued(f"{number:016}"))
        sealer = Sealer(rows, KEYS, SystemClock(), "sealer")
        await sealer.seal()
        await lifecycle.disable("0" * 16, lifecycle.author("ops"))
        deletion = Deletion(keys, StoredDeletions(client), StoredEraser(client), SystemClock())
        await deletion.delete("0" * 16, lifecycle.author("ops"), is_forced=True)
        assert {row.kid for row in await rows.after("", 9)} >= {"0" * 16}
        assert [row.id for row in await rows.after("", 9)][:2] == ["2-0", "3-0"]
        assert (await report_on(rows)).is_intact
        await sealer.seal()
        assert (await report_on(rows)).is_intact
        valkey.admin.xdel(stored.AUDIT, "2-0")
        assert not (await report_on(rows)).is_intact


async def test_a_restore_without_deleted_keys_leaves_an_intact_trail(valkey: Valkey):
    """The row of the restore has the hashes of the entries that were left out."""
    async with marking(valkey) as client:
        keys, rows = StoredKeys(client), StoredRows(client)
        await keys.initialise(RING.fingerprints)
        for number in range(3):
            await keys.apply(issued(f"{number:016}"))
        await Sealer(rows, KEYS, SystemClock(), "sealer").seal()
        file = io.BytesIO()
        write = SealedWriter(file, RING.backup_keys[-1]).write
        await Backup(client, write).run(RING.fingerprints, NOW)
        valkey.admin.flushdb()
        lines = [read(io.BytesIO(file.getvalue()), RING.backup_keys) for _ in range(2)]
        verified = verified_backup.verify(lines[0], RING.fingerprints)
        gone = frozenset({tombstones.of_kid(f"{1:016}")})
        await restore.Restore(client, _note).run(verified, lines[1], 0, gone)
        assert [row.id for row in await rows.after("", 9)] == ["1-0", "3-0", "3-1", "4-0"]
        report = await report_on(rows)
        assert (report.is_intact, report.checkpoints) == (True, 1)
        await Sealer(rows, KEYS, SystemClock(), "sealer").seal()
        assert (await report_on(rows)).is_intact
        valkey.admin.xdel(stored.AUDIT, "1-0")
        assert not (await report_on(rows)).is_intact
