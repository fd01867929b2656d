"""PartitionSet: all that a sidecar has for a store with a certain number of partitions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from authz.core.abuse import FailureBuckets
from authz.core.budgets.learned import Estimates
from authz.core.keys.keyring import Keyring
from authz.core.partitions import Partitions
from authz.core.ports import Clock
from authz.process.readiness import Cache, Feed, LimitLink
from authz.rpc.check.response_parts import AnyChargeIds, charge_ids
from authz.settings.model import Settings
from authz.storage.learned_estimates import LearnedEstimates
from authz.telemetry.counters import Counters
from authz.wiring.partition import Partition, build_partitions, checker_of

if TYPE_CHECKING:
    from authz.flows.check import Checker
    from authz.flows.partitioned.check import PartitionedChecker


@dataclass(frozen=True, slots=True)
class PartitionSet:
    """The partitions, the checker over them, and what is counted by partition.

    settings: those that the set was made from, with the number of partitions. They are immutable.
    """

    settings: Settings
    partitions: tuple[Partition, ...]
    checker: "Checker | PartitionedChecker"
    charge_ids: AnyChargeIds
    learned_estimates: LearnedEstimates

    @property
    def health(self) -> tuple[Feed, Cache, LimitLink]:
        """The feed, the cache and the link for limits that Readiness asks."""
        first = self.partitions[0]
        if len(self.partitions) == 1:
            return first.feed, first.cache, first.spend_link
        from authz.wiring.partitioned_health import PartitionedHealth  # noqa: PLC0415

        found = PartitionedHealth(self.partitions)
        return found, found, found


@dataclass(frozen=True, slots=True)
class SharedParts:
    """The parts of a sidecar that every set uses. instance: the name of the sidecar."""

    instance: str
    ring: Keyring
    clock: Clock
    counters: Counters
    failures: FailureBuckets
    estimates: Estimates


def partition_set(
    settings: Settings, shared: SharedParts, *, awaits_data: bool = False
) -> PartitionSet:
    """Return the set for the number of partitions in these settings, not yet connected.

    awaits_data: the partitions are about to be set up, by a move of the store. Raises BadInput.
    """
    found = build_partitions(
        *(settings, shared.ring, shared.clock, shared.counters),
        instance=shared.instance,
        failures=shared.failures,
        awaits_data=awaits_data,
    )
    return PartitionSet(
        settings,
        found,
        checker_of(
            *(found, shared.clock, settings.outage.grace),
            may_have_moved=lambda at: found[at].feed.meta.may_have_moved,
            max_moved=settings.cache.max_entries,
        ),
        charge_ids(Partitions(settings.redis.count)),
        LearnedEstimates(shared.estimates, [one.feed for one in found]),
    )
