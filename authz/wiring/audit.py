"""Composition root of the audit trail: sealing, verification, lists and copies."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from authz.core.errors import Unavailable
from authz.core.trail import documents
from authz.core.trail.rows import TrailKeys
from authz.core.web_address import check_url
from authz.flows.command_ports import TrailReader
from authz.flows.partitioned.held_kids import HeldKids
from authz.flows.partitioned.trail import PartitionedListing, PartitionedSealer
from authz.flows.trail.listing import TrailListing
from authz.flows.trail.sealing import Sealer, TrailSealer
from authz.flows.trail.shipping import TrailSink
from authz.process.clock import SystemClock
from authz.process.trail_sinks import FileSink, WebSink
from authz.process.web_client import WebClient
from authz.settings.model import Settings
from authz.storage.trail import StoredRows, entry_of
from authz.wiring.administration import keyring, our_parts, partitions
from authz.wiring.store_parts import StoreParts


@dataclass(frozen=True, slots=True)
class Trail:
    """The audit trail of one partition.

    highest_seen: number of the latest change that a live sidecar has applied, or 0. partition: None
    if there is only one; held, too.
    """

    rows: StoredRows
    highest_seen: int
    partition: int | None
    held: HeldKids | None = None


@dataclass(frozen=True, slots=True)
class AuditSession:
    """The objects of the audit commands. trails: one of each partition."""

    trails: tuple[Trail, ...]
    keys: TrailKeys
    listing: TrailReader
    sealer: TrailSealer


@asynccontextmanager
async def audit_session(settings: Settings) -> AsyncIterator[AuditSession]:
    """Yield an AuditSession, and close its client at the end.

    Raises BadInput for unusable settings, Unavailable if the store is unreachable, Emptied or
    Foreign if it is not ours.
    """
    ring, clock = keyring(settings), SystemClock()
    has_replicas = partitions(settings)[0].has_replicas
    async with our_parts(settings, ring, reads=True) as parts:
        if parts.missing:  # each part of the trail is needed
            at, cause = next(iter(parts.missing.items()))
            raise Unavailable(f"partition {at}: {cause}") from None
        found = [StoredRows(client, has_replicas=has_replicas) for client in parts.clients]
        listings = [TrailListing(rows, parts.index, entry_of, clock) for rows in found]
        sealers = [Sealer(rows, ring.trail_keys, clock, socket.gethostname()) for rows in found]
        trails = [
            Trail(rows, await store.highest_seen(), *_which(parts, at))
            for at, (rows, store) in enumerate(zip(found, parts.stores, strict=True))
        ]
        listing = parts.joined(listings, PartitionedListing)
        sealer = parts.joined(sealers, PartitionedSealer)
        yield AuditSession(tuple(trails), ring.trail_keys, listing, sealer)


def _which(parts: StoreParts, at: int) -> tuple[int | None, HeldKids | None]:
    return (at, HeldKids(parts.places, at)) if parts.partitions.count > 1 else (None, None)


@asynccontextmanager
async def trail_reader(settings: Settings) -> AsyncIterator[TrailReader]:
    """Yield the list of events alone. Raises the errors of `audit_session`."""
    async with audit_session(settings) as session:
        yield session.listing


def trail_keys(settings: Settings) -> TrailKeys:
    """Return the keys of marks. Raises BadInput for unusable pepper files."""
    return keyring(settings).trail_keys


def file_sink(path: Path) -> TrailSink:
    """Return a sink that appends JSON Lines to a file."""
    return FileSink(path)


def web_sink(url: str, headers: dict[str, str], ca: Path | None) -> TrailSink:
    """Return a sink that posts JSON Lines to a URL. Raises BadInput for plain http."""
    kind = {"Content-Type": "application/x-ndjson"}
    return WebSink(WebClient(ca), check_url("--to", url), documents.lines, kind | headers)


def otlp_sink(url: str, headers: dict[str, str], ca: Path | None) -> TrailSink:
    """Return a sink that posts OTLP logs in JSON. url: of the receiver, without `/v1/logs`.

    Raises BadInput for plain http.
    """
    kind = {"Content-Type": "application/json"}
    logs = f"{check_url('telemetry.otlp.endpoint', url).rstrip('/')}/v1/logs"
    return WebSink(WebClient(ca), logs, documents.otlp, kind | headers)
