"""BulkChange: makes one change to many keys, a batch at a time. A key that fails stops no other."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from authz.core.admin_ports import BatchStore, KeyStore
from authz.core.changes import Author, KeyChange, Outcome, Refused, Unchanged
from authz.core.deletion import Removal
from authz.core.errors import BadInput, Conflict, Fault, Unavailable
from authz.core.partitions import ONE, Partitions
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.selector import Selector
from authz.flows.by import By
from authz.flows.confirmation import Extent
from authz.flows.lifecycle import MAX_CONFLICTS, Changed
from authz.flows.resending import until_confirmed
from authz.flows.revocable import find_altered

if TYPE_CHECKING:
    from authz.flows.selection import Entry, Selection

BATCH: Final = 100  # changes in one round trip; Ctrl-C waits for its end
MAYBE_ADDED: Final = "a reply was lost; `authz keys history` shows whether the credits were added"
BUSY: Final = "is being changed by others without a pause; try again"

Plan = Callable[[KeyRecord, int, Author], Outcome | Removal]
"""Plans the change of one record at a time in ms since the epoch, by an author."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The key could not be changed. `why`: the reason."""

    why: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """The key no longer fits the selector, because it was changed meanwhile."""


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome for one key."""

    kid: str
    outcome: Changed | Unchanged | Refused | Failed | Skipped


_Made = tuple[KeyRecord, KeyChange]  # a record, and its change


class BulkChange:
    """Makes one change to many keys. Every change is atomic for its key, not for all of them.

    Methods raise Unavailable if the store fails, and OutcomeUnknown if the replies to all tries of
    a batch are lost. To repeat the whole is safe, unless the change adds credits. partitions: of
    the store; a change of owner that would move a key to another one is Refused.
    """

    def __init__(
        self,
        selection: "Selection",
        store: KeyStore,
        batches: BatchStore,
        clock: Clock,
        partitions: Partitions = ONE,
    ) -> None:
        self._partitions = partitions
        self._selection = selection
        self._store = store
        self._batches = batches
        self._clock = clock

    async def rehearse(
        self,
        kids: Sequence[str],
        plan: Plan,
        by: By,
        *,
        selector: Selector | None = None,
        revokes: bool = False,
    ) -> AsyncIterator[tuple[str, Outcome | Removal | Failed]]:
        """Yield each kid with the change that `carry_out` would make, or why it makes none.

        Changes nothing. selector: only records with a bad seal are checked against it. revokes: as
        for `carry_out`.
        """
        for start in range(0, len(kids), BATCH):
            for entry in await self._selection.read(kids[start : start + BATCH]):
                now = self._clock.wall_ms()
                record = entry.record
                if record is None and revokes:
                    record = await find_altered(self._store, entry.kid, selector, now)
                yield entry.kid, self._planned(replace(entry, record=record), plan, now, by)

    async def carry_out(
        self,
        kids: Sequence[str],
        plan: Plan,
        by: By,
        *,
        selector: Selector | None = None,
        extent: Extent | None = None,
        revokes: bool = False,
    ) -> AsyncIterator[Sequence[Step]]:
        """Change the keys and yield their outcomes, one step for each key.

        Works in batches of BATCH (100); a yielded sequence may be shorter, or empty. selector: skip
        a key that no longer fits it. extent: is added to after each batch. revokes: the plan
        revokes, so it is also made on records with a bad seal, see `find_altered`. A key that
        others keep changing is planned MAX_CONFLICTS (16) times, then it is Failed.
        """
        extent = Extent() if extent is None else extent
        for start in range(0, len(kids), BATCH):
            left = kids[start : start + BATCH]
            for _ in range(MAX_CONFLICTS):
                steps, made = await self._plan_all(left, plan, by, selector, revokes)
                more, left = await self._apply_all(made, extent)
                yield [*steps, *more]
                if not left:
                    break
            if left:
                yield [Step(kid, Failed(BUSY)) for kid in left]

    async def _plan_all(
        self, kids: Sequence[str], plan: Plan, by: By, selector: Selector | None, revokes: bool
    ) -> tuple[list[Step], list[_Made]]:
        """Return the steps of keys that get no change, and record and change of the others.

        Raises TypeError for a Removal, which Deletion makes.
        """
        steps: list[Step] = []
        made: list[_Made] = []
        for entry in await self._selection.read(kids):
            record, now = entry.record, self._clock.wall_ms()
            if record is None and revokes:
                record = await find_altered(self._store, entry.kid, selector, now)
            elif record and selector and not selector.matches(record, now):
                steps.append(Step(entry.kid, Skipped()))
                continue
            change = self._planned(replace(entry, record=record), plan, now, by)
            if isinstance(change, Removal):
                raise TypeError("Deletion.carry_out makes deletions")
            if not isinstance(change, KeyChange):
                steps.append(Step(entry.kid, change))
            elif record:
                made.append((record, change))
        return steps, made

    def _planned(self, entry: "Entry", plan: Plan, now: int, by: By) -> Outcome | Removal | Failed:
        """Return the change of a key, which stays in its partition. now: ms since the epoch."""
        outcome = planned(entry, plan, now, by)
        if isinstance(outcome, KeyChange) and entry.record is not None:
            why = self._partitions.problem_of_move(entry.record, outcome.record)
            return Refused(f"{entry.kid}: {why}") if why else outcome
        return outcome

    async def _apply_all(
        self, made: Sequence[_Made], extent: Extent
    ) -> tuple[list[Step], list[str]]:
        """Send the changes, and add to `extent` those that were made.

        Return the steps, and the kids whose keys were changed by others meanwhile. Raises
        Unavailable if each of several changes failed with it.
        """
        if not made:
            return [], []
        changes = [change for _, change in made]
        tries = 0

        async def send() -> Sequence[int | Fault]:
            nonlocal tries
            tries += 1
            return await self._batches.apply_all(changes)

        outcomes = await until_confirmed(send)
        if len(made) > 1 and all(isinstance(found, Unavailable) for found in outcomes):
            raise Unavailable(str(outcomes[0]))  # the store, not the keys
        steps: list[Step] = []
        again: list[str] = []
        last: tuple[KeyChange, int] | None = None
        for (before, change), outcome in zip(made, outcomes, strict=True):
            if isinstance(outcome, Conflict) and change.is_relative and tries > 1:
                steps.append(Step(before.kid, Failed(MAYBE_ADDED)))
            elif isinstance(outcome, Conflict):
                again.append(before.kid)
            elif isinstance(outcome, Fault):
                steps.append(Step(before.kid, Failed(str(outcome))))
            else:
                last = change, outcome
                after = replace(change.record, version=outcome)
                extent.add(before, after)
                steps.append(Step(before.kid, Changed(after)))
        if last is not None:  # a replica that has the last change has those before it
            extent.add_replicas(await self._store.replicas(*last))
        return steps, again


def planned(entry: "Entry", plan: Plan, now: int, by: By) -> Outcome | Removal | Failed:
    """Return the change of a key. now: ms since the epoch."""
    if entry.record is None:
        return Failed(entry.why)
    try:
        return plan(entry.record, now, by.author())
    except BadInput as cause:
        return Failed(str(cause))
