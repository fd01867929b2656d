"""Composition root of the admin API. It builds the components, starts them and stops them."""

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from authz import __version__
from authz.console.http_api import HttpApi
from authz.console.login.site import Routes
from authz.console.operations import OperationsServer
from authz.console.reference_page import reference_routes
from authz.core.errors import BadInput
from authz.core.keys.keyring import Keyring
from authz.core.listen_address import Address
from authz.core.ports import Clock
from authz.core.sightings import Sightings
from authz.flows.admin_flows import AdminFlows
from authz.flows.partitioned.trail import PartitionedSealer
from authz.flows.trail.regular_sealing import RegularSealing
from authz.flows.trail.sealing import Sealer, TrailSealer
from authz.process.background import started
from authz.process.clock import SystemClock
from authz.process.ending import Ending
from authz.process.listener import TlsFiles
from authz.rpc.admin.calls import MAX_CALL_SECONDS, Calls
from authz.rpc.admin.method_table import methods
from authz.rpc.admin.rest.api import MAX_BODY, RestApi
from authz.rpc.admin.server import AdminServer
from authz.settings.model import Settings
from authz.storage.meta_watch import MetaWatch
from authz.storage.signing_keys import StoredSigningKeys
from authz.wiring.access import authentication, key_identifier
from authz.wiring.admin_flows import admin_flows, services
from authz.wiring.admin_telemetry import AdminTelemetry
from authz.wiring.administration import all_parts, keyring, partitions
from authz.wiring.anomalies import anomaly_works
from authz.wiring.console import console
from authz.wiring.guard import Guard
from authz.wiring.leak_reports import leak_pages
from authz.wiring.notifications import Work, event_works, sighting_work
from authz.wiring.rotation import rotation_works
from authz.wiring.store_parts import StoreParts
from authz.wiring.store_watch import StoreWatch
from authz.wiring.tokens import assertion_routes, token_endpoint

DRAIN_SECONDS: Final = 5.0
HTTP_LISTEN: Final = "admin.http_listen"
HTTP_SECONDS: Final = 10.0  # for a request to arrive, and its response to be read


class AdminReadiness:
    """The readiness of the process: the store is reachable and ours, and nothing is stopping."""

    def __init__(self, store: StoreWatch) -> None:
        self._store = store
        self.leaving = ""
        """Why the process is shutting down; empty while it is not."""

    def __call__(self) -> bool:
        """Return whether the process is ready for calls now."""
        return not self.leaving and self._store.is_current

    def report(self) -> tuple[bool, dict[str, object]]:
        """Return the readiness, and by component its state as JSON members."""
        ready = self._store.is_current
        return self(), {
            "process": {"ready": not self.leaving, "reason": self.leaving},
            "store": {"ready": ready, "reason": self._store.reason},
        }


@dataclass(slots=True)
class AdminProcess:
    """A running admin API. calls: serves calls without a socket, too."""

    server: AdminServer
    http: Address
    calls: Calls
    readiness: AdminReadiness

    async def drain(self, ending: Ending) -> None:
        """Accept no new calls and wait for the running ones, at most DRAIN_SECONDS (5 s).

        A second request to end cuts the wait short.
        """
        await ending.drain(self.server.stop, DRAIN_SECONDS)


