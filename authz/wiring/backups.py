"""Composition root of `authz backup` and `authz restore`."""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import BinaryIO

from authz.core.errors import Unavailable
from authz.core.trail.checkpoints import restored
from authz.core.trail.rows import TrailKeys
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.backup import Backup, Contents
from authz.storage.keys import StoredKeys
from authz.storage.restore import Restore, Restored
from authz.storage.sealed_lines import SealedWriter, read
from authz.storage.tombstones import Tombstone
from authz.storage.verified_backup import verify
from authz.wiring.administration import endpoint, keyring


async def back_up(settings: Settings, file: BinaryIO) -> tuple[Contents, Sequence[str]]:
    """Write all keys of the store to `file`, sealed with the newest pepper.

    Return the counts, and the names in the store that could not be read. Raises BadInput for
    unusable settings, Emptied or Foreign if the store is not ours, Unavailable, OSError.
    """
    ring, now = keyring(settings), SystemClock().wall_ms()
    writer = SealedWriter(file, ring.backup_keys[-1])
    async with aclosing(endpoint(settings).client()) as client:
        backup = Backup(client, writer.write)
        return await backup.run(ring.fingerprints, now), backup.damaged


async def restore(
    settings: Settings, file: BinaryIO, known: int, actor: str, later: BinaryIO | None = None
) -> Restored:
    """Verify a backup, write it into the empty store, and return counts and sequence number.

    The new sequence number is above `known`. known: the highest change that this machine knows of,
    or 0. file: must be seekable; it is read twice. actor: for the audit trail. later: a backup that
    was made later; keys that it knows as deleted are left out. Raises FileRefused for an unusable
    file, Foreign for other peppers, Conflict for a store with data, BadInput, Unavailable.
    """
    ring = keyring(settings)
    verified = verify(read(file, ring.backup_keys), ring.fingerprints, ring.record_seals)
    gone = frozenset[Tombstone]()
    if later is not None:
        gone = verify(read(later, ring.backup_keys), ring.fingerprints).gone
    file.seek(0)
    async with aclosing(endpoint(settings).client()) as client:
        highest = max(known, await StoredKeys(client).highest_seen())
        note = partial(_restored, ring.trail_keys, actor)
        lines = read(file, ring.backup_keys)
        seq = await Restore(client, note).run(verified, lines, highest, gone)
        with suppress(Unavailable):  # the keys are back; `authz doctor` names what is missing
            await StoredKeys(client).load_functions()  # a new server has none
        return Restored(verified.contents, seq, highest, verified.bad_seals)


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
