"""StoreDeclaredKeys: reads and changes the keys of a file, in the store."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from authz.core import new_keys
from authz.core.admin_ports import KeyStore
from authz.core.changes import Author, Outcome, Refused, Unchanged
from authz.core.declared_changes import Planned
from authz.core.deletion import Removal
from authz.core.errors import OutcomeUnknown, Unavailable
from authz.core.keys.keyring import Keyring
from authz.core.keys.minting import mint
from authz.core.new_keys import KeySpec
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.flows.bulk_change import BulkChange, Step
from authz.flows.by import By
from authz.flows.resending import until_confirmed
from authz.flows.selection import CHUNK, Entry, Selection

if TYPE_CHECKING:
    from authz.flows.command_ports import SecretSink


class StoreDeclaredKeys:
    """DeclaredKeys over the store."""

    def __init__(
        self,
        selection: Selection,
        bulk: BulkChange,
        keys: KeyStore,
        keyring: Keyring,
        clock: Clock,
    ) -> None:
        self._selection = selection
        self._bulk = bulk
        self._keys = keys
        self._keyring = keyring
        self._clock = clock

    async def read(self, kids: Sequence[str]) -> list[Entry]:
        """Return an entry for each kid, in order, CHUNK (500) in one call to the store."""
        found: list[Entry] = []
        for start in range(0, len(kids), CHUNK):
            found += await self._selection.read(kids[start : start + CHUNK])
        return found

    async def issue(self, spec: KeySpec, sink: "SecretSink", by: By) -> KeyRecord:
        """Issue a key and return its record. `sink` has the secret before the store has the key."""
        minted = mint(self._keyring, spec)
        change = new_keys.issue(spec, minted, by.author(), self._clock.wall_ms())
        sink.prepare(minted.kid, minted.text)
        try:
            version = await until_confirmed(partial(self._keys.apply, change))
        except OutcomeUnknown:
            raise
        except Unavailable:  # the change was never sent
            sink.discard(minted.kid)
            raise
        sink.keep(minted.kid)
        return replace(change.record, version=version)

    def carry_out(
        self, kids: Sequence[str], plan: Callable[[KeyRecord], Planned], by: By
    ) -> AsyncIterator[Sequence[Step]]:
        """Change the keys and yield the outcomes, as `BulkChange.carry_out`."""

        def change(record: KeyRecord, now: int, author: Author) -> Outcome | Removal:
            planned = plan(record)
            if isinstance(planned, Refused | Unchanged):
                return planned
            return planned.plan(record, now, author)

        return self._bulk.carry_out(kids, change, by)
