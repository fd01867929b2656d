"""Composition root of the methods of the admin API: their flows over one client of the store."""

from functools import partial

from authz import __version__
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.flows.admin_flows import AdminFlows, TokenFlows
from authz.flows.blocked_clients import BlockedClients
from authz.flows.bulk_change import BulkChange
from authz.flows.due_keys import DueKeys
from authz.flows.importing import Importer
from authz.flows.key_history import KeyHistory
from authz.flows.lifecycle import Lifecycle
from authz.flows.limits.limit_report import LimitReports
from authz.flows.limits.refunds import Refunding
from authz.flows.partitioned.trail import PartitionedRows
from authz.flows.repeatable import RepeatableRequests
from authz.flows.rolling_back import RollingBack
from authz.flows.selection import Selection
from authz.flows.tokens.inspection import TokenInspection
from authz.flows.trail.newest_rows import RowsOfOne
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
from authz.storage.change_log import StoredChangeLog
from authz.storage.endpoint import Client
from authz.storage.latest_meta import LatestMeta
from authz.storage.registry import StoredSidecars
from authz.storage.requests import StoredRequests
from authz.storage.signing_keys import StoredSigningKeys
from authz.storage.trail import StoredRows, entry_of
from authz.wiring.administration import limit_policy, partitions
from authz.wiring.deliveries import delivered_rotation
from authz.wiring.extraction import extractor
from authz.wiring.notifications import sinks_of_all
from authz.wiring.store_parts import StoreParts
from authz.wiring.token_gate import Uncounted, token_gate
from authz.wiring.tokens import key_rotation, uncharged_exchange
from authz.wiring.usage import usage_erasure
from authz.wiring.usage_readers import anomaly_reports, last_use, usage_reading


def admin_flows(
    settings: Settings,
    parts: StoreParts,
    *,
    ring: Keyring,
    meta: LatestMeta,
    clock: Clock,
) -> AdminFlows:
    """Return the flows over the store. meta: the last good read of its authz:meta."""
    counters, index, trail, keys = parts.counters, parts.index, parts.history, parts.keys
    reports = LimitReports(counters, limit_policy(settings), clock)
    imports = parts.imports
    selection = Selection(index, clock, partial(last_use, parts, "filter"))
    has_replicas = partitions(settings)[0].has_replicas
    stored_rows = partial(StoredRows, has_replicas=has_replicas)

    gate, tokens = token_gate(settings, ring, meta, clock, Uncounted()), None
    if gate is not None:
        signing = parts.at_first(StoredSigningKeys)
        exchange = uncharged_exchange(
            settings, signing, keys, ring=ring, peppers=meta, entries=meta, clock=clock
        )
        rotation = key_rotation(settings, parts, ring)
        tokens = TokenFlows(rotation, exchange, TokenInspection(gate, keys))

    async def verifier() -> Verifier:
        known = imports if await parts.has_imports() else None
        return Verifier(keys, meta, clock, reports, known, tokens=gate)

    def importer(actor: str, note: str, source: str, request_id: str) -> Importer:
        about = (imports, index, clock, actor, note)
        return Importer(*about, source=source, request_id=request_id, partitions=parts.partitions)

    lifecycle = Lifecycle(keys, ring, clock, lambda: counters)

    def blocked(client: Client) -> BlockedClients:
        return BlockedClients(StoredAbuse(client, clock), stored_rows(client), clock)

    rows = parts.each(stored_rows)
    return AdminFlows(
        lifecycle=lifecycle,
        refunding=Refunding(lifecycle, counters, clock),
        requests=RepeatableRequests(parts.at_first(StoredRequests), ring),
        selection=selection,
        deletion=parts.deletion,
        bulk=BulkChange(selection, keys, parts.batches, clock, parts.partitions),
        history=KeyHistory(trail),
        applied=parts.applied,
        policies=settings.rotation.policies(),
        due_keys=DueKeys(selection, settings.rotation.policies(), clock),
        deliveries=delivered_rotation(settings, parts, lifecycle, ring, clock),
        rolling_back=RollingBack(lifecycle, trail, parts.pending_deliveries),
        waiting_deliveries=WaitingDeliveries(parts.pending_deliveries, index, clock),
        sinks=sinks_of_all(settings, parts, ring),
        tokens=tokens,
        verifier=verifier,
        limit_reports=reports,
        importer=importer,
        usage=usage_reading(parts),
        anomalies=anomaly_reports(parts, selection, clock),
        erasure=usage_erasure(parts, has_replicas=has_replicas),
        index=index,
        registry=parts.registry,
        wait=parts.wait,
        abuse=parts.at_first(blocked),
        trail=trail,
        trail_rows=RowsOfOne(rows[0]) if len(rows) == 1 else PartitionedRows(parts.places, rows),
        entry_of=entry_of,
        trails=list(zip(rows, parts.each(StoredSidecars), strict=True)),
        places=parts.places,
        change_logs=parts.each(StoredChangeLog),
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
