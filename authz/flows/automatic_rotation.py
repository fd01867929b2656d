"""AutomaticRotation: gives due keys a new secret, if their policy has a target, and delivers it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Final, Protocol

from authz.core.bounded import BoundedDict
from authz.core.changes import Author, Refused
from authz.core.delivery import Arrival
from authz.core.errors import BadInput, Conflict, NotFound, Unavailable, Unreadable
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.rotation import RotationPolicies, RotationPolicy
from authz.flows.changed_problems import ChangedProblems
from authz.flows.conditions import Conditions
from authz.flows.delivered_rotation import DeliveredRotation
from authz.flows.hourly_places import HourlyPlaces
from authz.flows.lifecycle import Lifecycle
from authz.flows.repeated_looks import RepeatedLooks

AT_ONCE: Final = 10  # deliveries that are tried together
HOUR_MS: Final = 3_600_000
HOUR: Final = 3600.0  # seconds
RETRY: Final = 86_400.0  # seconds after a target refused the secret of a key
MAX_REFUSED: Final = 10_000

log = logging.getLogger("authz.rotation")
DUE_KEYS: Final = RepeatedLooks(10.0, "keys are rotated later", log)


class KeyRotation(Protocol):
    """Rotates keys whose policy has a target."""

    async def begin(
        self, record: KeyRecord, overlap_ms: int | None, author: Author, *, secret: str = ""
    ) -> bool:
        """Have a key rotated soon. Return False if its policy has no target or two secrets work.

        False too for a leaked secret, if a delivery has begun that would let it work for longer.
        overlap_ms: of a leaked secret, which ends even if nobody knows whether the new one arrived.
        None: no secret is leaked, and the overlap is that of the policy. secret: the number of the
        leaked one, "" if it is not known. True if this one is the older of two secrets, and ends by
        then anyway: an event says so.
        Raises Unavailable.
        """
        ...


class PolicyRotation:
    """Rotates a key at once that a report or a rule names, to the target of its policy."""

    def __init__(
        self, rotation: DeliveredRotation, policies: RotationPolicies, clock: Clock
    ) -> None:
        self._rotation = rotation
        self._policies = policies
        self._clock = clock

    async def begin(
        self, record: KeyRecord, overlap_ms: int | None, author: Author, *, secret: str = ""
    ) -> bool:
        """Implement KeyRotation.begin."""
        now = self._clock.wall_ms()
        if overlap_ms is not None and _is_overlapping(record, now):
            return await self._ends_anyway(record, secret, now + overlap_ms, author)
        policy = self._policies.of(record, now)
        if policy is None or not policy.to or record.public or _is_overlapping(record, now):
            return False
        is_leaked = overlap_ms is not None
        overlap = policy.overlap_ms if overlap_ms is None else overlap_ms
        return await self._rotation.begin(record, policy.to, overlap, author, is_leaked=is_leaked)

    async def _ends_anyway(self, record: KeyRecord, secret: str, by: int, author: Author) -> bool:
        """Return whether a secret ends at `by` (ms), or by the rotation that a report has begun."""
        end = next((one.retires_at for one in record.secrets if one.id == secret), None)
        if end is None:
            return False
        if await self._rotation.ends(record.kid, secret):
            return True
        return end <= by and await self._rotation.tell_leaked(record.kid, secret, by, author)


class AutomaticRotation:
    """Rotates by the policies. records: begins a read of all keys.

    per_hour: if more keys are due at once, none of them is rotated: rather a policy is wrong, and a
    person decides. held: how many keys wait for that person.
    """

    def __init__(
        self,
        rotation: DeliveredRotation,
        lifecycle: Lifecycle,
        records: Callable[[], AsyncIterator[KeyRecord]],
        *,
        policies: RotationPolicies,
        rotated: HourlyPlaces,
        per_hour: int,
        clock: Clock,
        writer: str,
    ) -> None:
        self._rotation = rotation
        self._lifecycle = lifecycle
        self._records = records
        self._policies = policies
        self._rotated = rotated
        self._per_hour = per_hour
        self._clock = clock
        self._actor = f"rotation@{writer}"
        self._problems = ChangedProblems(log)
        self._refused: BoundedDict[str, float] = BoundedDict(MAX_REFUSED)  # kid -> when
        self._looked_at = float("-inf")
        self.held = 0
        self._pending: Collection[str] = ()  # kids
        self._tried_at = float("-inf")  # the undecided ones
        self.undecided = 0  # at the latest look

    @property
    def pending(self) -> int:
        """How many deliveries were pending at the latest look, undecided ones included."""
        return len(self._pending)

    async def look(self) -> None:
        """Try pending deliveries again, and once an hour rotate the keys that are due.

        Undecided ones are tried once an hour.
        Raises Unavailable if the store fails.
        """
        await self._resume()
        now = self._clock.monotonic()  # the wall clock may be set back
        if now - self._looked_at >= HOUR:
            await self.rotate_due()
            self._looked_at = now

    async def rotate_due(self) -> None:
        """Rotate the keys that are due. Raises Unavailable if the store fails."""
        if not any(policy.to for policy in self._policies.each()):
            return  # without a read of all keys
        now = self._clock.wall_ms()
        due, number = list[KeyRecord](), 0
        async for record in self._records():
            if self._is_due(record, now):
                number += 1
                if number <= self._per_hour:  # else all of them wait, perhaps a million
                    due.append(record)
        self.held, held = 0, number
        if 0 < number <= self._per_hour:
            kids = [record.kid for record in due]
            have_place = await self._rotated.take_places(kids, HOUR_MS, self._per_hour)
            for record in due:
                policy = self._policies.of(record, now)
                if record.kid in have_place and policy is not None:
                    held -= 1
                    await self._rotate(record, policy)
        self.held = held
        if held:
            log.warning("%d keys are due and more than max_per_hour: decide", held)

    def _is_due(self, record: KeyRecord, now: int) -> bool:
        policy = self._policies.of(record, now)
        if policy is None or not policy.to or policy.due_at(record) > now:
            return False
        if record.public or record.kid in self._pending or _is_overlapping(record, now):
            return False
        return self._clock.monotonic() - self._refused.get(record.kid, float("-inf")) >= RETRY

    async def _rotate(self, record: KeyRecord, policy: RotationPolicy) -> None:
        author = self._lifecycle.author(self._actor, "due by its rotation policy")
        conditions = Conditions(version=record.version)
        try:
            done = await self._rotation.rotate(
                *(record.kid, policy.to, policy.overlap_ms, author, conditions)
            )
        except (NotFound, Conflict):
            return  # deleted or changed meanwhile
        except (BadInput, Unreadable) as cause:
            log.warning("%s is not rotated: %s", record.kid, cause)
            return
        if isinstance(done, Refused) or done.arrival is Arrival.UNDONE:
            self._refused.put(record.kid, self._clock.monotonic())

    async def _resume(self) -> None:
        self._pending = entries = await self._rotation.pending()
        now = self._clock.monotonic()
        tries_undecided = now - self._tried_at >= HOUR
        if tries_undecided:
            self._tried_at = now
        waiting, undecided = list(entries.items()), 0
        for start in range(0, len(waiting), AT_ONCE):
            part = waiting[start : start + AT_ONCE]
            undecided += sum(
                await asyncio.gather(
                    *(
                        self._again(kid, entry, tries_undecided=tries_undecided)
                        for kid, entry in part
                    )
                )
            )
        self.undecided = undecided

    async def _again(self, kid: str, text: str, *, tries_undecided: bool) -> bool:
        """Go on with a delivery. Return whether it is undecided."""
        try:
            done = await self._rotation.resume(kid, text, tries_undecided=tries_undecided)
        except (NotFound, Unavailable) as cause:  # of this key; a store that fails ends the look
            self._problems.tell(kid, f"the delivery of {kid} does not go on: {cause}")
            return False
        self._problems.clear(kid)
        if isinstance(done, Refused):
            log.warning("the delivery of %s ends: %s", kid, done.why)
            return False
        return done.is_undecided and done.arrival is Arrival.PENDING


def _is_overlapping(record: KeyRecord, now: int) -> bool:
    return sum(one.is_live(now) for one in record.secrets) > 1
