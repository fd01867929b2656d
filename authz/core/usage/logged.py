"""LoggedUsage: the usage that a log file shows, by key and hour, to compare it with the store."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from authz.core.usage.counts import FIELDS, MINUTES_PER_HOUR, Counts, Field
from authz.core.usage.entry import EntryReader
from authz.core.usage.tally import Clocks, Tally

ANY_TIME = Clocks(0, 1 << 62)
COMPARED = (
    *(Field.OK, Field.CLIENT_ERROR, Field.SERVER_ERROR, Field.DENIED, Field.ABORTED),
    *(Field.BYTES_IN, Field.BYTES_OUT, Field.MILLISECONDS, Field.UNITS),
)


class LoggedUsage:
    """The usage of a log in the format of the usage logger. Requests that still run do not count.

    refused: how many lines are no valid entries. A line that is added twice counts twice.
    """

    def __init__(self) -> None:
        self._reader = EntryReader()
        self._keys: dict[str, dict[int, Counts]] = {}
        self.refused = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Add some lines without their line ends."""
        tally = Tally(self._reader)
        tally.add(lines)
        for kid, usage in tally.commit(ANY_TIME).keys.items():
            hours = self._keys.setdefault(kid, {})
            for (minute, _), row in usage.rows.items():
                counts = Counts((*row, *[0] * (FIELDS - len(row))))
                hour = minute // MINUTES_PER_HOUR
                hours[hour] = hours.get(hour, Counts()) + counts
        self.refused += sum(tally.refused.values())

    @property
    def whole_hours(self) -> range:
        """The hours since the epoch that the log covers fully, over all keys.

        The first and the last hour with an entry are left out: the log may hold only a part of
        each. Empty if there is no hour between them.
        """
        hours = {hour for each in self._keys.values() for hour in each}
        return range(min(hours) + 1, max(hours)) if hours else range(0)

    def of(self, hours: range) -> Mapping[str, Counts]:
        """Return the sums of these hours by kid, of the keys that have requests in them."""
        found = {
            kid: sum((counts for hour, counts in each.items() if hour in hours), Counts())
            for kid, each in self._keys.items()
        }
        return {kid: counts for kid, counts in found.items() if counts.requests}


@dataclass(frozen=True, slots=True)
class Difference:
    """A key whose counts in the log and in the store differ."""

    kid: str
    logged: Counts
    counted: Counts

    @property
    def fields(self) -> Mapping[Field, int]:
        """The numbers that differ: the store's minus the log's. Empty if none does.

        The numbers of slow requests are not compared.
        """
        gaps = {field: self.counted[field] - self.logged[field] for field in COMPARED}
        return {field: gap for field, gap in gaps.items() if gap}


def differences(logged: Mapping[str, Counts], counted: Mapping[str, Counts]) -> list[Difference]:
    """Return the keys whose counts differ, sorted by kid. A key that one side lacks is 0 there."""
    pairs = (
        Difference(kid, logged.get(kid, Counts()), counted.get(kid, Counts()))
        for kid in sorted({*logged, *counted})
    )
    return [each for each in pairs if each.fields]
