"""Metrics of limits, by the rules of catalogue.py."""

from typing import Final

from authz.telemetry.metric import Kind, Metric, each

LIMIT_DECISIONS: Final = Metric(
    "authz.limits.decisions",
    Kind.COUNTER,
    "{decision}",
    "Checks of keys with limits, by decision and source. denied_locally: by an earlier refusal of "
    "the store; outage: without the store; repeat: charged before, by `charge_once` of its route.",
    (
        *each(decision=("allowed",), source=("store", "lease", "outage", "repeat")),
        *each(decision=("denied",), source=("store", "denied_locally", "outage")),
    ),
)
LIMIT_SHADOW_DENIALS: Final = Metric(
    "authz.limits.shadow_denials",
    Kind.COUNTER,
    "{check}",
    "Allowed Checks that a limit with enforce=false would have denied. They also count as allowed "
    "in authz.limits.decisions.",
)
LIMIT_LINK: Final = Metric(
    "authz.limits.link.up",
    Kind.GAUGE,
    "{link}",
    "1 while the store counts limits for this sidecar, over a separate link.",
)
LIMIT_STORE_CALLS: Final = Metric(
    "authz.limits.store_calls", Kind.COUNTER, "{call}", "Calls of the store that take from limits."
)
LIMIT_LEASES: Final = Metric(
    "authz.limits.leases",
    Kind.COUNTER,
    "{lease}",
    "Leases: units of a limit that were debited in advance.",
)
LIMIT_STRANDED: Final = Metric(
    "authz.limits.stranded",
    Kind.COUNTER,
    "{request}",
    "Requests that were debited in advance, did not arrive and could not be returned.",
)
LIMIT_GARBLED: Final = Metric(
    "authz.limits.garbled",
    Kind.COUNTER,
    "{answer}",
    "Limit counters in the store that could not be parsed.",
)

LIMIT_METRICS: Final = (
    LIMIT_DECISIONS,
    LIMIT_SHADOW_DENIALS,
    LIMIT_LINK,
    LIMIT_STORE_CALLS,
    LIMIT_LEASES,
    LIMIT_STRANDED,
    LIMIT_GARBLED,
)
