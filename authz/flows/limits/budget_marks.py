"""BudgetMarks: notices that a budget is used to 80 %, or that it refuses a request.

Each mark of a budget is reported once in a period by each sidecar, from the replies of the store.
"""

from typing import Final, Protocol

from authz.core.bounded import BoundedDict
from authz.core.limits.charge import Charge, SpendReply
from authz.core.limits.counters import BudgetCounter
from authz.core.limits.key_limits import LimitGroup, Owner

NEAR: Final = 80  # percent
REFUSED: Final = 100
MAX_REMEMBERED: Final = 20_000  # budgets and periods

_Place = tuple[Owner, str, str, int]


class BudgetNotes(Protocol):
    """Takes the marks that budgets passed; see Sightings.note_budget."""

    def note_budget(self, kid: str, budget: str, percent: int, ends_ms: int, now: int) -> None:
        """Note that a budget is used to `percent`. now, ends_ms: ms since the epoch."""
        ...


class BudgetMarks:
    """Reports marks to `notes`; None: to nobody."""

    def __init__(self, notes: BudgetNotes | None) -> None:
        self._notes = notes
        self._told: BoundedDict[_Place, int] = BoundedDict(MAX_REMEMBERED)

    def look(self, kid: str, charge: Charge, reply: SpendReply) -> None:
        """Report the new marks in a reply of the store to a charge of this key."""
        if not charge.reserved or self._notes is None:  # mostly there is no budget
            return
        at = 0
        for group, counters in charge.groups:
            for counter in counters:
                if isinstance(counter, BudgetCounter):
                    percent = _mark(counter, reply.left[at], reply.waits_us[at])
                    if percent:
                        self._tell(kid, group, counter, percent, reply.now_us // 1000)
                at += 1

    def _tell(
        self, kid: str, group: LimitGroup, counter: BudgetCounter, percent: int, now: int
    ) -> None:
        place = (group.owner, group.counter_id, counter.field, counter.ends_ms)
        if self._notes is None or (self._told.get(place) or 0) >= percent:
            return
        self._told.put(place, percent)
        name = counter.field.partition(" ")[0]
        if group.owner is not Owner.KEY:
            name = f"{group.owner}:{name}"
        ends_ms = 0 if counter.never_resets else counter.ends_ms
        self._notes.note_budget(kid, name, percent, ends_ms, now)


def _mark(counter: BudgetCounter, left: int, wait_us: int) -> int:
    """Return the highest mark that a budget has passed, or 0."""
    if wait_us:
        return REFUSED
    return NEAR if (counter.limit - left) * 100 >= counter.limit * NEAR else 0
