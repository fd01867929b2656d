"""Composition root of `authz backup` and `authz restore`."""

import secrets
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import BinaryIO, Final, NamedTuple

from authz.core.errors import Conflict, Unavailable
from authz.core.keys.keyring import Keyring
from authz.core.trail.checkpoints import restored
from authz.core.trail.rows import TrailKeys
from authz.flows.partitioned.asking import ask
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.backup import Backup, Contents
from authz.storage.divided_backup import DividedWriter, backups
from authz.storage.divided_restore import DividedRestore
from authz.storage.endpoint import Client
from authz.storage.meta import entries
from authz.storage.restore import Restore, Restored
from authz.storage.schema import ALL_COMPACT, DEFAULT, META_COMPACT, Names, names_of
from authz.storage.sealed_lines import FileRefused, SealedWriter, read
from authz.storage.signpost import refuse_other_count
from authz.storage.tombstones import Tombstone
from authz.storage.verified_backup import Line, Verified, verify
from authz.wiring.administration import all_parts, keyring, partitions, signpost
from authz.wiring.store_parts import StoreParts

DONE: Final = "it was restored here before, to its end; nothing was changed"


async def back_up(settings: Settings, file: BinaryIO) -> tuple[Contents, Sequence[str]]:
    """Write all keys of the store to `file`, sealed with the newest pepper.

    Return the counts, and the names in the store that could not be read. With several partitions
    `seq` is the highest of their last changes. Raises BadInput for unusable settings, Emptied or
    Foreign if the store is not ours, Unavailable, OSError.
    """
    ring, now = keyring(settings), SystemClock().wall_ms()
    writer = SealedWriter(file, ring.backup_keys[-1])
    async with all_parts(settings) as parts:
        if len(parts.clients) == 1:
            backup = Backup(parts.only, writer.write)
            identity = _identity(ring, parts.only)
            return await backup.run(ring.fingerprints, now, identity), backup.damaged
        await refuse_other_count(partitions(settings)[0])
        divided = DividedWriter(writer.write, len(parts.clients), now)
        made = [Backup(client, divided.of(at)) for at, client in enumerate(parts.clients)]
        found = [
            await ask(at, backup.run(ring.fingerprints, now, _identity(ring, client)))
            for at, (backup, client) in enumerate(zip(made, parts.clients, strict=True))
        ]
        divided.end()
        return _sum(found), [name for backup in made for name in backup.damaged]


def _identity(ring: Keyring, client: Client) -> dict[str, str]:
    """Return what `authz init` writes into the authz:meta of a new store."""
    found = entries(ring.fingerprints, ring.prefixes, ring.public_prefix, names_of(client))
    return found | {META_COMPACT: ALL_COMPACT}


async def restore(
    settings: Settings, file: BinaryIO, known: int, actor: str, later: BinaryIO | None = None
) -> Restored:
    """Verify a backup, write it into the empty store, and return counts and sequence number.

    The new sequence number is above `known`. known: the highest change that this machine knows of,
    or 0. file: must be seekable; it is read twice. actor: for the audit trail. later: a backup that
    was made later; keys that it knows as deleted are left out. Raises FileRefused for an unusable
    file, Foreign for other peppers, Conflict for a store with data, BadInput, Unavailable.
    With several partitions one that this file has completed is left as it is, unless all are. The
    backup of a store with one partition is divided among them.
    """
    ring = keyring(settings)
    async with all_parts(settings) as parts:
        if len(parts.clients) > 1 and _count(file, ring) == 1:
            return await _divide(settings, parts, ring, file, known=known, actor=actor, later=later)
        verified = _verified(file, ring, _names(parts), is_checked=True)
        gone = [frozenset[Tombstone]()] * len(verified)
        if later is not None:
            gone = [one.gone for one in _verified(later, ring, _names(parts), is_checked=False)]
        highest = [await store.highest_seen() for store in parts.stores]
        file.seek(0)
        note = partial(_restored, ring.trail_keys, actor)
        works = [
            _Work(Restore(client, note), verified[at], gone[at], max(known, highest[at]))
            for at, client in enumerate(parts.clients)
        ]
        async with signpost(settings) as post:
            if post is not None:
                await post.claim()
            seq = await _run(works, _each(file, ring, len(works)))
            if post is not None:
                await post.complete()
        with suppress(Unavailable):  # the keys are back; `authz doctor` names what is missing
            await parts.stores[0].load_functions()  # a new server has none
        found = _sum([one.contents for one in verified])
        pairs = zip(highest, verified, strict=True)
        lost = sum(max(0, seen - one.contents.seq) for seen, one in pairs)
        bad = tuple(kid for one in verified for kid in one.bad_seals)
        return Restored(found, seq, max(known, *highest, found.seq + lost if lost else 0), bad)


