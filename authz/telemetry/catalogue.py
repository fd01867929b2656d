"""Every metric of the sidecar: its name, unit, kind and meaning, and each of its series.

Rules:
1. This file, limit_catalogue.py and outcomes.py list every value of every label. No label comes
   from a request, so an attack adds no series.
2. Every series is exported from the start, with 0, so that a rate includes the first event.
3. Names and units follow OpenTelemetry's conventions for metrics
   (https://opentelemetry.io/docs/specs/semconv/general/naming/): dots between words, a plural for
   countable things, no unit and no `total` in the name. The Prometheus name follows from it.
   A gauge of 1 or 0 has the unit `{sidecar}` or `{link}`. A collector or a Prometheus that takes
   OTLP appends `_ratio` to the name of a gauge of unit `1`.

Counters, exporters, alert rules and dashboards read this file. It needs no SDK.
"""

from typing import Final

from authz.core.decision import Reason
from authz.core.events import Event
from authz.telemetry.limit_catalogue import LIMIT_METRICS
from authz.telemetry.metric import Kind, Metric, each
from authz.telemetry.outcomes import ALLOWED, AUTHENTICATION, refused
from authz.telemetry.process_catalogue import PROCESS_METRICS

# Checks

CHECKS: Final = Metric(
    "authz.checks",
    Kind.COUNTER,
    "{check}",
    "Checks answered. unavailable: no decision was possible, and the proxy got an error.",
    (ALLOWED, *(refused(reason) for reason in Reason)),
)
WOULD_BE_DENIALS: Final = Metric(
    "authz.check.would_be_denials",
    Kind.COUNTER,
    "{check}",
    "Checks that were allowed because their route does not enforce, and would be refused. They are "
    "among the allowed of authz.checks.",
    each(reason=tuple(reason.value for reason in Reason)),
)
CHECK_DURATION: Final = Metric(
    "authz.check.duration",
    Kind.HISTOGRAM,
    "s",
    "Time from the bytes of a Check to those of its answer. "
    "hit: without waiting for the store; miss: after waiting for it.",
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
    "Checks that failed because of a bug, and were answered as unavailable.",
)
AUTHENTICATION_FAILURES: Final = Metric(
    "authz.authentication.failures",
    Kind.COUNTER,
    "{failure}",
    "Checks whose caller could not be authenticated: the part of authz.checks answered with 401.",
    each(reason=tuple(reason.value for reason in AUTHENTICATION)),
)

# Keys: the cache and the lookups

