"""Metrics of the admin API, by the rules of catalogue.py, and the counters behind them."""

from collections.abc import Iterable
from typing import Final

from authz.core.histogram import Histogram
from authz.core.usage.anomalies.features import Feature, Gap
from authz.core.usage.anomalies.policy import Done
from authz.telemetry.catalogue import LOG_SUPPRESSED
from authz.telemetry.guard_metrics import GUARD_METRICS
from authz.telemetry.metric import Kind, Labels, Metric, each
from authz.telemetry.process_catalogue import PROCESS_METRICS

METHODS: Final = (
    *("Keys.CreateKey", "Keys.GetKey", "Keys.ListKeys", "Keys.UpdateKey", "Keys.RotateKey"),
    *(
        "Keys.RetireKeySecret",
        "Keys.RollBackKey",
        "Keys.ChangeKeys",
        "Keys.RevokeKey",
        "Keys.DisableKey",
        "Keys.EnableKey",
        "Keys.ListKeyHistory",
    ),
    *("Keys.VerifyKey", "Keys.ExportKeys", "Keys.ImportKeys"),
    *("Keys.ExportAppliedKeys", "Keys.SaveAppliedKeys"),
    *("Keys.DeleteKey", "Audit.VerifyAuditTrail"),
    *("Limits.GetKeyLimits", "Limits.ResetKeyLimits", "Limits.RefundKeyLimits"),
    "Audit.ListAuditEntries",
    *("Fleet.ListSidecars", "Fleet.WatchChanges"),
    *("Fleet.ListBlockedClients", "Fleet.ClearBlockedClients", "Fleet.AllowNetwork"),
    *("Policy.ListRotationPolicies", "Policy.ListDueKeys", "Policy.ListPendingDeliveries"),
    *("Tokens.IssueToken", "Tokens.InspectToken", "Tokens.ListSigningKeys"),
    *("Tokens.RotateSigningKey", "Tokens.DeleteSigningKey"),
    *("Events.ListEvents", "Events.ListEventSinks", "Events.ListDeadEvents"),
    "Events.ReplayEvents",
    *("Usage.ListUsage", "Usage.ListTopKeys", "Usage.ListAnomalies"),
    *("Usage.GetLatestUse", "Usage.EraseUsage"),
    *("Me.GetMyKey", "Me.GetMyLimits", "Me.GetMyUsage", "Me.RotateMyKey", "Me.RevokeMyKey"),
    *("Admin.WhoAmI", "Admin.GetInstallation"),
)
"""The methods of the API. A test compares them with the services."""

CODES: Final = (
    *("OK", "CANCELLED", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED"),
    *("OUT_OF_RANGE", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""The gRPC codes with which a call can end."""

CALLS: Final = Metric(
    "authz.admin.calls",
    Kind.COUNTER,
    "{call}",
    "Calls of the admin API that have ended, by method and gRPC code.",
    each(method=METHODS, code=CODES),
)
CALL_DURATION: Final = Metric(
    "authz.admin.call.duration",
    Kind.HISTOGRAM,
    "s",
    "Time from the arrival of a call to its last response. Streams that follow changes are left "
    "out.",
    each(method=METHODS),
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
ADMIN_READY: Final = Metric(
    "authz.admin.ready",
    Kind.UP_DOWN,
    "{process}",
    "1 if the store is reachable and ours, and the process is not stopping; else 0.",
)
AUDIT_ROUNDS: Final = Metric(
    "authz.admin.audit.rounds",
    Kind.COUNTER,
    "{round}",
    "Rounds in which this process sealed the audit trail, by outcome.",
    each(outcome=("sealed", "idle", "failed")),
)
AUDIT_FINDINGS: Final = Metric(
    "authz.admin.audit.findings",
    Kind.COUNTER,
    "{finding}",
    "Forged or altered rows of the audit trail, and confirmed checkpoints that vanished.",
    each(kind=("forged", "went_back")),
)
ANOMALY_KEYS: Final = Metric(
    "authz.admin.anomaly.keys",
    Kind.COUNTER,
    "{key}",
    "Hours of keys that this process compared with their habits.",
)
ANOMALIES: Final = Metric(
    "authz.admin.anomaly.found",
    Kind.COUNTER,
    "{anomaly}",
    "Unusual hours of keys, by feature.",
    each(feature=tuple(feature.value for feature in Feature)),
)
ANOMALY_ALARMS: Final = Metric(
    "authz.admin.anomaly.alarms",
    Kind.COUNTER,
    "{alarm}",
    "Alarms about keys that the settings name, by result.",
    each(done=tuple(done.value for done in Done)),
)
ANOMALY_NOT_JUDGED: Final = Metric(
    "authz.admin.anomaly.not_judged",
    Kind.GAUGE,
    "{key}",
    "Keys of which a feature was not judged in the latest hour, by feature and cause. Only the "
    "process that judges has them.",
    each(
        feature=tuple(feature.value for feature in Feature),
        cause=tuple(cause.value for cause in Gap),
    ),
)
ANOMALY_LAG: Final = Metric(
    "authz.admin.anomaly.lag",
    Kind.GAUGE,
    "s",
    "Time since the end of the latest hour that was judged; 0 before the first one. It is at least "
    "two hours.",
)
ANOMALY_METRICS: Final = (
    ANOMALY_KEYS,
    ANOMALIES,
    ANOMALY_ALARMS,
    ANOMALY_NOT_JUDGED,
    ANOMALY_LAG,
)
"""The metrics about unusual use of keys. The dashboards show them."""
ADMIN_METRICS: Final = (
    *(CALLS, CALL_DURATION, ADMIN_READY, AUDIT_ROUNDS, AUDIT_FINDINGS),
    *ANOMALY_METRICS,
    *GUARD_METRICS,
    *(LOG_SUPPRESSED, *PROCESS_METRICS),
)
"""Every metric that `authz admin` exports."""

ENDLESS: Final = "Fleet.WatchChanges"


class CallCounters:
    """Counts calls in plain integers, which telemetry reads at any time."""

    def __init__(self) -> None:
        self._ended = {(m, c): 0 for m in METHODS for c in CODES}
        self._seconds = {method: Histogram(CALL_DURATION.bounds) for method in METHODS}

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Count one call that has ended, and its duration unless the method is ENDLESS.

        A code that is not in CODES counts as INTERNAL. Raises KeyError if the method is not in
        METHODS.
        """
        place = (method, code) if (method, code) in self._ended else (method, "INTERNAL")
        self._ended[place] += 1
        if method != ENDLESS:
            self._seconds[method].add(seconds)

    def calls(self) -> Iterable[tuple[Labels, float]]:
        """Yield labels and number of ended calls of each method and code, also 0."""
        for (method, code), count in self._ended.items():
            yield {"method": method, "code": code}, count

    def durations(self) -> Iterable[tuple[Labels, Histogram]]:
        """Yield labels and durations in seconds of each method, also without calls."""
        for method, seconds in self._seconds.items():
            yield {"method": method}, seconds
