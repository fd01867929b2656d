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
from authz.core.ports import CheckObserver, Probe
from authz.flows.limits.limiter import Limiter
from authz.process.clock import SystemClock
from authz.rpc.check.handler import CheckHandler
from authz.rpc.check.response_parts import AnyChargeIds, charge_ids
from authz.rpc.h2.server import FastServer
from authz.settings.model import Settings
from authz.storage.learned_estimates import LearnedEstimates
from authz.wiring.administration import keyring, limit_policy
from authz.wiring.assertions import assertion_headers
from authz.wiring.extraction import extractor, learns, responder
from authz.wiring.listeners import check_server
from authz.wiring.live_settings import LiveSettings
from authz.wiring.partition import Partition, build_partitions, checker_of
from authz.wiring.telemetry import Telemetry

if TYPE_CHECKING:
    from authz.flows.check import Checker
    from authz.flows.partitioned.check import PartitionedChecker
    from authz.rpc.grpcio import GrpcServer

MIGRATED_AT_ONCE: Final = 500  # states of limits, about 2 ms


@dataclass(frozen=True, slots=True)
class Components:
    """The components of a sidecar, before it starts. The Check listener is bound already."""

    instance: str
    clock: SystemClock
    ring: Keyring
    telemetry: Telemetry
    partitions: tuple[Partition, ...]
    checker: "Checker | PartitionedChecker"
    server: "FastServer | GrpcServer"
    live: LiveSettings
    charge_ids: AnyChargeIds
    failures: FailureBuckets
    learned_estimates: LearnedEstimates


def build(settings: Settings, read_settings: Callable[[], Settings] | None) -> Components:
    """Build the components and bind the Check listener. Does not connect to the store.

    read_settings: for a reload; None if impossible. Raises BadInput for unusable settings, such as
    a port in use.
    """
    clock, ring = SystemClock(), keyring(settings)
    instance = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    telemetry = Telemetry(settings, clock)
    counters = telemetry.counters

    # The links to the store, the caches that its changes keep current, and decisions.
    failures = settings.abuse.buckets()
    parts = build_partitions(
        *(settings, ring, clock, counters), instance=instance, failures=failures
    )
    checker = checker_of(
        parts,
        clock,
        settings.outage.grace,
        may_have_moved=lambda at: parts[at].feed.meta.may_have_moved,
        max_moved=settings.cache.max_entries,
    )

    # The listener for Envoy.
    ids = charge_ids(Partitions(settings.redis.partitions))
    estimates = Estimates(is_wanted=learns(settings))
    handler = check_handler(
        *(settings, ring, checker, counters, telemetry.observer), ids=ids, estimates=estimates
    )
    server = check_server(settings, handler, counters)

    # A reload exchanges the route rules, the limits and the log level of these components.
    limiters = tuple(one.limiter for one in parts)
    target = Reloadable(ring, handler, limiters, ids, estimates)
    live = LiveSettings(settings, read_settings, target, clock)

    return Components(
        *(instance, clock, ring, telemetry, parts, checker, server, live, ids, failures),
        LearnedEstimates(estimates, [one.feed for one in parts]),
    )


def check_handler(
    settings: Settings,
    ring: Keyring,
    checker: "Checker | PartitionedChecker",
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
    limiters: tuple[Limiter, ...]
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
            for limiter in self.limiters:
                limiter.replace_policy(policy)
            self.estimates.is_wanted = learns(settings)
            logging.getLogger().setLevel(settings.log.level)

        return exchange

    async def migrate(self) -> None:
        """Move limiter state to the new policy, MIGRATED_AT_ONCE entries at a time."""
        for limiter in self.limiters:
            while limiter.migrate(MIGRATED_AT_ONCE):  # noqa: ASYNC110  nothing to wait for
                await asyncio.sleep(0)  # requests are answered meanwhile
