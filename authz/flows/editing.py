"""Changes of one key in the store, as commands ask for them."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from authz.core.changes import Author, Refused
from authz.core.edits import Delete, Edit, Refund, ResetLimits, Revoke, RollBack, Rotate
from authz.core.errors import Unavailable
from authz.core.records import KeyRecord
from authz.flows.by import By
from authz.flows.command_ports import Effect
from authz.flows.confirmation import extent_of
from authz.flows.lifecycle import Changed, Lifecycle, Result

if TYPE_CHECKING:
    from authz.core.new_keys import KeySpec
    from authz.flows.confirmation import FleetWait
    from authz.flows.deletion import Deletion
    from authz.flows.delivered_rotation import DeliveredRotation
    from authz.flows.limits.refunds import Refunding
    from authz.flows.rolling_back import RollingBack

SKIPPED: Final = "was changed meanwhile"


class StoreEditor:
    """KeyEditor over the store.

    deletion: is made only if a key is deleted. wait: is made only if a change is waited for.
    refunding: is made only for a refund. delivering: only for a rotation with a target, by its
    name. rolling_back: only to undo a rotation.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        deletion: "Callable[[], Deletion]",
        wait: "Callable[[], FleetWait]",
        *,
        refunding: "Callable[[], Refunding]",
        delivering: "Callable[[str], DeliveredRotation]",
        rolling_back: "Callable[[], RollingBack]",
    ) -> None:
        self._rolling_back = rolling_back
        self._delivering = delivering
        self._lifecycle = lifecycle
        self._refunding = refunding
        self._deletion = deletion
        self._wait = wait

    async def issue(self, spec: "KeySpec", by: By) -> Changed:
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
        if wait_seconds is None:
            return await self._effect(kid, edit, by.author())
        wait = self._wait()
        await wait.connect(kid)
        effect = await self._effect(kid, edit, by.author())
        result = effect.result
        if isinstance(result, Refused):
            return effect
        try:
            if isinstance(edit, Delete):
                found = await wait.for_all(extent_of(result.record), wait_seconds)
            else:
                found = await wait.for_key(result.record, wait_seconds)
            return replace(effect, confirmation=found)
        except Exception as cause:  # noqa: BLE001  no fault may hide that the change was made
            is_known = isinstance(cause, Unavailable)
            return replace(effect, problem=str(cause) if is_known else f"no answer: {cause!r}")

    async def _effect(self, kid: str, edit: Edit, author: Author) -> Effect:
        if not (isinstance(edit, Rotate) and edit.to):
            return Effect(await self._made(kid, edit, author))
        done = await self._delivering(edit.to).rotate(kid, edit.to, edit.grace_ms, author)
        if isinstance(done, Refused):
            return Effect(done)
        return Effect(Changed(done.record), delivery=done)

    async def _made(self, kid: str, edit: Edit, author: Author) -> Result:
        lifecycle = self._lifecycle
        match edit:
            case Rotate():
                return await lifecycle.rotate(kid, edit.grace_ms, author)
            case Revoke():
                return await lifecycle.revoke(kid, edit.reason, author)
            case ResetLimits():
                return await lifecycle.reset_limits(kid, author)
            case RollBack():
                return await self._rolling_back().roll_back(kid, author)
            case Refund():
                return await self._refunding().refund(kid, edit.budget, author)
            case Delete():
                done = await self._deletion().delete(kid, author, is_forced=edit.is_forced)
                if isinstance(done, KeyRecord):
                    return Changed(done)
                return done if isinstance(done, Refused) else Refused(f"{kid} {SKIPPED}")
            case _:
                return await lifecycle.change(
                    kid, lambda record, now: edit.plan(record, now, author)
                )
