"""AdminFlows: the flows that the admin API serves."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from authz.core.admin_ports import AppliedStore, ChangeLog, KeyIndex, SidecarRegistry
from authz.core.audit import AuditEntry
from authz.core.errors import Unreadable
from authz.core.keys.keyring import Keyring
from authz.core.limits.limit import Limit
from authz.core.ports import Clock
from authz.core.request import Request
from authz.core.rotation import RotationPolicies
from authz.core.trail.ports import AuditTrail, TrailStore
from authz.core.trail.rows import Row
from authz.flows.blocked_clients import BlockedClients
from authz.flows.bulk_change import BulkChange
from authz.flows.confirmation import FleetWait
from authz.flows.deletion import Deletion
from authz.flows.delivered_rotation import DeliveredRotation
from authz.flows.due_keys import DueKeys
from authz.flows.importing import Importer
from authz.flows.key_history import KeyHistory
from authz.flows.lifecycle import Lifecycle
from authz.flows.limits.limit_report import LimitReports
from authz.flows.limits.refunds import Refunding
from authz.flows.notifications.sinks import StoredSinks
from authz.flows.partitioned.places import Places
from authz.flows.partitioned.sinks import PartitionedSinks
from authz.flows.repeatable import RepeatableRequests
from authz.flows.rolling_back import RollingBack
from authz.flows.selection import Selection
from authz.flows.tokens.exchange import Exchange
from authz.flows.tokens.inspection import TokenInspection
from authz.flows.tokens.key_rotation import KeyRotation
from authz.flows.trail.newest_rows import NewestRows
from authz.flows.trail.verifying import TrailHeads
from authz.flows.usage.anomaly_reports import AnomalyReports
from authz.flows.usage.erasure import Erasure
from authz.flows.usage.reading import UsageReading
from authz.flows.verify import Verifier
from authz.flows.waiting_deliveries import WaitingDeliveries


@dataclass(frozen=True, slots=True)
class TokenFlows:
    """The flows about tokens. exchange: takes nothing from limits."""

    rotation: KeyRotation
    exchange: Exchange
    inspection: TokenInspection


class WholeTrail(TrailStore, TrailHeads, Protocol):
    """The audit trail of one partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminFlows:
    """The flows, over one store. plans: the limits of each plan of the settings.

    trails: the audit trail of each partition, with its sidecars. places: of keys. change_logs: of
    each partition. entry_of: returns the entry of a row, or an Unreadable. read: parses a
    CheckRequest. version: of the program. verifier: returns a new one, which knows whether keys
    were imported by now. importer: returns one for an actor, a note, a source and a request id.
    tokens: None if the settings have no issuer.
    """

    lifecycle: Lifecycle
    requests: RepeatableRequests
    selection: Selection
    bulk: BulkChange
    deletion: Deletion
    history: KeyHistory
    applied: AppliedStore
    policies: RotationPolicies
    due_keys: DueKeys
    deliveries: DeliveredRotation
    rolling_back: RollingBack
    waiting_deliveries: WaitingDeliveries
    sinks: StoredSinks | PartitionedSinks
    tokens: TokenFlows | None
    verifier: Callable[[], Awaitable[Verifier]]
    limit_reports: LimitReports
    refunding: Refunding
    importer: Callable[[str, str, str, str], Importer]
    usage: UsageReading
    anomalies: AnomalyReports
    erasure: Erasure
    index: KeyIndex
    registry: SidecarRegistry
    wait: FleetWait
    abuse: BlockedClients
    trail: AuditTrail
    trail_rows: NewestRows
    entry_of: Callable[[Row], AuditEntry | Unreadable]
    trails: Sequence[tuple[WholeTrail, SidecarRegistry]]
    places: Places
    change_logs: Sequence[ChangeLog]
    keyring: Keyring
    clock: Clock
    plans: Mapping[str, tuple[Limit, ...]]
    read: Callable[[bytes], Request]
    version: str
