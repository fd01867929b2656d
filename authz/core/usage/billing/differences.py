"""Differences between the counts of the store and the records that were delivered.

Rules:
1. An hour is closed PAST_MS (2 h) after its end, by the clock of the store. From then on the store
   takes no commit with a request of that hour.
2. A count that no record has yet makes revision 1. A count that differs from the sum of its records
   makes the next revision, with the difference.
3. A count of 0 makes no record, unless the sum of its records is not 0.
4. If the store has nothing of a window of hours any more, the hours have expired. That is no
   difference.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from authz.core.records import KeyRecord
from authz.core.usage.billing.record import NUMBERS, BillingRecord, Owner, Unit
from authz.core.usage.counts import Counts, Level
from authz.core.usage.entry import NO_VALUE
from authz.core.usage.question import HOUR_MS
from authz.core.usage.tally import PAST_MS


def closed_before(now_ms: int) -> int:
    """Return the first hour that is not closed, in hours since the epoch.

    All hours before it are closed. now_ms: ms since the epoch by the store's clock.
    """
    return (now_ms - PAST_MS) // HOUR_MS


class Delivered(NamedTuple):
    """The records of one key, hour, route and unit: their sum, and the number of the last one."""

    total: int
    revision: int


Place = tuple[int, str, str]
"""Hour, route and unit."""


@dataclass(frozen=True, slots=True)
class KeyHours:
    """The hours of one key, as the store has them.

    counts: by hour and route. windows: the windows of hours of which the store has something.
    owners: as in KeyFacts.
    """

    kid: str
    counts: Mapping[tuple[int, str], Counts]
    windows: frozenset[int]
    owners: Mapping[int, str] = field(default_factory=dict)


def differences(
    hours: KeyHours,
    delivered: Mapping[Place, Delivered],
    units: Sequence[Unit],
    record: KeyRecord | None,
) -> Iterator[BillingRecord]:
    """Yield the records that are missing, ordered by hour and route.

    Corrections of counts that are gone come last. delivered: of the same hours. record: of the key
    as it is now; None if it was deleted.
    """
    open_places = dict(delivered)
    numbers = [(unit.value, NUMBERS[unit]) for unit in units]
    for (hour, route), counts in sorted(hours.counts.items(), key=itemgetter(0)):
        for unit, number in numbers:
            place = (hour, route, unit)
            total, revision = open_places.pop(place, (0, 0))
            if gap := number(counts) - total:
                yield _record(hours, place, gap, revision + 1, record)
    for place, (total, revision) in open_places.items():
        if total and place[0] // Level.HOUR.window in hours.windows and place[2] in units:
            yield _record(hours, place, -total, revision + 1, record)


def owner(owners: Mapping[int, str], hour: int, record: KeyRecord | None) -> Owner:
    """Return the owner of a key in an hour.

    owners: as usage has seen them, in order; those of the last change up to this hour count, else
    the first ones. record: says it if usage does not.
    """
    known = [text for since, text in owners.items() if since <= hour]
    text = known[-1] if known else next(iter(owners.values()), "")
    words = ["" if word == NO_VALUE else word for word in text.split(" ")[:4]]
    if len(words) == 4:  # noqa: PLR2004  client, project, tenant, plan
        return Owner(*words)
    if record is None:
        return Owner()
    return Owner(record.client_id, record.project_id, record.tenant_id, record.plan)


def _record(
    hours: KeyHours, place: Place, quantity: int, revision: int, record: KeyRecord | None
) -> BillingRecord:
    hour, route, unit = place
    return BillingRecord(
        kid=hours.kid,
        hour=hour,
        route=route,
        unit=unit,
        quantity=quantity,
        revision=revision,
        owner=owner(hours.owners, hour, record),
    )
