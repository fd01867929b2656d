"""Composition root of the admin API. It builds the components, starts them and stops them."""

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
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
from authz.flows.bulk_change import BulkChange
from authz.flows.deletion import Deletion
from authz.flows.importing import Importer
from authz.flows.key_history import KeyHistory
from authz.flows.lifecycle import Lifecycle
from authz.flows.limits.limit_report import LimitReports
from authz.flows.notifications.sighting_watch import SightingWatch, watch_sightings
from authz.flows.repeatable import RepeatableRequests
from authz.flows.selection import Selection
from authz.flows.trail.regular_sealing import RegularSealing
from authz.flows.trail.sealing import Sealer
from authz.flows.usage.erasure import UsageErasure
from authz.flows.verify import Verifier
from authz.process.background import started
from authz.process.clock import SystemClock
from authz.process.ending import Ending
from authz.process.listener import TlsFiles
from authz.rpc.admin.applied_keys import AppliedKeys
from authz.rpc.admin.audit_service import AuditService
from authz.rpc.admin.bulk_changes import BulkChanges
from authz.rpc.admin.calls import MAX_CALL_SECONDS, Calls
from authz.rpc.admin.fleet_service import FleetService
from authz.rpc.admin.installation_service import InstallationService
from authz.rpc.admin.key_deletion import KeyDeletion
from authz.rpc.admin.key_import import KeyImport
from authz.rpc.admin.key_lists import KeyLists
from authz.rpc.admin.key_verification import KeyVerification
from authz.rpc.admin.keys_service import KeysService
from authz.rpc.admin.limits_service import LimitsService
from authz.rpc.admin.me_service import MeService
from authz.rpc.admin.method_table import methods
from authz.rpc.admin.page_tokens import PageTokens
from authz.rpc.admin.rest.api import MAX_BODY, RestApi
from authz.rpc.admin.server import AdminServer
from authz.rpc.admin.trail_verification import TrailVerification
from authz.rpc.admin.usage_service import UsageService
from authz.settings.model import Settings
from authz.storage.applied import StoredApplied
from authz.storage.batches import StoredBatches
from authz.storage.change_log import StoredChangeLog
from authz.storage.deletions import StoredDeletions
from authz.storage.endpoint import Client
from authz.storage.imports import StoredImports
from authz.storage.keys import StoredKeys
from authz.storage.limits.stored_counters import StoredCounters
from authz.storage.listing import StoredIndex, StoredTrail
from authz.storage.meta_watch import MetaWatch
from authz.storage.registry import StoredSidecars
from authz.storage.requests import StoredRequests
from authz.storage.sightings import StoredSightings
from authz.storage.trail import StoredRows, entry_of
from authz.storage.usage.erasing import StoredEraser
from authz.wiring.access import authentication, key_identifier
from authz.wiring.admin_telemetry import AdminTelemetry
from authz.wiring.administration import endpoint, keyring, limit_policy
from authz.wiring.console import console
from authz.wiring.extraction import extractor
from authz.wiring.leak_reports import leak_pages
from authz.wiring.notifications import Work, event_works
from authz.wiring.token_gate import Uncounted, token_gate
from authz.wiring.tokens import token_endpoint
from authz.wiring.usage_readers import last_use, usage_reading

DRAIN_SECONDS: Final = 5.0
HTTP_LISTEN: Final = "admin.http_listen"
HTTP_SECONDS: Final = 10.0  # for a request to arrive, and its response to be read


