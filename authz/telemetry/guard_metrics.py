"""Metrics of `authz admin` about leaks, rotations and events, by the rules of catalogue.py."""

from typing import Final

from authz.core.delivery import Arrival
from authz.core.leaks import Done
from authz.flows.notifications.counts import Sent
from authz.telemetry.metric import Kind, Metric, each

EVENTS: Final = Metric(
    "authz.admin.event.sent",
    Kind.COUNTER,
    "{try}",
    "Tries of this process to send an event to a receiver, by result. `failed` is tried again, "
    "`dead` was given up.",
    each(result=tuple(one.value for one in Sent)),
)
EVENT_LAG: Final = Metric(
    "authz.admin.event.lag",
    Kind.GAUGE,
    "s",
    "Age of the oldest event that a receiver lacks; 0 if all receivers have all events. Only the "
    "process that delivers has it.",
)
LEAKS: Final = Metric(
    "authz.admin.leak.reports",
    Kind.COUNTER,
    "{key}",
    "Keys that somebody reported as leaked to this process, by what was done.",
    each(done=tuple(one.value for one in Done)),
)
SECRETS: Final = Metric(
    "authz.admin.delivery.secrets",
    Kind.COUNTER,
    "{delivery}",
    "Deliveries of new secrets to targets, by result. A pending one is tried again, and counts "
    "again.",
    each(result=tuple(one.value for one in Arrival)),
)
SECRETS_PENDING: Final = Metric(
    "authz.admin.delivery.pending",
    Kind.GAUGE,
    "{key}",
    "Keys whose new secret has not arrived at its target yet.",
)
SECRETS_UNDECIDED: Final = Metric(
    "authz.admin.delivery.undecided",
    Kind.GAUGE,
    "{key}",
    "Keys of which it is unknown for 24 hours whether their new secret has arrived. Both secrets "
    "work until somebody ends one of them.",
)
ROTATIONS_HELD: Final = Metric(
    "authz.admin.rotation.held",
    Kind.GAUGE,
    "{key}",
    "Due keys that are not rotated, because they are more than `rotation.max_per_hour`.",
)
GUARD_METRICS: Final = (
    *(EVENTS, EVENT_LAG, LEAKS, SECRETS),
    *(SECRETS_PENDING, SECRETS_UNDECIDED, ROTATIONS_HELD),
)
