"""Period: the hours of one export, by its cursor and by what was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from authz.core.errors import BadInput
from authz.core.usage.billing.ports import Bounds
from authz.core.usage.billing.record import hour_text

AHEAD: Final = 3
"""Hours from the first one that is not closed to the one after the store's present hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The hours that were asked for, since the epoch.

    since, until: None if they were not given. corrections: how many hours before the position are
    compared again. oldest: the first hour that the store surely has and the receiver takes.
    """

    since: int | None
    until: int | None
    corrections: int
    oldest: int


@dataclass(frozen=True, slots=True)
class Period:
    """The hours of one export.

    known: the bounds of the cursor before the export. oldest: the first hour that the store surely
    has.
    """

    hours: range
    corrections: int
    known: Bounds | None
    oldest: int

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings about hours that the records lack."""
        found = []
        if self.hours.start < self.oldest:
            found.append(
                f"hours before {hour_text(self.oldest)} may be gone, or too old to deliver"
            )
        if self.known and self.known.position < self.hours.start:
            span = f"{hour_text(self.known.position)} to {hour_text(self.hours.start)}"
            found.append(f"--since leaves out {span}: no later run exports these hours")
        return found

    def bounds(self, held: int | None) -> Bounds:
        """Return the bounds after the export.

        held: the first hour with a record that was not delivered; None if there is none.
        """
        known = self.known or Bounds(self.hours.start, self.hours.start)
        position = max(known.position, self.hours.stop)
        floor = position - self.corrections
        if held is not None:
            floor = min(floor, held)
        # Records may wait in hours that this export did not compare.
        first = max(known.floor, self.oldest)
        if first < self.hours.start <= known.position:
            floor = min(floor, first)
        elif self.hours.stop < known.position:
            floor = min(floor, self.hours.stop)
        # Hours that were left out by --since are not exported later.
        least = self.hours.start if self.hours.start > known.position else known.floor
        return Bounds(max(floor, least), position)


def period(asked: Asked, closed: int, known: Bounds | None) -> Period:
    """Return the hours of the next export.

    closed: the first hour that is not closed. known: the bounds of the cursor; None for a new one.
    Raises BadInput about `--since` if hours were lost or are not known any more, or if it is in the
    future, and about `--cursor` if that is: all hours until then would be left out.
    """
    begins, ahead = asked.since, closed + AHEAD
    if begins is not None and begins > ahead:
        raise BadInput("--since", f"{hour_text(begins)} is in the future of the store's clock")
    if known is not None and known.position > ahead:
        problem = f"has hours until {hour_text(known.position)}, in the future of the store's clock"
        raise BadInput("--cursor", f"{problem}: correct the clock, or begin another cursor")
    if known is None:
        begins = asked.oldest if begins is None else begins
    elif begins is None:
        if known.position < asked.oldest:
            raise BadInput("--since", _lost(known.position, asked.oldest))
        begins = max(known.floor, asked.oldest)
    elif begins < known.floor:
        problem = f"the cursor has forgotten hours before {hour_text(known.floor)}"
        raise BadInput("--since", f"{problem}; give a later time, or another cursor")
    ends = closed if asked.until is None else min(asked.until, closed)
    return Period(range(begins, max(begins, ends)), asked.corrections, known, asked.oldest)


def _lost(position: int, oldest: int) -> str:
    problem = f"hours from {hour_text(position)} on were not exported and are too old now"
    return f"is needed: {problem}; {hour_text(oldest)} begins after them"
