"""Changes of keys in the store, as commands ask for them: of one key, and of many."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final

from authz.core.admin_ports import SidecarRegistry
from authz.core.changes import Author, Outcome, Refused
from authz.core.deletion import Removal
from authz.core.edits import Delete, Edit, ResetLimits, Rotate
from authz.core.errors import Unavailable
from authz.core.new_keys import KeySpec
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.selector import Selector
from authz.core.sidecars import Confirmation
from authz.core.trail.ports import AuditTrail
from authz.flows.bulk_change import BulkChange, By, Extent, Failed, Step
from authz.flows.command_ports import Effect
from authz.flows.confirmation import acknowledged, all_acknowledged
from authz.flows.lifecycle import Changed, Lifecycle, Result

if TYPE_CHECKING:
    from authz.flows.deletion import Deletion

SKIPPED: Final = "was changed meanwhile"


class StoreEditor:
    """KeyEditor over the store. deletion: is made only if a key is deleted."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        deletion: "Callable[[], Deletion]",
        registry: SidecarRegistry,
        trail: AuditTrail,
        clock: Clock,
    ) -> None:
        self._lifecycle = lifecycle
        self._deletion = deletion
        self._registry = registry
        self._trail = trail
        self._clock = clock

    async def issue(self, spec: KeySpec, by: By) -> Changed:
        """Issue a key, and return its record and its text. Raises as `Lifecycle.issue`."""
        return await self._lifecycle.issue(spec, by.author())

    async def change(
        self, kid: str, edit: Edit, by: By, wait_seconds: float | None = None
    ) -> Effect:
        """Make a change and wait at most `wait_seconds` for the sidecars; None: do not wait.

        Unchanged is waited for, too, Refused is not. A failed wait is the `problem` of the Effect.
        Raises NotFound if no key has the kid, and Unavailable if the store fails or cannot be
        asked for the sidecars before the change.
        """
        if wait_seconds is not None:
            await self._registry.find()  # connect first: the time counts from the change
        result = await self._made(kid, edit, by.author())
        if wait_seconds is None or isinstance(result, Refused):
            return Effect(result)
        try:
            return Effect(result, await self._confirmed(edit, result.record, wait_seconds))
        except Unavailable as cause:
            return Effect(result, problem=str(cause))

    async def _made(self, kid: str, edit: Edit, author: Author) -> Result:
        lifecycle = self._lifecycle
        match edit:
            case Rotate():
                return await lifecycle.rotate(kid, edit.grace_ms, author)
            case ResetLimits():
                return await lifecycle.reset_limits(kid, author)
            case Delete():
                done = await self._deletion().delete(kid, author, is_forced=edit.is_forced)
                if isinstance(done, KeyRecord):
                    return Changed(done)
                return done if isinstance(done, Refused) else Refused(f"{kid} {SKIPPED}")
            case _:
                return await lifecycle.change(
                    kid, lambda record, now: edit.plan(record, now, author)
                )

    async def _confirmed(self, edit: Edit, record: KeyRecord, seconds: float) -> Confirmation:
        if isinstance(edit, Delete):  # the entries of its former graces are gone, too
            extent = Extent()
            extent.add(record, record)
            return await all_acknowledged(self._registry, extent, seconds, self._clock)
        return await acknowledged(self._registry, self._trail, record, seconds, self._clock)


class StoreManyKeys:
    """ManyKeysEditor over the store."""

    def __init__(
        self, bulk: BulkChange, deletion: "Deletion", registry: SidecarRegistry, clock: Clock
    ) -> None:
        self._bulk = bulk
        self._deletion = deletion
        self._registry = registry
        self._clock = clock

    def rehearse(
        self, kids: Sequence[str], edit: Edit, by: By, _selector: Selector
    ) -> AsyncIterator[tuple[str, Outcome | Removal | Failed]]:
        """Yield each kid with the change that `carry_out` would make, or why it makes none.

        Changes nothing. The selector is not used.
        """
        return self._bulk.rehearse(kids, edit.plan, by)

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
        return self._bulk.carry_out(kids, edit.plan, by, selector=selector, extent=extent)

    async def confirmation(self, extent: Extent, wait_seconds: float) -> Confirmation:
        """Wait at most `wait_seconds` for the sidecars. Return what `all_acknowledged` does."""
        return await all_acknowledged(self._registry, extent, wait_seconds, self._clock)
