"""Deletion: deletes keys for ever, one after the other. A key that fails stops no other."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from authz.core import deletion
from authz.core.admin_ports import DeletionStore, KeyStore
from authz.core.changes import Author, Refused
from authz.core.errors import Conflict, Forbidden, NotFound, Unavailable, Unreadable
from authz.core.ports import Clock
from authz.core.records import KeyRecord, Status
from authz.core.selector import Selector
from authz.flows.bulk_change import BUSY, Failed, Skipped, Step
from authz.flows.by import By
from authz.flows.conditions import ANY, Conditions
from authz.flows.confirmation import Extent
from authz.flows.lifecycle import MAX_CONFLICTS, Changed
from authz.flows.resending import until_confirmed

if TYPE_CHECKING:
    from authz.core.usage.ports import UsageEraser

DAY_MS: Final = 86_400_000
MAX_FAILURES: Final = 5  # in a row that concern the store, not a key: then it is down


class Deletion:
    """Deletes keys. Their personal data goes, also from trail and usage; a tombstone stays.

    Methods raise Unavailable if the store fails, and OutcomeUnknown if the replies to all tries are
    lost. To repeat a deletion is safe.
    """

    def __init__(
        self, keys: KeyStore, store: DeletionStore, usage: "UsageEraser", clock: Clock
    ) -> None:
        self._keys = keys
        self._store = store
        self._usage = usage
        self._clock = clock

    async def delete(
        self,
        kid: str,
        author: Author,
        *,
        is_forced: bool = False,
        selector: Selector | None = None,
        conditions: Conditions = ANY,
    ) -> KeyRecord | Refused | Skipped:
        """Delete a key. Return its last record, as revoked, with the version of the deletion.

        is_forced: also a key that is neither revoked nor expired, else Refused. selector: Skipped
        if the key does not fit it. conditions: as for Lifecycle, so Conflict and the faults of the
        guard are raised; with a dry run the record is as it was. Raises NotFound if no key has the
        kid, Unavailable also if others change the key MAX_CONFLICTS (16) times.
        """
        for _ in range(MAX_CONFLICTS):
            record = await self._keys.find(kid)
            if record is None:
                raise NotFound(f"no key has the kid {kid}")
            conditions.check(record)
            now = self._clock.wall_ms()
            if selector is not None and not selector.matches(record, now):
                return Skipped()
            entries = await self._store.entries(record)
            planned = deletion.delete(record, entries, author, now, is_forced=is_forced)
            if isinstance(planned, Refused):
                return planned
            if conditions.dry_run:
                return record
            # Before the deletion: if it fails, the key is still there and the deletion can be
            # repeated. Permanently: the meter may count requests of the key after its deletion.
            await self._usage.erase(kid, now // DAY_MS, permanently=True)
            try:
                version = await until_confirmed(partial(self._store.delete, planned))
            except Conflict:
                await self._usage.keep_again(kid)  # the changed key may no longer be deletable
                continue
            return replace(record, status=Status.REVOKED, version=version)
        raise Unavailable(f"{kid} {BUSY}")

    async def carry_out(
        self,
        kids: Sequence[str],
        by: By,
        *,
        is_forced: bool = False,
        selector: Selector | None = None,
        extent: Extent | None = None,
        conditions: Conditions = ANY,
    ) -> AsyncIterator[Sequence[Step]]:
        """Delete the keys, one after the other, and yield one step for each.

        selector: skip a key that no longer fits it. extent: is added to. conditions: as for
        `delete`; a key that the caller may not delete is Failed. So is one for which `delete`
        raises Unavailable, but the fifth in a row (MAX_FAILURES) raises it.
        """
        extent = Extent() if extent is None else extent
        in_a_row = 0
        for kid in kids:
            try:
                done = await self.delete(
                    kid,
                    by.author(),
                    is_forced=is_forced,
                    selector=selector,
                    conditions=conditions,
                )
            except (NotFound, Forbidden, Unreadable) as cause:
                yield [Step(kid, Failed(str(cause)))]
                continue
            except Unavailable as cause:
                in_a_row += 1
                if in_a_row == MAX_FAILURES:
                    raise
                yield [Step(kid, Failed(str(cause)))]
                continue
            in_a_row = 0
            if isinstance(done, KeyRecord):
                extent.add(done, done)
                yield [Step(kid, Changed(done))]
            else:
                yield [Step(kid, done)]
