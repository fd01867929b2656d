"""Every metric of the sidecar: its name, unit, kind and meaning, and each of its series.

Rules:
1. What a label may say stands in here and in outcomes.py, all of it. Nothing that comes from a
   request is a label, so there are as many series under attack as at the start.
2. Every series is exported from the start, with 0: a rate sees also the first of its events.
3. Names and units follow OpenTelemetry's conventions for metrics
   (https://opentelemetry.io/docs/specs/semconv/general/naming/): dots between words, plural for
   what is counted one by one, no unit and no `total` in the name. Prometheus' name follows from it.
   What is 1 or 0 counts sidecars or links: a gauge of unit `1` is a share, and a collector or a
   Prometheus that takes OTLP would append `_ratio` to its name.

Code that counts, code that exports, rules and dashboards all read this. It needs no SDK.
"""

import platform
from typing import Final

from authz import __version__
from authz.core.decision import Reason
from authz.core.events import Event
from authz.telemetry.metric import Kind, Metric, each
from authz.telemetry.outcomes import ALLOWED, AUTHENTICATION, refused

# Checks

CHECKS: Final = Metric(
    "authz.checks",
    Kind.COUNTER,
    "{check}",
    "Checks answered. unavailable: it could not be decided, and the proxy was told so.",
    (ALLOWED, *(refused(reason) for reason in Reason)),
)
CHECK_DURATION: Final = Metric(
    "authz.check.duration",
    Kind.HISTOGRAM,
    "s",
    "From the bytes of a Check to those of its answer. "
    "hit: at once, from what is known here; miss: the store was asked.",
    each(cache=("hit", "miss")),
    (
        *(0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
        *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
    ),
)
CHECK_FAULTS: Final = Metric(
    "authz.check.faults",
    Kind.COUNTER,
    "{fault}",
    "Checks that failed inside, by a bug, and were answered as unavailable.",
)
AUTHENTICATION_FAILURES: Final = Metric(
    "authz.authentication.failures",
    Kind.COUNTER,
    "{failure}",
    "Checks whose caller could not prove who it is; the part of authz.checks answered with 401.",
    each(reason=tuple(reason.value for reason in AUTHENTICATION)),
)

# Keys: the cache and the lookups

LOOKUP_DURATION: Final = Metric(
    "authz.key.lookup.duration",
    Kind.HISTOGRAM,
    "s",
    "From asking the store for a key's record to its answer, whoever still waited for it.",
    each(result=("found", "absent", "failed")),
    (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)
LOOKUP_FAILURES: Final = Metric(
    "authz.key.lookup.failures",
    Kind.COUNTER,
    "{failure}",
    "Lookups without a result in time, and records that cannot be read.",
    each(reason=("timeout", "unreadable")),
)
CACHE_ENTRIES: Final = Metric(
    "authz.cache.entries",
    Kind.UP_DOWN,
    "{entry}",
    "What the cache holds: records, and kids that are known to have none.",
    each(kind=("record", "negative")),
)
CACHE_LOOKUPS: Final = Metric(
    "authz.cache.lookups",
    Kind.COUNTER,
    "{lookup}",
    "hit: a record was there; negative: it was known that there is none; miss: the store was "
    "asked, once for all who waited.",
    each(result=("hit", "negative", "miss")),
)
CACHE_EVICTIONS: Final = Metric(
    "authz.cache.evictions",
    Kind.COUNTER,
    "{eviction}",
    "Records that made room for others.",
)
CACHE_FLUSHES: Final = Metric(
    "authz.cache.flushes",
    Kind.COUNTER,
    "{flush}",
    "Times that everything was forgotten because changes may have been missed; one at the start.",
)
STALE_ANSWERS: Final = Metric(
    "authz.cache.stale_answers",
    Kind.COUNTER,
    "{answer}",
    "Checks allowed in an outage of the store, by what was known before it.",
)
ALIAS_LOOKUPS: Final = Metric(
    "authz.alias.lookups",
    Kind.COUNTER,
    "{lookup}",
    "Of imported keys. negative: it was known that there is none; miss: the store was asked; "
    "limited: there were too many, so the answer was unavailable.",
    each(result=("negative", "miss", "limited")),
)

SNAPSHOT_WRITES: Final = Metric(
    "authz.snapshot.writes",
    Kind.COUNTER,
    "{write}",
    "Times that what the cache holds was written to cache.snapshot, or could not be.",
    each(result=("written", "failed")),
)

# Changes, trust, the link

CHANGE_LAG: Final = Metric(
    "authz.change.lag",
    Kind.HISTOGRAM,
    "s",
    "From the store's taking a change to its being applied here, by the clocks of both machines.",
    bounds=(
        *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        *(1.0, 2.0, 5.0, 10.0, 30.0),
    ),
)
CHANGES_APPLIED: Final = Metric(
    "authz.change.applied", Kind.COUNTER, "{change}", "Changes of keys applied here."
)
CHANGE_SEQUENCE: Final = Metric(
    "authz.change.sequence", Kind.GAUGE, "{change}", "The number of the last change applied here."
)
CHANGE_GAPS: Final = Metric(
    "authz.change.gaps",
    Kind.COUNTER,
    "{gap}",
    "Times that notices of changes were missed; they are read from the log then.",
)
CHANGE_REPLAYS: Final = Metric(
    "authz.change.replays",
    Kind.COUNTER,
    "{replay}",
    "Times that the log was read. covered: it held all that was missed; not_covered: flushed.",
    each(result=("covered", "not_covered")),
)
CHANGES_GARBLED: Final = Metric(
    "authz.change.garbled",
    Kind.COUNTER,
    "{notice}",
    "Notices and entries of the log that could not be understood, and were ignored.",
)
SEQUENCE_RESETS: Final = Metric(
    "authz.change.sequence_resets",
    Kind.COUNTER,
    "{reset}",
    "Times that the store went back to an earlier change, as after a failover or a restore.",
)
TRUST: Final = Metric(
    "authz.trust.held",
    Kind.GAUGE,
    "{sidecar}",
    "1 while what is cached is proven to be current, 0 in an outage of the store.",
)
TRUST_AGE: Final = Metric(
    "authz.trust.age",
    Kind.GAUGE,
    "s",
    "Seconds since the last proof that what is cached is current; since the start without any.",
)
GRACE: Final = Metric(
    "authz.outage.grace.remaining",
    Kind.GAUGE,
    "s",
    "Seconds for which keys go on if the store stays away; 0 with nothing to go on with.",
)
LINK: Final = Metric(
    "authz.link.up", Kind.GAUGE, "{link}", "1 while the link to the store is open."
)
LINK_CONNECTS: Final = Metric(
    "authz.link.connects",
    Kind.COUNTER,
    "{connect}",
    "Times that the link to the store was made; all but the first are reconnects.",
)
LINK_LOSSES: Final = Metric(
    "authz.link.losses", Kind.COUNTER, "{loss}", "Times that the link to the store ended."
)
READY: Final = Metric(
    "authz.ready", Kind.GAUGE, "{sidecar}", "1 while the sidecar says that it should be asked."
)

# Limits

LIMIT_DECISIONS: Final = Metric(
    "authz.limits.decisions",
    Kind.COUNTER,
    "{decision}",
    "Checks of keys that have limits. source: who decided; denied_locally: by what the store had "
    "said before; outage: without it.",
    (
        *each(decision=("allowed",), source=("store", "lease", "outage")),
        *each(decision=("denied",), source=("store", "denied_locally", "outage")),
    ),
)
LIMIT_SHADOW_DENIALS: Final = Metric(
    "authz.limits.shadow_denials",
    Kind.COUNTER,
    "{check}",
    "Checks that were allowed and would be denied, were all limits enforced. They are among the "
    "allowed of authz.limits.decisions.",
)
LIMIT_LINK: Final = Metric(
    "authz.limits.link.up",
    Kind.GAUGE,
    "{link}",
    "1 while the store counts limits for this sidecar, over a link of its own.",
)
LIMIT_STORE_CALLS: Final = Metric(
    "authz.limits.store_calls", Kind.COUNTER, "{call}", "Times that the store was asked to spend."
)
LIMIT_LEASES: Final = Metric(
    "authz.limits.leases",
    Kind.COUNTER,
    "{lease}",
    "Parts of a limit that were debited in advance.",
)
LIMIT_STRANDED: Final = Metric(
    "authz.limits.stranded",
    Kind.COUNTER,
    "{request}",
    "Requests that were debited in advance and did not come, and could not be given back.",
)
LIMIT_GARBLED: Final = Metric(
    "authz.limits.garbled",
    Kind.COUNTER,
    "{answer}",
    "Counters of limits in the store that could not be understood.",
)

# The transport

_H2: Final = "h2_"
# What each of its events is called there.
TRANSPORT: Final = {event: event.removeprefix(_H2) for event in Event if event.startswith(_H2)}
TRANSPORT_EVENTS: Final = Metric(
    "authz.transport.events",
    Kind.COUNTER,
    "{event}",
    "What the fast transport refused, gave up or closed. Not one of them is a Check.",
    each(event=tuple(TRANSPORT.values())),
)

# The process

LOG_SUPPRESSED: Final = Metric(
    "authz.log.suppressed",
    Kind.COUNTER,
    "{line}",
    "Log lines that were not written because there were too many.",
)
BUILD: Final = Metric(
    "authz.build.info",
    Kind.GAUGE,
    "{sidecar}",
    "Always 1. What runs.",
    ({"version": __version__, "python": platform.python_version()},),
)
PROCESS_MEMORY: Final = Metric(
    "process.memory.usage", Kind.UP_DOWN, "By", "Resident memory of the sidecar."
)
PROCESS_CPU: Final = Metric(
    "process.cpu.time",
    Kind.COUNTER,
    "s",
    "Processor time of the sidecar. One process uses one core.",
    each(cpu_mode=("user", "system")),
)
PROCESS_UPTIME: Final = Metric(
    "process.uptime", Kind.GAUGE, "s", "Seconds since the sidecar started."
)

METRICS: Final = tuple(metric for metric in tuple(globals().values()) if isinstance(metric, Metric))
