"""Ports of the judgement of hours: the interfaces that its flow needs and outer packages implement.

MUST marks an obligation of the implementation. A flow relies on it and cannot check it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from authz.core.usage.anomalies.features import Feature, Gap
from authz.core.usage.anomalies.judging import Hour
from authz.core.usage.anomalies.ranking import Anomaly, Ranked


class KeyHour(NamedTuple):
    """An hour of a key, and its habits as they are stored; None for a key without any."""

    kid: str
    habits: bytes | None
    hour: Hour


@dataclass(slots=True)
class Round:
    """The judgement of one hour, over all keys. hour: since the epoch.

    anomalies: how many. keys: how many were judged. gaps: keys by feature and cause. unreadable:
    keys that were left out because their data cannot be read.
    """

    hour: int
    keys: int = 0
    anomalies: int = 0
    unreadable: int = 0
    gaps: dict[tuple[Feature, Gap], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnusualKeys:
    """The keys whose hours are unusual, in the order of their risk.

    keys: each with its client; None if the key was deleted or cannot be read. count: of all, also
    beyond the limit. judged: the latest round; None before the first one, and for a reader that may
    not see every key.
    """

    keys: Sequence[tuple[Ranked, str | None]]
    count: int
    judged: Round | None


class AnomalyReader(Protocol):
    """Reads anomalies. Methods raise Unavailable if the store fails."""

    async def latest(self) -> Round | None:
        """Return the latest complete round, or None if there was none."""
        ...

    async def anomalies(self, hours: range) -> Sequence[Anomaly]:
        """Return the anomalies of these hours since the epoch. What cannot be read is left out."""
        ...


class HabitStore(AnomalyReader, Protocol):
    """Keeps habits and anomalies. Methods raise Unavailable if the store fails."""

    async def now_ms(self) -> int:
        """Return the time of the store, in ms since the epoch."""
        ...

    async def take_lease(self, instance: str, ms: int) -> bool:
        """Take or renew the lease of the judgement for `ms`. Return whether it is ours."""
        ...

    async def read(self, kids: Sequence[str], hour: int) -> Sequence[KeyHour | None]:
        """Return the hour of each key, in order; None for one whose data cannot be read."""
        ...

    async def save(self, habits: Mapping[str, bytes], found: Sequence[Anomaly]) -> None:
        """Store the habits and the anomalies of some keys in one step.

        MUST store the anomalies of a key no later than its habits: a key whose habits have the hour
        is not judged again.
        """
        ...

    async def finish(self, done: Round) -> None:
        """Store that a round is complete."""
        ...
