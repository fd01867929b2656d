"""Composition root of the parts that a sidecar has for each partition of the store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final, Protocol

from authz.core.abuse import FailureBuckets
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock, Probe
from authz.core.sightings import Sightings
from authz.core.store_clock import StoreClock
from authz.flows.check import Checker
from authz.flows.imported import ImportedKeys
from authz.flows.keycache import KeyCache
from authz.flows.limits.limiter import Limiter
from authz.flows.packed_records import MAX_IN_USE
from authz.settings.model import Settings
from authz.storage.crowd import Crowd
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.imports import LinkedAliases
from authz.storage.limits.spend_link import SpendLink
from authz.storage.linked_keys import LinkedKeys
from authz.telemetry.counters import Counters, TimedKeys
from authz.wiring.administration import limit_policy, partitions, store_seals
from authz.wiring.token_gate import token_gate

if TYPE_CHECKING:
    from authz.flows.partitioned.check import PartitionedChecker

PRIMARIES: Final = 3  # of a cluster, at least
MAX_MOVED: Final = 100_000  # moved keys that are remembered


@dataclass(frozen=True, slots=True)
class Partition:
    """The parts of a sidecar for one partition: links to it, caches of its content, decisions."""

    feed: ChangeFeed
    cache: KeyCache
    imported: ImportedKeys
    spend_link: SpendLink
    limiter: Limiter
    checker: Checker
    sightings: Sightings


def build_partitions(
    settings: Settings,
    ring: Keyring,
    clock: Clock,
    counters: Counters,
    *,
    instance: str,
    failures: FailureBuckets,
    awaits_data: bool = False,
) -> tuple[Partition, ...]:
    """Return the parts for each partition of the store, not yet connected.

    instance: the name of this sidecar. failures: those of all addresses. awaits_data: the
    partitions are about to be set up, by a move of the store. Raises BadInput.
    """
    stores = partitions(settings)
    clocks = [StoreClock(settings.cache.trust_lease) for _ in stores]
    feeds = [
        change_feed(
            *(settings, where, ring, clock, counters),
            store_clock=store_clock,
            awaits_data=awaits_data,
        )
        for where, store_clock in zip(stores, clocks, strict=True)
    ]
    tokens = token_gate(settings, ring, feeds[0].meta, clock, counters, store_clock=clocks[0])
    found = []
    # Limits have endpoints of their own: one of a cluster keeps what its link was told by nodes.
    for feed, store_clock, where in zip(feeds, clocks, partitions(settings), strict=True):
        cache = key_cache(settings, ring, feed, clock, counters)
        imported = imported_keys(settings, feed, cache, clock, counters)
        # Limits have a link of their own, so that they never delay a lookup.
        spend_link = SpendLink(
            where, clock, instance=instance, deadline=settings.check.deadline, crowd=feed.crowd
        )
        sightings, policy = Sightings(), limit_policy(settings)
        limiter = Limiter(
            *(spend_link, policy, clock, counters),
            max_keys=_share(settings, settings.cache.max_entries),
            notes=sightings,
            store_clock=store_clock,
        )
        checker = Checker(
            *(cache, feed.meta, clock, counters, imported),
            limiter=limiter,
            store_clock=store_clock,
            tokens=tokens,
            sightings=sightings,
            failures=failures,
        )
        found.append(Partition(feed, cache, imported, spend_link, limiter, checker, sightings))
    return tuple(found)


class Deciding(Protocol):
    """The cache and the checker of a partition."""

    @property
    def cache(self) -> KeyCache:
        """The cached records."""
        ...

    @property
    def checker(self) -> Checker:
        """The checker over them."""
        ...


def checker_of(
    found: Sequence[Deciding],
    clock: Clock,
    grace: float,
    *,
    may_have_moved: Callable[[int], bool] = lambda _: True,
    max_moved: int = MAX_MOVED,
) -> "Checker | PartitionedChecker":
    """Return the checker of the only partition, or one that chooses among those of several.

    grace: seconds for which signing keys of tokens count after the first partition was trusted.
    may_have_moved: returns whether a partition may have moved keys. max_moved: bound on those that
    are remembered.
    """
    if len(found) == 1:
        return found[0].checker
    from authz.flows.partitioned.check import PartitionedChecker  # noqa: PLC0415

    first = found[0].cache
    return PartitionedChecker(
        [one.checker for one in found],
        lambda: first.is_trusted or clock.monotonic() < first.last_trusted + grace,
        may_have_moved=may_have_moved,
        max_moved=max_moved,
    )


def change_feed(
    settings: Settings,
    where: Endpoint,
    ring: Keyring,
    clock: Clock,
    probe: Probe,
    *,
    store_clock: StoreClock,
    awaits_data: bool = False,
) -> ChangeFeed:
    """Return the feed of changes from a partition, not yet connected."""
    return ChangeFeed(
        where,
        clock,
        probe,
        lease=settings.cache.trust_lease,
        fingerprints=ring.fingerprints,
        store_clock=store_clock,
        prefixes=ring.read_prefixes,
        imported_index=settings.keys.imported_index,
        crowd=Crowd(_links(where)),
        awaits_data=awaits_data,
    )


def _links(where: Endpoint) -> int:
    """Return how many links of one sidecar a node of the store has at most, by a rough count."""
    return ceil(where.count / PRIMARIES) if where.cluster else where.count


def _share(settings: Settings, bound: int) -> int:
    """Return the share of one partition in a bound of the sidecar, rounded up."""
    return ceil(bound / settings.redis.count)


def key_cache(
    settings: Settings, ring: Keyring, feed: ChangeFeed, clock: Clock, counters: Counters
) -> KeyCache:
    """Return the cache of key records, which loads from the partition over the feed's link."""
    sizes = settings.cache
    seals = store_seals(lambda: ring, is_required=settings.keys.require_seals)
    return KeyCache(
        TimedKeys(LinkedKeys(feed, counters, seals), clock, counters),
        clock,
        counters,
        ttl=sizes.ttl,
        negative_ttl=sizes.negative_ttl,
        max_entries=_share(settings, sizes.max_entries),
        max_negatives=_share(settings, sizes.max_negatives),
        max_in_use=_share(settings, MAX_IN_USE),
        deadline=settings.check.deadline,
        grace=settings.outage.grace,
    )


def imported_keys(
    settings: Settings, feed: ChangeFeed, cache: KeyCache, clock: Clock, probe: Probe
) -> ImportedKeys:
    """Return the lookup of imported keys in front of the cache."""
    sizes = settings.cache
    return ImportedKeys(
        LinkedAliases(feed),
        cache,
        clock,
        probe,
        known=feed.imported,
        rate=settings.keys.import_lookups,
        negative_ttl=sizes.negative_ttl,
        max_entries=_share(settings, sizes.max_entries),
        max_negatives=_share(settings, sizes.max_negatives),
        deadline=settings.check.deadline,
    )
