"""Composition root of events: their receivers, and their delivery."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

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
from authz.wiring.administration import endpoint, keyring, our_store

ALERTS_PATH: Final = "/api/v2/alerts"

Work = Callable[[], Coroutine[None, None, None]]


def event_works(
    settings: Settings,
    client: Client,
    ring: Keyring,
    clock: Clock,
    *,
    instance: str,
    is_ours: Callable[[], bool],
    counts: EventCounts,
) -> list[Work]:
    """Return the endless works of events: to deliver them, and to note expiries and reminders.

    Empty without sinks. Raises BadInput if the secret file of a webhook cannot be used.
    """
    rows = StoredRows(client, has_replicas=endpoint(settings).has_replicas)
    places = Places(
        rows,
        Derivation(rows, ring.trail_keys, StoredIndex(client), entry_of),
        StoredNotifications(client),
        StoredLetters(client),
        StoredReplays(client),
    )
    deliveries = [
        Delivery(name, sink.wants, receiver(settings, sink, clock), places, clock, counts=counts)
        for name, sink in settings.events.sinks.items()
    ]
    if not deliveries:
        return []
    delivery = RegularDelivery(deliveries, StoredNotifications(client), instance, is_ours)
    watch = ExpiryWatch(rows, ring.trail_keys, clock, instance)
    works: list[Work] = [delivery.run, partial(EXPIRIES.run, watch.look, is_ours)]
    policies = settings.rotation.policies()
    if policies != RotationPolicies():
        records = partial(all_records, Selection(StoredIndex(client), clock))
        reminders = ReminderWatch(
            *(rows, ring.trail_keys, records, policies), clock=clock, writer=instance
        )
        works.append(partial(watch_rotations, reminders, is_ours))
    return works


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
    return Messages(client, f"{sink.url.rstrip('/')}{ALERTS_PATH}", bodies.alert)


def event_sinks(settings: Settings, client: Client, ring: Keyring) -> StoredSinks:
    """Return the events, and the state of the sinks of the settings."""
    rows = StoredRows(client, has_replicas=endpoint(settings).has_replicas)
    return StoredSinks(
        {name: SinkFacts(one.kind, one.types) for name, one in settings.events.sinks.items()},
        settings.events.source,
        Derivation(rows, ring.trail_keys, StoredIndex(client), entry_of),
        progress=StoredNotifications(client),
        letters=StoredLetters(client),
        replays=StoredReplays(client),
        notes=rows,
        clock=SystemClock(),
    )


@asynccontextmanager
async def event_session(settings: Settings) -> AsyncIterator[EventSinks]:
    """Yield the events and sinks of commands, and close the client at the end.

    Raises BadInput for unusable settings, Unavailable if the store is unreachable or not ours.
    """
    ring = keyring(settings)
    async with our_store(settings, ring) as (client, _):
        yield event_sinks(settings, client, ring)