async def _divide(
    settings: Settings,
    parts: StoreParts,
    ring: Keyring,
    file: BinaryIO,
    *,
    known: int,
    actor: str,
    later: BinaryIO | None,
) -> Restored:
    """Restore the backup of a store with one partition, as `restore` does, into several."""
    (verified,) = _verified(file, ring, (DEFAULT,), is_checked=True)
    gone = frozenset[Tombstone]()
    if later is not None:
        names = (DEFAULT,) if _count(later, ring) == 1 else _names(parts)
        found = _verified(later, ring, names, is_checked=False)
        gone = frozenset().union(*(one.gone for one in found))
    highest = max([known, *[await store.highest_seen() for store in parts.stores]])
    note = partial(_restored, ring.trail_keys, actor)
    file.seek(0)
    async with signpost(settings) as post:
        assert post is not None  # noqa: S101  there are several partitions
        await post.claim()
        work = DividedRestore(parts.clients, note)
        seq = await work.run(verified, read(file, ring.backup_keys), highest, gone)
        await post.complete()
    with suppress(Unavailable):  # as in `restore`
        await parts.stores[0].load_functions()
    return Restored(verified.contents, seq, highest, verified.bad_seals)


def _count(file: BinaryIO, ring: Keyring) -> int:
    """Return the number of partitions of a backup. Raises FileRefused."""
    _, header = next(read(file, ring.backup_keys))
    file.seek(0)
    found = header.get("partitions", 1)
    return found if isinstance(found, int) else 0


def _names(parts: StoreParts) -> tuple[Names, ...]:
    return tuple(map(names_of, parts.clients))


class _Work(NamedTuple):
    """The restore of one partition. highest: the last change that is known of it."""

    restore: Restore
    verified: Verified
    gone: frozenset[Tombstone]
    highest: int


async def _run(works: Sequence[_Work], backed_up: Iterable[Iterator[Line]]) -> int:
    """Restore one partition after another, and return the highest sequence number.

    One that this file has completed is left as it is. Raises Conflict if all are complete.
    """
    done = [await work.restore.is_done(work.verified) for work in works]
    if all(done):
        raise Conflict(DONE)
    found = 0
    for work, lines, is_done in zip(works, backed_up, done, strict=True):
        if is_done:
            deque(lines, maxlen=0)
            continue
        seq = await work.restore.run(work.verified, lines, work.highest, work.gone)
        found = max(found, seq)
    return found


def _verified(
    file: BinaryIO, ring: Keyring, names: Sequence[Names], *, is_checked: bool
) -> list[Verified]:
    """Verify the backup of each partition. names: of each. is_checked: also the seals."""
    seals = ring.record_seals if is_checked else None
    found = []
    for at, lines in enumerate(_each(file, ring, len(names))):
        try:
            found.append(verify(lines, ring.fingerprints, seals, names[at]))
        except FileRefused as cause:
            if len(names) == 1:
                raise
            raise FileRefused(f"partition {at}: {cause}") from None
    return found


def _each(file: BinaryIO, ring: Keyring, count: int) -> Iterator[Iterator[Line]]:
    """Yield the lines of the backup of each partition. Raises FileRefused."""
    lines = read(file, ring.backup_keys)
    return iter([lines]) if count == 1 else backups(lines, count)


def _sum(found: Sequence[Contents]) -> Contents:
    """Return the sums of the counts, and the highest of the last changes."""
    return Contents(
        max(one.seq for one in found),
        sum(one.records for one in found),
        sum(one.aliases for one in found),
        sum(one.audit for one in found),
    )


def _restored(
    trail: TrailKeys, actor: str, last: int, number: int, left_out: Mapping[str, bytes]
) -> dict[str, str]:
    return restored(
        trail,
        change_id=secrets.token_hex(16),
        writer=actor,
        at=SystemClock().wall_ms(),
        last=last,
        number=number,
        left_out=left_out,
    )
