"""AdminFlows: the flows that the admin API serves."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from authz.core.keys.keyring import Keyring
from authz.core.limits.limit import Limit
from authz.core.ports import (
    AuditTrail,
    ChangeLog,
    Clock,
    KeyIndex,
    SidecarRegistry,
    TrailPages,
    TrailStore,
)
from authz.core.request import Request
from authz.core.usage.ports import UsageEraser
from authz.flows.bulk_change import BulkChange
from authz.flows.deletion import Deletion
from authz.flows.importing import Importer
from authz.flows.key_history import KeyHistory
from authz.flows.lifecycle import Lifecycle
from authz.flows.limits.limit_report import LimitReports
from authz.flows.repeatable import RepeatableRequests
from authz.flows.selection import Selection
from authz.flows.trail.verifying import TrailHeads
from authz.flows.usage.reading import UsageReading
from authz.flows.verify import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminFlows:
    """The flows, over one store. plans: the limits of each plan of the settings.

    read: parses a CheckRequest. version: of the program. verifier: returns one, because whether
    keys were ever imported may change. importer: for an actor, a note, a source and a request id.
    """

    lifecycle: Lifecycle
    requests: RepeatableRequests
    selection: Selection
    bulk: BulkChange
    deletion: Deletion
    history: KeyHistory
    verifier: Callable[[], Awaitable[Verifier]]
    limit_reports: LimitReports
    importer: Callable[[str, str, str, str], Importer]
    usage: UsageReading
    usage_eraser: UsageEraser
    index: KeyIndex
    registry: SidecarRegistry
    trail: AuditTrail
    trail_pages: TrailPages
    trail_rows: TrailStore
    trail_heads: TrailHeads
    change_log: ChangeLog
    keyring: Keyring
    clock: Clock
    plans: Mapping[str, tuple[Limit, ...]]
    read: Callable[[bytes], Request]
    version: str
