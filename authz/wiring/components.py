"""Composition root of the sidecar: its components, before they start."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authz.core.budgets.learned import Estimates
from authz.core.keys.keyring import Keyring
from authz.core.partitions import Partitions
from authz.core.ports import CheckObserver, Probe
from authz.flows.limits.limiter import Limiter
from authz.process.clock import SystemClock
from authz.rpc.check.extract import Extractor
from authz.rpc.check.handler import CheckHandler
from authz.rpc.check.respond import Responder
from authz.rpc.check.response_parts import AnyChargeIds
from authz.settings.model import Settings
from authz.wiring.administration import keyring, limit_policy
from authz.wiring.assertions import assertion_headers
from authz.wiring.extraction import extractor, learns, responder
from authz.wiring.listeners import check_server
from authz.wiring.live_settings import LiveSettings
from authz.wiring.partition_count import sized
from authz.wiring.partition_set import PartitionSet, SharedParts, partition_set
from authz.wiring.telemetry import Telemetry

if TYPE_CHECKING:
    from authz.flows.check import Checker
    from authz.flows.partitioned.check import PartitionedChecker
    from authz.rpc.grpcio import GrpcServer
    from authz.rpc.h2.server import FastServer

MIGRATED_AT_ONCE: Final = 500  # states of limits, about 2 ms


@dataclass(frozen=True, slots=True)
class Components:
    """The components of a sidecar, before it starts. The Check listener is bound already.

    first: the set of partitions with which it starts. target: puts another set in force.
    """

    shared: SharedParts
    clock: SystemClock
    telemetry: Telemetry
    first: PartitionSet
    server: "FastServer | GrpcServer"
    live: LiveSettings
    target: "Reloadable"


def build(
    settings: Settings, read_settings: Callable[[], Settings] | None, count: int | None = None
) -> Components:
    """Build the components and bind the Check listener. Does not connect to the store.

    read_settings: for a reload; None if impossible. count: the number of partitions of the store;
    None: that of the settings. Raises BadInput for unusable settings, such as a port in use.
    """
    clock, ring = SystemClock(), keyring(settings)
    telemetry = Telemetry(settings, clock)
    counters = telemetry.counters
    shared = SharedParts(
        f"{socket.gethostname()}-{secrets.token_hex(4)}",
        *(ring, clock, counters),
        settings.abuse.buckets(),
        Estimates(is_wanted=learns(settings)),
    )

    # The links to the store, the caches that its changes keep current, and decisions.
    first = partition_set(sized(settings, count or settings.redis.count), shared)

    # The listener for Envoy.
    handler = check_handler(
        *(settings, ring, first.checker, counters, telemetry.observer),
        ids=first.charge_ids,
        estimates=shared.estimates,
    )
    server = check_server(settings, handler, counters)

    # A reload exchanges the route rules, the limits and the log level of these components.
    limiters = tuple(one.limiter for one in first.partitions)
    target = Reloadable(ring, handler, limiters, first.charge_ids, shared.estimates)
    live = LiveSettings(settings, read_settings, target, clock)
    return Components(shared, clock, telemetry, first, server, live, target)


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


@dataclass(slots=True)
class Reloadable:
    """The components with reloadable settings: a ReloadTarget.

    limiters, charge_ids: of the partitions that are in use.
    """

    ring: Keyring
    handler: CheckHandler
    limiters: Sequence[Limiter]
    charge_ids: AnyChargeIds
    estimates: Estimates

    @property
    def partitions(self) -> int:
        """The number of partitions in use."""
        return len(self.limiters)

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Build extractor, responder and limit policy. Return a function that swaps them in.

        That function also sets the log level. Raises BadInput for an invalid route rule.
        """
        reading, writing = self._ends(settings, self.charge_ids)
        policy = limit_policy(settings)

        def exchange() -> None:
            self.handler.replace(reading, writing)
            for limiter in self.limiters:
                limiter.replace_policy(policy)
            self.estimates.is_wanted = learns(settings)
            logging.getLogger().setLevel(settings.log.level)

        return exchange

    def prepare_set(self, found: PartitionSet, settings: Settings) -> Callable[[], None]:
        """Build extractor and responder for other partitions. Return a function that uses them.

        The function takes the limits and leases of the partitions before along. settings: in force.
        """
        reading, writing = self._ends(settings, found.charge_ids)
        policy, limiters = limit_policy(settings), [one.limiter for one in found.partitions]
        home_of = Partitions(len(limiters)).home_of

        def exchange() -> None:
            for limiter in limiters:
                limiter.replace_policy(policy)
            for before in self.limiters:
                for state in before.release():
                    limiters[home_of(state.record)].adopt([state])
            self.limiters, self.charge_ids = limiters, found.charge_ids
            self.handler.replace(reading, writing, found.checker)

        return exchange

    def _ends(self, settings: Settings, ids: AnyChargeIds) -> tuple[Extractor, Responder]:
        reading = extractor(settings, self.ring, self.estimates)
        assertions = assertion_headers(settings, self.ring)
        return reading, responder(settings, reading, ids, assertions)

    async def migrate(self) -> None:
        """Move limiter state to the new policy, MIGRATED_AT_ONCE entries at a time."""
        for limiter in self.limiters:
            while limiter.migrate(MIGRATED_AT_ONCE):  # noqa: ASYNC110  nothing to wait for
                await asyncio.sleep(0)  # requests are answered meanwhile
