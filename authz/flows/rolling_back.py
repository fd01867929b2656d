"""RollingBack: undoes a rotation as a person asks, but not one that ends a leaked secret."""

from typing import Final

from authz.core import secret_changes
from authz.core.audit import Action
from authz.core.changes import Author, Outcome, Refused
from authz.core.errors import Unreadable
from authz.core.records import KeyRecord
from authz.core.trail.ports import AuditTrail
from authz.flows.conditions import ANY, Conditions
from authz.flows.lifecycle import Lifecycle, Result

LEAKS: Final = "leaks/"  # the actors of flows/leak_reports.py begin with it
MAX_ENTRIES: Final = 100  # of the audit trail that are read


class RollingBack:
    """Undoes rotations. Raises as `Lifecycle.change`."""

    def __init__(self, lifecycle: Lifecycle, trail: AuditTrail) -> None:
        self._lifecycle = lifecycle
        self._trail = trail

    async def roll_back(self, kid: str, author: Author, conditions: Conditions = ANY) -> Result:
        """Undo the last rotation of a key while both secrets work.

        Refused for the rotation of a leaked secret, which would work without an end again.
        """
        known = await self._lifecycle.show(kid)
        conditions.check(known)
        is_of_leak = await self._is_of_leak(known)

        def plan(current: KeyRecord, now: int) -> Outcome:
            outcome = secret_changes.roll_back(current, author, now)
            if isinstance(outcome, Refused):
                return outcome
            if current.version != known.version:  # perhaps by a report of a leak
                return Refused(f"{kid} was changed meanwhile; try again")
            if is_of_leak:
                return Refused(
                    f"the earlier secret of {kid} was reported as leaked and must not come back; "
                    f"`authz keys rotate {kid} --grace 0` replaces both secrets"
                )
            return outcome

        return await self._lifecycle.change(kid, plan, conditions)

    async def _is_of_leak(self, record: KeyRecord) -> bool:
        """Return whether a report of a leak named an earlier secret, as far as is known.

        It has made the newest secret, or it has ended an earlier one since then.
        """
        newest, version = record.newest_secret.id, record.version
        for _ in range(MAX_ENTRIES):
            try:
                entry = await self._trail.entry(record.kid, version)
            except Unreadable:
                return False
            if entry is None:
                return False
            event = entry.event
            if event.action is Action.ROTATE and event.detail.get("secret") == newest:
                return event.actor.startswith(LEAKS)
            if event.action is Action.RETIRE and event.actor.startswith(LEAKS):
                return True
            version = entry.base_version
        return False
