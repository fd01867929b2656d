"""Every metric of the meter, by the rules of catalogue.py, and the series of each event.

The meter also has the sidecar's metrics of its process and build.
"""

from collections.abc import Mapping
from typing import Final

from authz.core.usage.entry import Cause
from authz.core.usage.events import MeterEvent
from authz.telemetry.metric import Kind, Labels, Metric, each

ENTRIES: Final = Metric(
    "authz.meter.entries",
    Kind.COUNTER,
    "{entry}",
    "Log entries. counted: of an ended request, counted in the store; running: of a request that "
    "still runs, which shows that its key is in use.",
    each(result=("counted", "running")),
)
REFUSED_ENTRIES: Final = Metric(
    "authz.meter.entries.refused",
    Kind.COUNTER,
    "{entry}",
    "Log entries that are attributed to no key, by cause. clock: Envoy's clock is off.",
    each(cause=tuple(cause.value for cause in Cause)),
)
BATCHES: Final = Metric(
    "authz.meter.batches",
    Kind.COUNTER,
    "{batch}",
    "Batches of log entries. repeated: counted before, and left out; deferred: the sender is asked "
    "to come again; garbled: no OTLP message; too_old: waited for an hour, and dropped.",
    each(result=("counted", "repeated", "deferred", "garbled", "too_old")),
)
COMMIT_DURATION: Final = Metric(
    "authz.meter.commit.duration",
    Kind.HISTOGRAM,
    "s",
    "Time from a commit to the store's answer that it was added.",
    ({},),
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
COMMIT_FAILURES: Final = Metric(
    "authz.meter.commit.failures",
    Kind.COUNTER,
    "{commit}",
    "Commits whose outcome is unknown. Each is asked again until the store answers.",
)
LAG: Final = Metric(
    "authz.meter.lag",
    Kind.GAUGE,
    "s",
    "Seconds since the oldest batch came that the store does not have; 0 if there is none.",
)
WAITING: Final = Metric(
    "authz.meter.waiting",
    Kind.UP_DOWN,
    "By",
    "Memory of the batches that wait for the store. More than meter.max_waiting_mib is deferred.",
)
FAULTY_COUNTERS: Final = Metric(
    "authz.meter.faulty_counters",
    Kind.COUNTER,
    "{fault}",
    "Additions that the store could not make. full: the counter stays at 2^53 - 1; garbled: the "
    "data of the key in the store cannot be read.",
    each(fault=("full", "garbled")),
)
DOUBTFUL_USE: Final = Metric(
    "authz.meter.doubtful_use",
    Kind.COUNTER,
    "{request}",
    "Requests of routes with budgets whose use is not what the response reported. estimated: it "
    "reported none or an unfinished one, and the estimate stays; implausible: it reported more "
    "than 10,000,000 tokens of one kind, which count as so many.",
    each(result=("estimated", "implausible")),
)
READY: Final = Metric(
    "authz.meter.ready",
    Kind.GAUGE,
    "{meter}",
    "1 while the meter has the store and takes batches.",
)

METER_METRICS: Final = (
    *(ENTRIES, REFUSED_ENTRIES, BATCHES, COMMIT_DURATION, COMMIT_FAILURES, LAG, WAITING),
    *(FAULTY_COUNTERS, DOUBTFUL_USE, READY),
)
COUNTED: Final[Mapping[MeterEvent, tuple[Metric, Labels]]] = {
    MeterEvent.ENTRY_COUNTED: (ENTRIES, {"result": "counted"}),
    MeterEvent.ENTRY_RUNNING: (ENTRIES, {"result": "running"}),
    MeterEvent.BATCH_COUNTED: (BATCHES, {"result": "counted"}),
    MeterEvent.BATCH_REPEATED: (BATCHES, {"result": "repeated"}),
    MeterEvent.BATCH_DEFERRED: (BATCHES, {"result": "deferred"}),
    MeterEvent.BATCH_GARBLED: (BATCHES, {"result": "garbled"}),
    MeterEvent.BATCH_TOO_OLD: (BATCHES, {"result": "too_old"}),
    MeterEvent.COMMIT_FAILED: (COMMIT_FAILURES, {}),
    MeterEvent.COUNTER_FULL: (FAULTY_COUNTERS, {"fault": "full"}),
    MeterEvent.KEY_GARBLED: (FAULTY_COUNTERS, {"fault": "garbled"}),
    MeterEvent.USE_ESTIMATED: (DOUBTFUL_USE, {"result": "estimated"}),
    MeterEvent.USE_IMPLAUSIBLE: (DOUBTFUL_USE, {"result": "implausible"}),
}