LOOKUP_DURATION: Final = Metric(
    "authz.key.lookup.duration",
    Kind.HISTOGRAM,
    "s",
    "Time from a lookup of a key record in the store to its answer.",
    each(result=("found", "absent", "failed")),
    (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)
LOOKUP_FAILURES: Final = Metric(
    "authz.key.lookup.failures",
    Kind.COUNTER,
    "{failure}",
    "Lookups that timed out, unreadable records, and records with a wrong or missing seal.",
    each(reason=("timeout", "unreadable", "bad_seal")),
)
CACHE_ENTRIES: Final = Metric(
    "authz.cache.entries",
    Kind.UP_DOWN,
    "{entry}",
    "Cache entries. record: key records; negative: kids without a record.",
    each(kind=("record", "negative")),
)
CACHE_LOOKUPS: Final = Metric(
    "authz.cache.lookups",
    Kind.COUNTER,
    "{lookup}",
    "hit: the record was cached; negative: the absence was cached; miss: the store was asked, "
    "once for all concurrent Checks of a key.",
    each(result=("hit", "negative", "miss")),
)
CACHE_EVICTIONS: Final = Metric(
    "authz.cache.evictions",
    Kind.COUNTER,
    "{eviction}",
    "Records evicted to make room for others.",
)
CACHE_FLUSHES: Final = Metric(
    "authz.cache.flushes",
    Kind.COUNTER,
    "{flush}",
    "Flushes of the whole cache because changes may have been missed; one at the start.",
)
STALE_ANSWERS: Final = Metric(
    "authz.cache.stale_answers",
    Kind.COUNTER,
    "{answer}",
    "Checks allowed from stale cache entries during a store outage.",
)
ALIAS_LOOKUPS: Final = Metric(
    "authz.alias.lookups",
    Kind.COUNTER,
    "{lookup}",
    "Lookups of imported keys. excluded: the index of imported keys showed that there is none; "
    "negative: the absence was cached; miss: the store was asked; "
    "limited: over keys.import_lookups, so the answer was unavailable.",
    each(result=("excluded", "negative", "miss", "limited")),
)
ALIAS_INDEX: Final = Metric(
    "authz.alias.index",
    Kind.GAUGE,
    "{entry}",
    "Entries of the index of imported keys while it shows which texts are none, otherwise 0.",
)

TOKEN_SIGNATURES: Final = Metric(
    "authz.token.signatures",
    Kind.COUNTER,
    "{token}",
    "New tokens whose signature had to be verified. verified: it was verified, right or wrong; "
    "limited: over tokens.signatures_per_second, so the answer was unavailable.",
    each(result=("verified", "limited")),
)

SNAPSHOT_WRITES: Final = Metric(
    "authz.snapshot.writes",
    Kind.COUNTER,
    "{write}",
    "Writes of the cache to cache.snapshot.",
    each(result=("written", "failed")),
)

# Changes, trust, the link

CHANGE_LAG: Final = Metric(
    "authz.change.lag",
    Kind.HISTOGRAM,
    "s",
    "Time from the acceptance of a change by the store until it is applied here, by the clocks of "
    "both machines.",
    bounds=(
        *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        *(1.0, 2.0, 5.0, 10.0, 30.0),
    ),
)
CHANGES_APPLIED: Final = Metric(
    "authz.change.applied", Kind.COUNTER, "{change}", "Changes of keys applied here."
)
CHANGE_SEQUENCE: Final = Metric(
    "authz.change.sequence",
    Kind.GAUGE,
    "{change}",
    "Sequence number of the last change applied here.",
)
CHANGE_GAPS: Final = Metric(
    "authz.change.gaps",
    Kind.COUNTER,
    "{gap}",
    "Gaps in the notices of changes. The missing changes are then read from the log.",
)
CHANGE_REPLAYS: Final = Metric(
    "authz.change.replays",
    Kind.COUNTER,
    "{replay}",
    "Reads of the change log. covered: it held all missing changes; not_covered: it did not, so "
    "the cache was flushed.",
    each(result=("covered", "not_covered")),
)
CHANGES_GARBLED: Final = Metric(
    "authz.change.garbled",
    Kind.COUNTER,
    "{notice}",
    "Notices and log entries that could not be parsed, and were ignored.",
)
SEQUENCE_RESETS: Final = Metric(
    "authz.change.sequence_resets",
    Kind.COUNTER,
    "{reset}",
    "Resets of the store to an earlier change, as after a failover or a restore.",
)
TRUST: Final = Metric(
    "authz.trust.held",
    Kind.GAUGE,
    "{sidecar}",
    "1 while the cache is proven to be current, 0 during a store outage.",
)
UNTRUSTED: Final = Metric(
    "authz.partitions.untrusted",
    Kind.GAUGE,
    "{partition}",
    "Partitions of the store that are not trusted. Without redis.partitions there is one.",
)
TRUST_AGE: Final = Metric(
    "authz.trust.age",
    Kind.GAUGE,
    "s",
    "Time since the last proof that the cache is current; since the start if there was none.",
)
CLOCK_OFFSET: Final = Metric(
    "authz.clock.offset",
    Kind.GAUGE,
    "s",
    "The store's clock minus the sidecar's; 0 if they agree within the round trip.",
)
GRACE: Final = Metric(
    "authz.outage.grace.remaining",
    Kind.GAUGE,
    "s",
    "Time for which stale entries may still be served; 0 if there are none.",
)
LINK: Final = Metric(
    "authz.link.up", Kind.GAUGE, "{link}", "1 while the link to the store is open."
)
LINK_CONNECTS: Final = Metric(
    "authz.link.connects",
    Kind.COUNTER,
    "{connect}",
    "Connects to the store; all but the first are reconnects.",
)
LINK_LOSSES: Final = Metric(
    "authz.link.losses", Kind.COUNTER, "{loss}", "Losses of the link to the store."
)
READY: Final = Metric("authz.ready", Kind.GAUGE, "{sidecar}", "1 while the sidecar is ready.")

# The transport

_H2: Final = "h2_"
# The label value of each transport event.
TRANSPORT: Final = {event: event.removeprefix(_H2) for event in Event if event.startswith(_H2)}
TRANSPORT_EVENTS: Final = Metric(
    "authz.transport.events",
    Kind.COUNTER,
    "{event}",
    "Streams and connections that the fast transport refused, reset or closed. None is a Check.",
    each(event=tuple(TRANSPORT.values())),
)

# The process

LOG_SUPPRESSED: Final = Metric(
    "authz.log.suppressed",
    Kind.COUNTER,
    "{line}",
    "Log lines that were dropped by a rate limit.",
)

METRICS: Final = (
    *(metric for metric in tuple(globals().values()) if isinstance(metric, Metric)),
    *LIMIT_METRICS,
    *PROCESS_METRICS,
)
