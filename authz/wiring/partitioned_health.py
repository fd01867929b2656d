"""The health of several partitions as one: what Readiness asks of a feed, a cache and a link."""

from collections.abc import Sequence
from dataclasses import dataclass

from authz.wiring.partition import Partition


@dataclass(frozen=True, slots=True)
class PartitionsHealth:
    """The state of trust. trusted: whether any partition is. reason: "" if all are.

    partitions: how many there are. untrusted: the reason of each that is not trusted, by number.
    """

    trusted: bool
    reason: str
    partitions: int
    untrusted: dict[str, str]


class PartitionedHealth:
    """The health of a sidecar with several partitions.

    A sidecar is ready while any partition is trusted or may be served stale. If it were not, Envoy
    would send it no request at all, also none for the keys of the other partitions.
    """

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self._partitions = partitions

    def health(self) -> PartitionsHealth:
        """Return the state of trust at this moment."""
        found = [one.feed.health() for one in self._partitions]
        untrusted = {str(at): one.reason for at, one in enumerate(found) if not one.trusted}
        return PartitionsHealth(
            len(untrusted) < len(found),
            _summary("trusted", list(untrusted.values()), len(found)),
            len(found),
            untrusted,
        )

    @property
    def grace_left(self) -> float:
        """Seconds for which stale records of any partition may still be served; 0 when none may."""
        return max(one.cache.grace_left for one in self._partitions)

    @property
    def reason(self) -> str:
        """The reason why limits of a partition are not counted in the store; "" while all are."""
        found = [one.spend_link.reason for one in self._partitions]
        return _summary("counted", [reason for reason in found if reason], len(found))

    def __len__(self) -> int:
        return sum(len(one.cache) for one in self._partitions)


def _summary(word: str, reasons: Sequence[str], count: int) -> str:
    if not reasons:
        return ""
    return f"{len(reasons)} of {count} partitions are not {word}: {reasons[0]}"