@asynccontextmanager
async def admin_process(settings: Settings) -> AsyncIterator[AdminProcess]:
    """Run the admin API until the block ends. It starts with or without the store.

    Raises BadInput for unusable settings, such as a port in use.
    """
    clock, ring, sightings = SystemClock(), keyring(settings), Sightings()
    telemetry = AdminTelemetry(settings, clock)
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(all_parts(settings))
        watch, parts = _watched(settings, found, ring, clock)
        client, keys = parts.clients[0], parts.keys
        readiness = AdminReadiness(watch)
        authenticator = await stack.enter_async_context(
            authentication(settings, keys, ring, watch.meta, clock, sightings=sightings)
        )
        flows = admin_flows(settings, parts, ring=ring, meta=watch.meta, clock=clock)
        calls = Calls(
            methods(services(settings, flows)),
            authenticator,
            clock,
            telemetry.observer,
            rate=settings.admin.calls_per_second,
            is_ready=readiness,
        )
        tls = settings.admin.tls
        server = AdminServer(
            calls,
            settings.admin.listen,
            tls=TlsFiles(tls.cert, tls.key, tls.client_ca) if tls else None,
            socket_mode=settings.admin.socket_mode,
        )
        stack.push_async_callback(server.stop, DRAIN_SECONDS)
        instance = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        sealing = RegularSealing(_sealer(flows, parts, ring, clock, instance), readiness)
        guard = Guard(
            rotation_works(
                *(settings, parts, flows.lifecycle, flows.deliveries, clock),
                instance=instance,
                is_ours=readiness,
            ),
            anomaly_works(
                *(settings, parts, ring, clock),
                deliveries=flows.deliveries,
                instance=instance,
                is_ours=readiness,
            ),
        )
        works = event_works(
            *(settings, parts, ring, clock),
            instance=instance,
            is_ours=readiness,
            counts=guard.events,
        )
        page = stack.enter_context(telemetry.exporting(instance, readiness, sealing, guard))
        rest = RestApi(calls, __version__)
        pages = await stack.enter_async_context(
            console(
                settings,
                rest.respond,
                client,
                keys=key_identifier(settings, keys, ring, watch.meta, clock, sightings=sightings),
                ring=ring,
                clock=clock,
            )
        )
        tokens = await stack.enter_async_context(
            token_endpoint(
                settings,
                parts.at_first(StoredSigningKeys),
                keys,
                ring=ring,
                meta=watch.meta,
                clock=clock,
                instance=instance,
                sightings=sightings,
            )
        )
        others = [
            *leak_pages(
                *(settings, parts, ring), peppers=watch.meta, clock=clock, counts=guard.leaks
            ),
            *assertion_routes(settings, ring),
        ]
        http = _http(settings, rest, [*others, *pages, *(tokens.routes() if tokens else ())])
        stack.push_async_callback(http.stop)
        http.report(readiness.report)
        http.publish(page)
        await watch.look()
        await server.start()
        await http.start()
        own: list[Work] = [watch.run, partial(server.show, readiness), sealing.run]
        works += [
            *guard.rotation.works,
            *_sightings(parts, watch, clock, instance, sightings),
        ]
        for work in (*own, *works, *guard.anomalies.works):
            stack.callback(started(work()).cancel)
        yield AdminProcess(server, http.address, calls, readiness)


def _watched(
    settings: Settings, found: StoreParts, ring: Keyring, clock: Clock
) -> tuple[StoreWatch, StoreParts]:
    """Return the watch of the store, and its parts, which refuse work while it cannot be used."""
    wanted = (clock, ring.fingerprints, ring.read_prefixes)
    if found.partitions.count == 1:
        return StoreWatch([MetaWatch(found.only, *wanted)]), replace(found, clock=clock)
    pairs = zip(found.clients, partitions(settings), strict=True)
    watch = StoreWatch([MetaWatch(client, *wanted, where) for client, where in pairs])
    watched = replace(found, missing=watch.missing, may_have_moved=watch.may_have_moved)
    return watch, replace(watched, clock=clock, is_live=True)


def _sealer(
    flows: AdminFlows, parts: StoreParts, ring: Keyring, clock: Clock, instance: str
) -> TrailSealer:
    sealers = [Sealer(rows, ring.trail_keys, clock, instance) for rows, _ in flows.trails]
    return parts.joined(sealers, PartitionedSealer)


def _sightings(
    parts: StoreParts, watch: StoreWatch, clock: Clock, instance: str, own: Sightings
) -> list[Work]:
    """Return the works that move sightings, one for each partition. own: go to partition 0."""
    return [
        sighting_work(
            client, clock, instance, Sightings() if at else own, partial(watch.is_usable, at)
        )
        for at, client in enumerate(parts.clients)
    ]


def _http(settings: Settings, rest: RestApi, pages: Routes) -> OperationsServer:
    """Return the HTTP server, bound but not yet started.

    Raises BadInput for an address that cannot be used or that other machines reach.
    """
    address = settings.admin.http_listen
    if not address.is_local:
        problem = "is not a loopback address or a Unix socket, and this listener has no TLS"
        raise BadInput(HTTP_LISTEN, f"{address} {problem}")
    return OperationsServer(
        address,
        __version__,
        settings.admin.socket_mode,
        setting=HTTP_LISTEN,
        routes=[*reference_routes(rest.document), *pages],
        otherwise=HttpApi(rest.respond, MAX_BODY),
        exchange_seconds=MAX_CALL_SECONDS + HTTP_SECONDS,
    )
