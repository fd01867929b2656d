"""The metric and the series of each event. No two events share a series."""

from collections.abc import Mapping
from typing import Final

from authz.core.events import Event
from authz.telemetry.catalogue import (
    ALIAS_LOOKUPS,
    CACHE_EVICTIONS,
    CACHE_FLUSHES,
    CACHE_LOOKUPS,
    CHANGE_GAPS,
    CHANGE_REPLAYS,
    CHANGES_APPLIED,
    CHANGES_GARBLED,
    CHECK_FAULTS,
    LINK_CONNECTS,
    LINK_LOSSES,
    LOOKUP_FAILURES,
    SEQUENCE_RESETS,
    SNAPSHOT_WRITES,
    STALE_ANSWERS,
    TOKEN_SIGNATURES,
    TRANSPORT,
    TRANSPORT_EVENTS,
)
from authz.telemetry.limit_catalogue import (
    LIMIT_DECISIONS,
    LIMIT_GARBLED,
    LIMIT_LEASES,
    LIMIT_SHADOW_DENIALS,
    LIMIT_STORE_CALLS,
    LIMIT_STRANDED,
)
from authz.telemetry.metric import Labels, Metric

COUNTED: Final[Mapping[Event, tuple[Metric, Labels]]] = {
    Event.CACHE_NEGATIVE_HIT: (CACHE_LOOKUPS, {"result": "negative"}),
    Event.CACHE_MISS: (CACHE_LOOKUPS, {"result": "miss"}),
    Event.CACHE_EVICTION: (CACHE_EVICTIONS, {}),
    Event.ALIAS_NEGATIVE_HIT: (ALIAS_LOOKUPS, {"result": "negative"}),
    Event.ALIAS_MISS: (ALIAS_LOOKUPS, {"result": "miss"}),
    Event.ALIAS_EXCLUDED: (ALIAS_LOOKUPS, {"result": "excluded"}),
    Event.ALIAS_LOOKUP_LIMITED: (ALIAS_LOOKUPS, {"result": "limited"}),
    Event.TOKEN_SIGNATURE: (TOKEN_SIGNATURES, {"result": "verified"}),
    Event.TOKEN_LIMITED: (TOKEN_SIGNATURES, {"result": "limited"}),
    Event.STALE_ALLOWED: (STALE_ANSWERS, {}),
    Event.LOOKUP_TIMEOUT: (LOOKUP_FAILURES, {"reason": "timeout"}),
    Event.RECORD_UNREADABLE: (LOOKUP_FAILURES, {"reason": "unreadable"}),
    Event.RECORD_BAD_SEAL: (LOOKUP_FAILURES, {"reason": "bad_seal"}),
    Event.CHANGE_APPLIED: (CHANGES_APPLIED, {}),
    Event.CHANGE_GAP: (CHANGE_GAPS, {}),
    Event.CHANGE_GARBLED: (CHANGES_GARBLED, {}),
    Event.LOG_REPLAYED: (CHANGE_REPLAYS, {"result": "covered"}),
    Event.LOG_NOT_COVERED: (CHANGE_REPLAYS, {"result": "not_covered"}),
    Event.FLUSH: (CACHE_FLUSHES, {}),
    Event.SEQUENCE_WENT_BACK: (SEQUENCE_RESETS, {}),
    Event.LINK_CONNECTED: (LINK_CONNECTS, {}),
    Event.LINK_LOST: (LINK_LOSSES, {}),
    Event.LIMIT_ALLOWED_BY_STORE: (LIMIT_DECISIONS, {"decision": "allowed", "source": "store"}),
    Event.LIMIT_ALLOWED_BEFORE: (LIMIT_DECISIONS, {"decision": "allowed", "source": "repeat"}),
    Event.LIMIT_ALLOWED_ON_LEASE: (LIMIT_DECISIONS, {"decision": "allowed", "source": "lease"}),
    Event.LIMIT_ALLOWED_IN_OUTAGE: (LIMIT_DECISIONS, {"decision": "allowed", "source": "outage"}),
    Event.LIMIT_DENIED_BY_STORE: (LIMIT_DECISIONS, {"decision": "denied", "source": "store"}),
    Event.LIMIT_DENIED_LOCALLY: (
        LIMIT_DECISIONS,
        {"decision": "denied", "source": "denied_locally"},
    ),
    Event.LIMIT_DENIED_IN_OUTAGE: (LIMIT_DECISIONS, {"decision": "denied", "source": "outage"}),
    Event.LIMIT_SHADOW_DENIED: (LIMIT_SHADOW_DENIALS, {}),
    Event.LIMIT_STORE_CALL: (LIMIT_STORE_CALLS, {}),
    Event.LIMIT_GARBLED: (LIMIT_GARBLED, {}),
    Event.LEASE_TAKEN: (LIMIT_LEASES, {}),
    Event.LEASE_STRANDED: (LIMIT_STRANDED, {}),
    Event.SNAPSHOT_WRITTEN: (SNAPSHOT_WRITES, {"result": "written"}),
    Event.SNAPSHOT_FAILED: (SNAPSHOT_WRITES, {"result": "failed"}),
    Event.DECISION_FAULT: (CHECK_FAULTS, {}),
} | {event: (TRANSPORT_EVENTS, {"event": name}) for event, name in TRANSPORT.items()}
