"""Composition root of events: their receivers, and their delivery."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from authz.core.keys.keyring import Keyring
from authz.core.notifications import bodies
from authz.core.notifications.ports import Receiver
from authz.core.ports import Clock
from authz.core.public_addresses import may_be_reached
from authz.core.records import KeyRecord
from authz.core.rotation import RotationPolicies
from authz.core.selector import Selector
from authz.core.sightings import Sightings
from authz.flows.notifications.counts import EventCounts
from authz.flows.notifications.delivery import Delivery, Places
from authz.flows.notifications.derivation import Derivation
from authz.flows.notifications.expiry_watch import EXPIRIES, ExpiryWatch
from authz.flows.notifications.regular_delivery import RegularDelivery
from authz.flows.notifications.reminder_watch import ReminderWatch, watch_rotations
from authz.flows.notifications.sighting_watch import SightingWatch, watch_sightings
from authz.flows.notifications.sinks import EventSinks, SinkFacts, StoredSinks
from authz.flows.selection import Cost, Selection
from authz.process.clock import SystemClock
from authz.process.notification_receivers import Log, Messages, Webhook, read_secrets
from authz.process.web_client import WebClient
from authz.settings.events import Sink
from authz.settings.model import Settings
from authz.storage.endpoint import Client
from authz.storage.listing import StoredIndex
from authz.storage.notifications import StoredLetters, StoredNotifications, StoredReplays
from authz.storage.sightings import StoredSightings
from authz.storage.trail import StoredRows, entry_of
from authz.wiring.administration import keyring, our_parts, partitions
from authz.wiring.store_parts import StoreParts

if TYPE_CHECKING:  # a store with one partition has none
    from authz.flows.partitioned.sinks import PartitionedSinks

ALERTS_PATH: Final = "/api/v2/alerts"

Work = Callable[[], Coroutine[None, None, None]]


def event_works(
    settings: Settings,
    parts: StoreParts,
    ring: Keyring,
    clock: Clock,
    *,
    instance: str,
    is_ours: Callable[[], bool],
    counts: EventCounts,
) -> list[Work]:
    """Return the endless works of events: to deliver them, and to note expiries and reminders.

    The trail of each partition is delivered in its order. The lease lies in partition 0. Empty
    without sinks. Raises BadInput if the secret file of a webhook cannot be used.
    """
    if not settings.events.sinks:
        return []
    trails = [_trail(settings, parts, at) for at in range(len(parts.clients))]
    deliveries = []
    for at, client in enumerate(parts.clients):
        places = Places(
            trails[at],
            derivation(parts, at, trails[at], ring),
            StoredNotifications(client),
            StoredLetters(client),
            StoredReplays(client),
        )
        for name, sink in settings.events.sinks.items():
            where = receiver(settings, sink, clock)
            deliveries.append(
                Delivery(*(name, sink.wants, where, places, clock), counts=counts, partition=at)
            )
    lead = StoredNotifications(parts.clients[0])
    works: list[Work] = [RegularDelivery(deliveries, lead, instance, is_ours).run]
    policies = settings.rotation.policies()
    for client, rows in zip(parts.clients, trails, strict=True):
        watch = ExpiryWatch(rows, ring.trail_keys, clock, instance)
        works.append(partial(EXPIRIES.run, watch.look, is_ours))
        if policies != RotationPolicies():
            records = partial(all_records, Selection(StoredIndex(client), clock))
            reminders = ReminderWatch(
                *(rows, ring.trail_keys, records, policies), clock=clock, writer=instance
            )
            works.append(partial(watch_rotations, reminders, is_ours))
    return works


def _trail(settings: Settings, parts: StoreParts, at: int) -> StoredRows:
    return StoredRows(parts.clients[at], has_replicas=partitions(settings)[0].has_replicas)


def derivation(parts: StoreParts, at: int, rows: StoredRows, ring: Keyring) -> Derivation:
    """Return the derivation of the events of a partition."""
    label = at if len(parts.clients) > 1 else None
    return Derivation(rows, ring.trail_keys, parts.index, entry_of, label)


def sighting_work(
    client: Client, clock: Clock, instance: str, own: Sightings, is_ours: Callable[[], bool]
) -> Work:
    """Return the endless work that moves sightings to the trail. own: those of this process."""
    watch = SightingWatch(StoredSightings(client), clock, instance, own)
    return partial(watch_sightings, watch, is_ours)


async def all_records(selection: Selection) -> AsyncIterator[KeyRecord]:
    """Yield the records of all keys that can be read. Raises Unavailable."""
    async for entry in selection.each(Selector(), Cost()):
        if isinstance(entry.record, KeyRecord):
            yield entry.record


def receiver(settings: Settings, sink: Sink, clock: Clock) -> Receiver:
    """Return the receiver of one sink.

    Raises BadInput if the secret file of a webhook cannot be used.
    """
    source, allowed = settings.events.source, settings.events.allowed_networks
    if sink.url is None:
        return Log(source)
    client = WebClient(sink.ca, permits=partial(may_be_reached, allowed=allowed))
    if sink.secret_file is not None:
        read_secrets(sink.secret_file)
        return Webhook(client, sink.url, sink.secret_file, source, clock)
    if sink.kind == "slack":
        return Messages(client, sink.url, bodies.slack)
    alerts = f"{sink.url.rstrip('/')}{ALERTS_PATH}"
    return Messages(client, alerts, lambda event: bodies.alert(event, clock.wall_ms()))


def event_sinks(settings: Settings, parts: StoreParts, ring: Keyring, at: int = 0) -> StoredSinks:
    """Return the events of a partition, and the state of the sinks of the settings there."""
    rows, client = _trail(settings, parts, at), parts.clients[at]
    return StoredSinks(
        {name: SinkFacts(one.kind, one.types) for name, one in settings.events.sinks.items()},
        settings.events.source,
        derivation(parts, at, rows, ring),
        progress=StoredNotifications(client),
        letters=StoredLetters(client),
        replays=StoredReplays(client),
        notes=rows,
        clock=SystemClock(),
    )


def sinks_of_all(
    settings: Settings, parts: StoreParts, ring: Keyring
) -> "StoredSinks | PartitionedSinks":
    """Return the events of all partitions, and the state of the sinks of the settings."""
    if len(parts.clients) == 1:
        return event_sinks(settings, parts, ring)
    from authz.flows.partitioned.sinks import PartitionedSinks  # noqa: PLC0415
    from authz.flows.partitioned.trail import PartitionedRows  # noqa: PLC0415

    def sinks(client: Client) -> StoredSinks:
        return event_sinks(settings, parts, ring, parts.clients.index(client))

    rows = parts.each(lambda client: _trail(settings, parts, parts.clients.index(client)))
    return PartitionedSinks(
        parts.places,
        parts.each(sinks),
        PartitionedRows(parts.places, rows),
        names=settings.events.sinks,
        source=settings.events.source,
    )


@asynccontextmanager
async def event_session(settings: Settings) -> AsyncIterator[EventSinks]:
    """Yield the events and sinks of commands, and close the clients at the end.

    Raises BadInput for unusable settings, Unavailable if the store is unreachable or not ours.
    """
    ring = keyring(settings)
    async with our_parts(settings, ring) as parts:
        yield sinks_of_all(settings, parts, ring)
