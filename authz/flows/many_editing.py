"""Changes of many keys in the store, as commands ask for them."""

from collections.abc import AsyncIterator, Sequence

from authz.core.changes import Outcome
from authz.core.deletion import Removal
from authz.core.edits import Delete, Edit, Revoke
from authz.core.selector import Selector
from authz.core.sidecars import Confirmation
from authz.flows.bulk_change import BulkChange, Failed, Step
from authz.flows.by import By
from authz.flows.confirmation import Extent, FleetWait
from authz.flows.deletion import Deletion


class StoreManyKeys:
    """ManyKeysEditor over the store."""

    def __init__(self, bulk: BulkChange, deletion: Deletion, wait: FleetWait) -> None:
        self._bulk = bulk
        self._deletion = deletion
        self._wait = wait

    def rehearse(
        self, kids: Sequence[str], edit: Edit, by: By, selector: Selector
    ) -> AsyncIterator[tuple[str, Outcome | Removal | Failed]]:
        """Yield each kid with the change that `carry_out` would make, or why it makes none.

        Changes nothing. See `BulkChange.rehearse` for the selector.
        """
        revokes = isinstance(edit, Revoke)
        return self._bulk.rehearse(kids, edit.plan, by, selector=selector, revokes=revokes)

    def carry_out(
        self,
        kids: Sequence[str],
        edit: Edit,
        by: By,
        *,
        selector: Selector,
        extent: Extent,
        wait_seconds: float | None,
    ) -> AsyncIterator[Sequence[Step]]:
        """Change or delete the keys and yield their outcomes, some at a time.

        A key that no longer fits `selector` is Skipped. extent: is added to. wait_seconds is not
        used: `confirmation` waits.
        """
        if isinstance(edit, Delete):
            return self._deletion.carry_out(
                kids, by, is_forced=edit.is_forced, selector=selector, extent=extent
            )
        return self._bulk.carry_out(
            kids,
            edit.plan,
            by,
            selector=selector,
            extent=extent,
            revokes=isinstance(edit, Revoke),
        )

    async def confirmation(self, extent: Extent, wait_seconds: float) -> Confirmation:
        """Wait at most `wait_seconds` for the sidecars. Return what FleetWait.for_all does."""
        return await self._wait.for_all(extent, wait_seconds)
