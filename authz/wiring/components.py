"""Composition root of the sidecar: its components, before they start."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authz.core.abuse import FailureBuckets
from authz.core.budgets.learned import Estimates
from authz.core.keys.keyring import Keyring
from authz.core.partitions import Partitions
from authz.core.ports import CheckObserver, Clock, Probe
from authz.core.sightings import Sightings
from authz.core.store_clock import StoreClock
from authz.flows.check import Checker
from authz.flows.imported import ImportedKeys
from authz.flows.keycache import KeyCache
from authz.flows.limits.limiter import Limiter
from authz.process.clock import SystemClock
from authz.rpc.check.handler import CheckHandler
from authz.rpc.check.response_parts import AnyChargeIds, charge_ids
from authz.rpc.h2.server import FastServer
from authz.settings.model import Settings
from authz.storage.feed import ChangeFeed
from authz.storage.imports import LinkedAliases
from authz.storage.learned_estimates import LearnedEstimates
from authz.storage.limits.spend_link import SpendLink
from authz.storage.linked_keys import LinkedKeys
from authz.telemetry.counters import Counters, TimedKeys
from authz.wiring.administration import endpoint, keyring, limit_policy, store_seals
from authz.wiring.assertions import assertion_headers
from authz.wiring.extraction import extractor, learns, responder
from authz.wiring.listeners import check_server
from authz.wiring.live_settings import LiveSettings
from authz.wiring.telemetry import Telemetry
from authz.wiring.token_gate import token_gate

if TYPE_CHECKING:
    from authz.rpc.grpcio import GrpcServer

MIGRATED_AT_ONCE: Final = 500  # states of limits, about 2 ms


@dataclass(frozen=True, slots=True)
class Components:
    """The components of a sidecar, before it starts. The Check listener is bound already."""

    instance: str
    clock: SystemClock
    ring: Keyring
    telemetry: Telemetry
    feed: ChangeFeed
    cache: KeyCache
    imported: ImportedKeys
    spend_link: SpendLink
    limiter: Limiter
    checker: Checker
    server: "FastServer | GrpcServer"
    live: LiveSettings
    charge_ids: AnyChargeIds
    sightings: Sightings
    failures: FailureBuckets
    learned_estimates: LearnedEstimates


def build(settings: Settings, read_settings: Callable[[], Settings] | None) -> Components:
    """Build the components and bind the Check listener. Does not connect to the store.

    read_settings: for a reload; None if impossible. Raises BadInput for unusable settings, such as
    a port in use.
    """
    clock, ring, store_clock = (
        SystemClock(),
        keyring(settings),
        StoreClock(settings.cache.trust_lease),
    )
    instance = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    telemetry = Telemetry(settings, clock)
    counters = telemetry.counters

    # The link to the store, and the caches that its changes keep current.
    feed = change_feed(settings, ring, clock, counters, store_clock)
    cache = key_cache(settings, ring, feed, clock, counters)
    imported = imported_keys(settings, feed, cache, clock, counters)

    # Limits have a link of their own, so that they never delay a lookup.
    deadline, max_keys = settings.check.deadline, settings.cache.max_entries
    spend_link = SpendLink(
        endpoint(settings), clock, instance=instance, deadline=deadline, crowd=feed.crowd
    )
    sightings = Sightings()
    limiter = Limiter(
        *(spend_link, limit_policy(settings), clock, counters), max_keys=max_keys, notes=sightings
    )

    # Decisions, and the listener for Envoy.
    failures = settings.abuse.buckets()
    checker = Checker(
        *(cache, feed.meta, clock, counters, imported),
        limiter=limiter,
        store_clock=store_clock,
        tokens=token_gate(settings, ring, feed.meta, clock, counters),
        sightings=sightings,
        failures=failures,
    )
    ids = charge_ids(Partitions(settings.redis.partitions))
    estimates = Estimates(is_wanted=learns(settings))
    handler = check_handler(
        *(settings, ring, checker, counters, telemetry.observer), ids=ids, estimates=estimates
    )
    server = check_server(settings, handler, counters)

    # A reload exchanges the route rules, the limits and the log level of these components.
    target = Reloadable(ring, handler, limiter, ids, estimates)
    live = LiveSettings(settings, read_settings, target, clock)

    return Components(
        *(instance, clock, ring, telemetry, feed, cache, imported),
        *(spend_link, limiter, checker, server, live, ids),
        *(sightings, failures),
        LearnedEstimates(estimates, lambda: feed.link, feed.names),
    )


def change_feed(
    settings: Settings, ring: Keyring, clock: Clock, probe: Probe, store_clock: StoreClock
) -> ChangeFeed:
    """Return the feed of changes from the store, not yet connected."""
    return ChangeFeed(
        endpoint(settings),
        clock,
        probe,
        lease=settings.cache.trust_lease,
        fingerprints=ring.fingerprints,
        store_clock=store_clock,
        prefixes=ring.read_prefixes,
        imported_index=settings.keys.imported_index,
    )


def key_cache(
    settings: Settings, ring: Keyring, feed: ChangeFeed, clock: Clock, counters: Counters
) -> KeyCache:
    """Return the cache of key records, which loads from the store over the feed's link."""
    sizes = settings.cache
    seals = store_seals(lambda: ring, is_required=settings.keys.require_seals)
    return KeyCache(
        TimedKeys(LinkedKeys(feed, counters, seals), clock, counters),
        clock,
        counters,
        ttl=sizes.ttl,
        negative_ttl=sizes.negative_ttl,
        max_entries=sizes.max_entries,
        max_negatives=sizes.max_negatives,
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
        max_entries=sizes.max_entries,
        max_negatives=sizes.max_negatives,
        deadline=settings.check.deadline,
    )


def check_handler(
    settings: Settings,
    ring: Keyring,
    checker: Checker,
    probe: Probe,
    observer: CheckObserver,
    *,
    ids: AnyChargeIds,
    estimates: Estimates,
) -> CheckHandler:
    """Return the handler of Checks: it parses requests, has them decided, and writes the responses.

    ids: of the responses. estimates: the learned ones.
    Raises BadInput for an invalid route rule.
    """
    reader = extractor(settings, ring, estimates)
    assertions = assertion_headers(settings, ring)
    return CheckHandler(
        reader, checker, responder(settings, reader, ids, assertions), probe, observer
    )


@dataclass(frozen=True, slots=True)
class Reloadable:
    """The components with reloadable settings: a ReloadTarget."""

    ring: Keyring
    handler: CheckHandler
    limiter: Limiter
    charge_ids: AnyChargeIds
    estimates: Estimates

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Build extractor, responder and limit policy. Return a function that swaps them in.

        That function also sets the log level. Raises BadInput for an invalid route rule.
        """
        new_extractor = extractor(settings, self.ring, self.estimates)
        assertions = assertion_headers(settings, self.ring)
        new_responder = responder(settings, new_extractor, self.charge_ids, assertions)
        policy = limit_policy(settings)

        def exchange() -> None:
            self.handler.replace(new_extractor, new_responder)
            self.limiter.replace_policy(policy)
            self.estimates.is_wanted = learns(settings)
            logging.getLogger().setLevel(settings.log.level)

        return exchange

    async def migrate(self) -> None:
        """Move limiter state to the new policy, MIGRATED_AT_ONCE entries at a time."""
        while self.limiter.migrate(MIGRATED_AT_ONCE):  # noqa: ASYNC110  nothing to wait for
            await asyncio.sleep(0)  # requests are answered meanwhile
