"""RollingBack: undoes a rotation as a person asks, but not one that ends a leaked secret."""

from typing import Final

from authz.core import secret_changes
from authz.core.audit import Action
from authz.core.changes import Author, Outcome, Refused
from authz.core.errors import Unreadable
from authz.core.records import KeyRecord
from authz.core.trail.ports import AuditTrail
from authz.flows.conditions import ANY, Conditions
from authz.flows.delivery_entries import newest_leaked
from authz.flows.delivery_ports import PendingDeliveries
from authz.flows.lifecycle import Lifecycle, Result

LEAKS: Final = "leaks/"  # the actors of flows/leak_reports.py begin with it
LEAKED: Final = "was reported as leaked and must not come back"
MAX_ENTRIES: Final = 100  # of the audit trail that are read


class RollingBack:
    """Undoes rotations. Raises as `Lifecycle.change`."""

    def __init__(self, lifecycle: Lifecycle, trail: AuditTrail, pending: PendingDeliveries) -> None:
        self._lifecycle = lifecycle
        self._trail = trail
        self._pending = pending

    async def roll_back(self, kid: str, author: Author, conditions: Conditions = ANY) -> Result:
        """Undo the last rotation of a key while both secrets work.

        Refused for the rotation of a leaked secret, which would work without an end again.
        """
        known = await self._lifecycle.show(kid)
        conditions.check(known)
        leaked = await newest_leaked(self._pending, kid)
        problem = await self._problem_of(known)

        def plan(current: KeyRecord, now: int) -> Outcome:
            outcome = secret_changes.roll_back(current, author, now)
            if isinstance(outcome, Refused):
                return outcome
            if current.version != known.version:  # perhaps by a report of a leak
                return Refused(f"{kid} was changed meanwhile; try again")
            why = LEAKED if int(outcome.record.newest_secret.id) <= leaked else problem
            if why:
                return Refused(
                    f"the earlier secret of {kid} {why}; "
                    f"`authz keys rotate {kid} --grace 0` replaces both secrets"
                )
            return outcome

        return await self._lifecycle.change(kid, plan, conditions)

    async def _problem_of(self, record: KeyRecord) -> str:
        """Return why the earlier secret must not come back, by the trail; "" if it may.

        A report of a leak has made the newest secret, or has ended an earlier one since then. An
        entry of the trail that is missing says nothing.
        """
        newest, version = record.newest_secret.id, record.version
        for _ in range(MAX_ENTRIES):
            try:
                entry = await self._trail.entry(record.kid, version)
            except Unreadable:
                return ""
            if entry is None:
                return ""
            event = entry.event
            if event.action is Action.ROTATE and event.detail.get("secret") == newest:
                return LEAKED if event.actor.startswith(LEAKS) else ""
            if event.action is Action.RETIRE and event.actor.startswith(LEAKS):
                return LEAKED
            version = entry.base_version
        return (
            "may have been reported as leaked: "
            f"the key had {MAX_ENTRIES} changes or more since its rotation"
        )
