"""Ports of usage: the interfaces that flows need and storage implements.

MUST marks an obligation of the implementation. A flow relies on it and cannot check it.
"""

from __future__ import annotations  # the types are for readers and checkers alone

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.core.usage.commit import Commit, Denial, Sight
    from authz.core.usage.completeness import ProcessSeen
    from authz.core.usage.counts import Counts, Level
    from authz.core.usage.entry import Cause
    from authz.core.usage.events import MeterEvent
    from authz.core.usage.question import TopBy


@dataclass(frozen=True, slots=True)
class Counted:
    """The commit and the digests are in the store.

    full: how many counters stay at their largest value. garbled: how many keys have data in the
    store that cannot be read; nothing was added to them.
    """

    full: int = 0
    garbled: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """Nothing was added, because these digests were counted before."""

    digests: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class TooOld:
    """Result of a commit: nothing was added, because a batch waited too long.

    Its digest may be forgotten by now, so a repetition would not be found.
    """


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing was added, because `until_ms` of the commit is over."""


CommitReply = Counted | Known | TooOld | Closed


class MeterProbe(Protocol):
    """Counts the events of a meter."""

    def count(self, event: MeterEvent, times: int = 1) -> None:
        """Count an event `times` times."""
        ...

    def refused(self, cause: Cause, times: int) -> None:
        """Count `times` entries that are attributed to no key."""
        ...

    def committed(self, seconds: float) -> None:
        """Record the duration of a commit that was added."""
        ...


class UsageStore(Protocol):
    """Adds commits to the counts."""

    def now_ms(self) -> int | None:
        """Return the store's time in ms since the epoch; None before it is known."""
        ...

    async def commit(
        self, commit: Commit, digests: Sequence[bytes], arrived_ms: int
    ) -> CommitReply:
        """Add a commit and the digests of its batches, in one step.

        MUST add everything if no digest is known, and nothing if one is. MUST know a digest for two
        hours. MUST return TooOld if `arrived_ms`, the store's time at which the oldest batch came,
        is more than an hour ago, and Closed if `commit.until_ms` is over. Raises Unavailable if
        nothing was added, or if that is unknown. A repetition with the same digests is safe. May
        drop networks that are stored from `commit`.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """The facts about a key that its usage shows.

    latest: None if it was never used. secrets: by id, the latest use and the number of requests.
    owners: as `about` of an Identity, by the hour since the epoch from which they were seen, oldest
    first. denials: the latest ones, at most KEPT_DENIALS, newest first.
    """

    latest: Sight | None = None
    secrets: Mapping[str, tuple[Sight, int]] = field(default_factory=dict)
    owners: Mapping[int, str] = field(default_factory=dict)
    denials: Sequence[Denial] = ()


@dataclass(frozen=True, slots=True)
class DayFacts:
    """The facts about one day of a key, or of all requests.

    denials: by reason; of all requests those without a key. networks: how many distinct ones,
    estimated to 1 %; 0 for all requests.
    """

    denials: Mapping[str, int]
    networks: int


class UsageReader(Protocol):
    """Reads counts. All raise Unavailable, and Unreadable for data that cannot be read."""

    async def counts(
        self, kid: str, level: Level, slots: range
    ) -> Mapping[tuple[int, str], Counts]:
        """Return the counts of a key by slot and route, without slots that have none.

        The route is "" for requests without a label; only hours tell routes apart.
        """
        ...

    async def totals(self, level: Level, slots: range) -> Mapping[tuple[int, str, str], Counts]:
        """Return the counts of all requests by slot, route and code such as `200` or `200/8`.

        Slots without requests are left out.
        """
        ...

    async def facts(self, kid: str) -> KeyFacts:
        """Return the facts about a key, empty ones if it was never used."""
        ...


class DayReader(Protocol):
    """Reads the facts about days. Raises what UsageReader raises."""

    async def days(self, kid: str, days: range) -> Mapping[int, DayFacts]:
        """Return the facts by day since the epoch, without days that have none.

        kid: "" for all requests.
        """
        ...

    async def models(self, kid: str, days: range) -> Mapping[tuple[int, str], Counts]:
        """Return the counts by day since the epoch and model. kid: "" for all requests."""
        ...


class UsageIndex(Protocol):
    """Reads the usage of many keys at once. All raise Unavailable, and Unreadable for bad data."""

    async def latest(self, kids: Sequence[str]) -> Sequence[int | None]:
        """Return for each kid, in order, a time in the minute of its latest use.

        In seconds since the epoch, and not after that use. None if it was never used.
        """
        ...

    def used_since(self, since: int) -> AsyncIterator[Sequence[str]]:
        """Yield lists of the kids that were used at `since` or later. A kid may come twice.

        since: seconds since the epoch; its whole minute counts. A list has at most a few thousand
        kids; more only if the times of as many are in one second. MUST yield a key that is used
        meanwhile at least once.
        """
        ...

    async def many(
        self, kids: Sequence[str], level: Level, slots: range
    ) -> Sequence[Mapping[tuple[int, str], Counts]]:
        """Return the result of `UsageReader.counts` for each kid, in order."""
        ...


class MonthRanking(Protocol):
    """Reads which keys were used most in a month."""

    async def ranked(self, month: int, by: TopBy) -> Sequence[str] | None:
        """Return the kids with the largest numbers of a month, the largest first.

        month: since January 1970, in UTC. None: it is not known for this month. MUST have every key
        whose number is larger than that of the last one; at least 500, or all keys that were used.
        May have keys with 0. Raises Unavailable, and Unreadable for data that cannot be read.
        """
        ...


class GateProcesses(Protocol):
    """Reads how many entries of each process of the gate were issued and came."""

    async def issued(self) -> Mapping[str, int]:
        """Return by process how many charge ids it has given out. Raises Unavailable."""
        ...

    async def processes(self) -> Sequence[ProcessSeen]:
        """Return the processes whose entries came. Raises Unavailable."""
        ...


class UsageEraser(Protocol):
    """Erases the facts about the callers of a key."""

    async def erase(self, kid: str, today: int, *, permanently: bool = False) -> int:
        """Erase networks and user agents of a key. Return how many facts were erased.

        today: the day since the epoch. permanently: MUST also drop facts of requests that are
        counted later, until `keep_again`. MUST keep counts and times. MUST return 0 if there is
        nothing to erase. Raises Unavailable.
        """
        ...

    async def keep_again(self, kid: str) -> None:
        """End a permanent erasure: keep facts of requests that are counted from now on.

        Raises Unavailable.
        """
        ...
