"""Events that a meter counts, apart from refused entries."""

from enum import StrEnum


class MeterEvent(StrEnum):
    """A kind of event. telemetry/meter_catalogue.py turns these into metrics."""

    ENTRY_COUNTED = "entry_counted"
    ENTRY_RUNNING = "entry_running"
    BATCH_COUNTED = "batch_counted"
    BATCH_REPEATED = "batch_repeated"
    BATCH_GARBLED = "batch_garbled"
    BATCH_DEFERRED = "batch_deferred"  # no room, or no store: the sender is asked to come again
    BATCH_TOO_OLD = "batch_too_old"
    COMMIT_FAILED = "commit_failed"
    COUNTER_FULL = "counter_full"
    KEY_GARBLED = "key_garbled"
    USE_ESTIMATED = "use_estimated"
    USE_IMPLAUSIBLE = "use_implausible"
