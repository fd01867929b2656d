"""Composition root of the methods of the admin API: their flows over one client of the store."""

from functools import partial

from authz import __version__
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.flows.admin_flows import AdminFlows, TokenFlows
from authz.flows.blocked_clients import BlockedClients
from authz.flows.bulk_change import BulkChange
from authz.flows.confirmation import SidecarWait
from authz.flows.deletion import Deletion
from authz.flows.due_keys import DueKeys
from authz.flows.importing import Importer
from authz.flows.key_history import KeyHistory
from authz.flows.lifecycle import Lifecycle
from authz.flows.limits.limit_report import LimitReports
from authz.flows.limits.refunds import Refunding
from authz.flows.repeatable import RepeatableRequests
from authz.flows.selection import Selection
from authz.flows.tokens.inspection import TokenInspection
from authz.flows.usage.erasure import UsageErasure
from authz.flows.verify import Verifier
from authz.flows.waiting_deliveries import WaitingDeliveries
from authz.rpc.admin.applied_keys import AppliedKeys
from authz.rpc.admin.audit_service import AuditService
from authz.rpc.admin.bulk_changes import BulkChanges
from authz.rpc.admin.events_service import EventsService
from authz.rpc.admin.fleet_service import FleetService
from authz.rpc.admin.installation_service import InstallationService
from authz.rpc.admin.key_deletion import KeyDeletion
from authz.rpc.admin.key_import import KeyImport
from authz.rpc.admin.key_lists import KeyLists
from authz.rpc.admin.key_verification import KeyVerification
from authz.rpc.admin.keys_service import KeysService
from authz.rpc.admin.limits_service import LimitsService
from authz.rpc.admin.me_service import MeService
from authz.rpc.admin.page_tokens import PageTokens
from authz.rpc.admin.policy_service import PolicyService
from authz.rpc.admin.tokens_service import TokensService
from authz.rpc.admin.trail_verification import TrailVerification
from authz.rpc.admin.usage_service import UsageService
from authz.settings.model import Settings
from authz.storage.abuse import StoredAbuse
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
from authz.storage.trail import StoredRows, entry_of
from authz.storage.usage.erasing import StoredEraser
from authz.wiring.administration import endpoint, limit_policy
from authz.wiring.deliveries import delivered_rotation
from authz.wiring.extraction import extractor
from authz.wiring.notifications import event_sinks
from authz.wiring.store_parts import StoreParts
from authz.wiring.token_gate import Uncounted, token_gate
from authz.wiring.tokens import key_rotation, uncharged_exchange
from authz.wiring.usage_readers import anomaly_reports, last_use, usage_reading


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
    parts = StoreParts.of_one(client)
    counters, index, trail = StoredCounters(client), StoredIndex(client), StoredTrail(client)
    reports = LimitReports(counters, limit_policy(settings), clock)
    imports = StoredImports(client)
    selection = Selection(index, clock, partial(last_use, parts, "filter"))
    rows = StoredRows(client, has_replicas=endpoint(settings).has_replicas)

    gate, tokens = token_gate(settings, ring, watch.meta, clock, Uncounted()), None
    if gate is not None:
        exchange = uncharged_exchange(
            settings, client, keys, ring=ring, peppers=watch.meta, entries=watch.meta, clock=clock
        )
        rotation = key_rotation(settings, client, ring)
        tokens = TokenFlows(rotation, exchange, TokenInspection(gate, keys))

    async def verifier() -> Verifier:
        known = imports if await keys.has_imports() else None
        return Verifier(keys, watch.meta, clock, reports, known, tokens=gate)

    def importer(actor: str, note: str, source: str, request_id: str) -> Importer:
        return Importer(imports, index, clock, actor, note, source=source, request_id=request_id)

    lifecycle = Lifecycle(keys, ring, clock, lambda: counters)
    return AdminFlows(
        lifecycle=lifecycle,
        refunding=Refunding(lifecycle, counters, clock),
        requests=RepeatableRequests(StoredRequests(client), ring),
        selection=selection,
        deletion=Deletion(keys, StoredDeletions(client), StoredEraser(client), clock),
        bulk=BulkChange(selection, keys, StoredBatches(client), clock),
        history=KeyHistory(trail),
        applied=StoredApplied(client),
        policies=settings.rotation.policies(),
        due_keys=DueKeys(selection, settings.rotation.policies(), clock),
        deliveries=delivered_rotation(settings, parts, lifecycle, ring, clock),
        waiting_deliveries=WaitingDeliveries(parts.pending_deliveries, index, clock),
        sinks=event_sinks(settings, parts, ring),
        tokens=tokens,
        verifier=verifier,
        limit_reports=reports,
        importer=importer,
        usage=usage_reading(parts),
        anomalies=anomaly_reports(parts, selection, clock),
        erasure=UsageErasure(StoredEraser(client), rows, clock),
        index=index,
        registry=StoredSidecars(client),
        wait=SidecarWait(StoredSidecars(client), trail, clock),
        abuse=BlockedClients(StoredAbuse(client, clock), rows, clock),
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
        PolicyService(flows, tokens),
        LimitsService(flows),
        UsageService(flows, tokens),
        TokensService(flows),
        AuditService(flows, tokens),
        EventsService(flows, tokens),
        FleetService(flows),
        MeService(flows),
        InstallationService(flows, carrier),
    ]