class AdminReadiness:
    """The readiness of the process: the store is reachable and ours, and nothing is stopping."""

    def __init__(self, store: MetaWatch) -> None:
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
            "store": {"ready": ready, "reason": "" if ready else self._store.reason},
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
        client = await stack.enter_async_context(aclosing(endpoint(settings).client()))
        keys = StoredKeys(client, has_replicas=endpoint(settings).has_replicas)
        watch = MetaWatch(client, clock, ring.fingerprints, ring.prefixes)
        readiness = AdminReadiness(watch)
        authenticator = await stack.enter_async_context(
            authentication(settings, keys, ring, watch.meta, clock, sightings=sightings)
        )
        flows = admin_flows(settings, client, keys, ring=ring, watch=watch, clock=clock)
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
        sealing = RegularSealing(
            Sealer(flows.trail_rows, ring.trail_keys, clock, instance), readiness
        )
        works = event_works(settings, client, ring, clock, instance=instance, is_ours=readiness)
        page = stack.enter_context(telemetry.exporting(instance, readiness, sealing))
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
                client,
                keys,
                ring=ring,
                meta=watch.meta,
                clock=clock,
                instance=instance,
                sightings=sightings,
            )
        )
        leaks = leak_pages(settings, client, ring, watch.meta, clock)
        http = _http(settings, rest, [*leaks, *pages, *(tokens.routes() if tokens else ())])
        stack.push_async_callback(http.stop)
        http.report(readiness.report)
        http.publish(page)
        await watch.look()
        await server.start()
        await http.start()
        own: list[Work] = [watch.run, partial(server.show, readiness), sealing.run]
        moving = SightingWatch(StoredSightings(client), clock, instance, sightings)
        own.append(partial(watch_sightings, moving, readiness))
        for work in (*own, *works):
            stack.callback(started(work()).cancel)
        yield AdminProcess(server, http.address, calls, readiness)


def admin_flows(
    settings: Settings,
    client: Client,
    keys: StoredKeys,
    *,
    ring: Keyring,
    watch: MetaWatch,
    clock: Clock,
) -> AdminFlows:
    """Return the flows over one client of the store."""
    counters, index, trail = StoredCounters(client), StoredIndex(client), StoredTrail(client)
    reports = LimitReports(counters, limit_policy(settings), clock)
    imports = StoredImports(client)
    selection = Selection(index, clock, partial(last_use, client, "filter"))
    rows = StoredRows(client, has_replicas=endpoint(settings).has_replicas)

    tokens = token_gate(settings, ring, watch.meta, clock, Uncounted())

    async def verifier() -> Verifier:
        known = imports if await keys.has_imports() else None
        return Verifier(keys, watch.meta, clock, reports, known, tokens=tokens)

    def importer(actor: str, note: str, source: str, request_id: str) -> Importer:
        return Importer(imports, index, clock, actor, note, source=source, request_id=request_id)

    return AdminFlows(
        lifecycle=Lifecycle(keys, ring, clock, lambda: counters),
        requests=RepeatableRequests(StoredRequests(client), ring),
        selection=selection,
        deletion=Deletion(keys, StoredDeletions(client), StoredEraser(client), clock),
        bulk=BulkChange(selection, keys, StoredBatches(client), clock),
        history=KeyHistory(trail),
        applied=StoredApplied(client),
        verifier=verifier,
        limit_reports=reports,
        importer=importer,
        usage=usage_reading(client),
        erasure=UsageErasure(StoredEraser(client), rows, clock),
        index=index,
        registry=StoredSidecars(client),
        trail=trail,
        trail_rows=rows,
        entry_of=entry_of,
        trail_heads=rows,
        change_log=StoredChangeLog(client),
        keyring=ring,
        clock=clock,
        plans=settings.plans,
        read=extractor(settings, ring).read,
        version=__version__,
    )


def services(settings: Settings, flows: AdminFlows) -> list[object]:
    """Return the objects that have the functions of all methods."""
    tokens, carriers = PageTokens(flows.keyring.page_keys), settings.extract.headers
    carrier = next((name for name in carriers if name.endswith(":")), carriers[0])
    return [
        KeysService(flows),
        KeyLists(flows, tokens),
        KeyVerification(flows, carrier, settings.extract.client_address),
        KeyImport(flows),
        BulkChanges(flows),
        KeyDeletion(flows),
        AppliedKeys(flows),
        TrailVerification(flows),
        LimitsService(flows),
        UsageService(flows, tokens),
        AuditService(flows, tokens),
        FleetService(flows),
        MeService(flows),
        InstallationService(flows, carrier),
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
