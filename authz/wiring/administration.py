"""Composition root of administration: builds the objects of the commands from the settings.

The sidecar has its own root in sidecar.py, so that no command imports the listeners.
"""

import secrets
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import BinaryIO, Final

from authz.core.admin_ports import ImportStore
from authz.core.decision import Decision
from authz.core.finding import Finding
from authz.core.keys.keyring import Keyring
from authz.core.limits.key_limits import LimitPolicy
from authz.core.request import Request
from authz.core.trail.checkpoints import restored
from authz.core.trail.rows import TrailKeys
from authz.flows.command_ports import KeyEditor
from authz.flows.deletion import Deletion
from authz.flows.editing import StoreEditor
from authz.flows.importing import Importer
from authz.flows.key_history import KeyHistory
from authz.flows.lifecycle import Lifecycle
from authz.flows.limits.limit_report import LimitReports
from authz.flows.selection import Selection
from authz.flows.verify import Verifier
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.backup import Backup, Contents
from authz.storage.deletions import StoredDeletions
from authz.storage.endpoint import Client, Endpoint
from authz.storage.imports import StoredImports
from authz.storage.inspection.checks import inspect
from authz.storage.inspection.store import Store
from authz.storage.keys import StoredKeys
from authz.storage.limits.stored_counters import StoredCounters
from authz.storage.listing import StoredIndex, StoredTrail
from authz.storage.meta import KnownPeppers
from authz.storage.registry import StoredSidecars
from authz.storage.restore import Restore, Restored
from authz.storage.sealed_lines import SealedWriter, read
from authz.storage.seals import StoreSeals
from authz.storage.sentinel import Sentinel
from authz.storage.tls import TlsFiles as StoreTls
from authz.storage.tombstones import Tombstone
from authz.storage.usage.erasing import StoredEraser
from authz.storage.verified_backup import verify
from authz.wiring.pepper_files import read_pepper

# Modes by which a pepper is exposed. Its group may read it: Kubernetes mounts secrets with 0440.
EXPOSED: Final = stat.S_IWGRP | stat.S_IRWXO


def keyring(settings: Settings) -> Keyring:
    """Read the pepper files and return the keyring.

    Raises BadInput for a pepper file that is missing, unreadable, writable by every user or too
    short.
    """
    peppers = [read_pepper(settings, at) for at in range(len(settings.keys.peppers))]
    keys = settings.keys
    return Keyring(keys.prefix, peppers, keys.older_prefixes, keys.imported_prefixes)


def exposed_peppers(settings: Settings) -> list[str]:
    """Return a line with the remedy for each pepper file that others may use; empty if none.

    Others: every user with any access, or its group with write access. A file that cannot be read
    is skipped.
    """
    found = []
    for entry in settings.keys.peppers:
        try:
            mode = stat.S_IMODE(entry.file.stat().st_mode)
        except OSError:  # `keyring` reports it
            continue
        if mode & EXPOSED:
            who = "every user" if mode & stat.S_IRWXO else "its group"
            verb = "write" if mode & stat.S_IWGRP else "read"
            problem = f"pepper file {entry.file}: {who} of this machine may {verb} it"
            found.append(f"{problem} (mode {mode:04o}); chmod 600 {entry.file}")
    return found


def endpoint(settings: Settings) -> Endpoint:
    """Return the endpoint of the store. Does not connect.

    The peppers are read when one of its clients reads or makes the first record: they seal records,
    and mark the entries of the audit trail. Raises BadInput for invalid redis settings.
    """
    store, tls, sentinel = settings.redis, settings.redis.tls, settings.redis.sentinel
    found = Endpoint.parse(
        store.url,
        store.username,
        store.password_file,
        tls=StoreTls(tls.ca, tls.cert, tls.key) if tls else None,
        sentinel=Sentinel(sentinel.hosts, sentinel.service) if sentinel else None,
        namespace=store.namespace,
    )
    ring = cache(lambda: keyring(settings))
    required = settings.keys.require_seals
    return replace(
        found,
        marks=lambda: ring().trail_keys,
        seals=lambda: store_seals(ring, is_required=required),
    )


def store_seals(ring: Callable[[], Keyring], *, is_required: bool) -> StoreSeals:
    """Return the seals of one client. ring: called at their first use."""
    return StoreSeals(lambda: (ring().record_seals, ring().entry_seals), is_required=is_required)


def limit_policy(settings: Settings) -> LimitPolicy:
    """Return the plans, pools and outage behaviour of limits."""
    pools = settings.pools
    return LimitPolicy(settings.plans, pools.projects, pools.tenants, settings.limits.on_outage)


@asynccontextmanager
async def store(settings: Settings) -> AsyncIterator[StoredKeys]:
    """Yield the key store, before its authz:meta is verified, and close its connections at the end.

    Raises BadInput for invalid redis settings, Unavailable for an unusable TLS or password file.
    """
    where = endpoint(settings)
    client = where.client()
    try:
        yield StoredKeys(client, has_replicas=where.has_replicas)
    finally:
        await client.aclose()


async def back_up(settings: Settings, file: BinaryIO) -> Contents:
    """Write all keys of the store to `file`, sealed with the newest pepper. Return the counts.

    Raises BadInput for unusable settings, Emptied or Foreign if the store is not ours, Unavailable,
    OSError.
    """
    ring, now = keyring(settings), SystemClock().wall_ms()
    writer = SealedWriter(file, ring.backup_keys[-1])
    async with aclosing(endpoint(settings).client()) as client:
        return await Backup(client, writer.write).run(ring.fingerprints, now)


async def restore(
    settings: Settings, file: BinaryIO, known: int, actor: str, later: BinaryIO | None = None
) -> Restored:
    """Verify a backup and write it into the empty store.

    known: a change that the store once had, or 0. file: must be seekable; it is read twice. actor:
    for the audit trail. later: a backup that was made later; keys that it knows as deleted are left
    out. Raises FileRefused for an unusable file, Foreign for other peppers, Conflict for a store
    with data, BadInput, Unavailable.
    """
    ring = keyring(settings)
    verified = verify(read(file, ring.backup_keys), ring.fingerprints, ring.record_seals)
    gone = frozenset[Tombstone]()
    if later is not None:
        gone = verify(read(later, ring.backup_keys), ring.fingerprints).gone
    file.seek(0)
    async with aclosing(endpoint(settings).client()) as client:
        highest = max(known, await StoredKeys(client).highest_seen())
        note = partial(_restored, ring.trail_keys, actor)
        lines = read(file, ring.backup_keys)
        seq = await Restore(client, note).run(verified, lines, highest, gone)
        return Restored(verified.contents, seq, highest, verified.bad_seals)


def _restored(
    trail: TrailKeys, actor: str, last: int, number: int, left_out: Mapping[str, bytes]
) -> dict[str, str]:
    return restored(
        trail,
        change_id=secrets.token_hex(16),
        writer=actor,
        at=SystemClock().wall_ms(),
        last=last,
        number=number,
        left_out=left_out,
    )


@asynccontextmanager
async def sidecar_registry(settings: Settings) -> AsyncIterator[StoredSidecars]:
    """Yield the registry of sidecars, and close its connection at the end.

    Raises BadInput, Unavailable.
    """
    client = endpoint(settings).client()
    try:
        yield StoredSidecars(client, settings.fleet.sidecars)
    finally:
        await client.aclose()


@asynccontextmanager
async def our_store(settings: Settings, ring: Keyring) -> AsyncIterator[tuple[Client, StoredKeys]]:
    """Yield a client of the store and its keys, once the store is found to be ours.

    Raises Unavailable if the store is unreachable, Emptied or Foreign if it is not ours.
    """
    where = endpoint(settings)
    async with aclosing(where.client()) as client:
        keys = StoredKeys(client, has_replicas=where.has_replicas)
        await keys.verify(ring.fingerprints, ring.prefixes)
        yield client, keys


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[Lifecycle]:
    """Yield a Lifecycle for commands that read or change one key, and close the client at the end.

    Raises BadInput for unusable settings, Unavailable if the store is unreachable, Emptied or
    Foreign if it is not ours.
    """
    ring = keyring(settings)
    async with our_store(settings, ring) as (client, keys):
        yield Lifecycle(keys, ring, SystemClock(), StoredCounters(client))


@asynccontextmanager
async def editor(settings: Settings) -> AsyncIterator[KeyEditor]:
    """Yield the editor of commands that make or change one key, and close its client at the end.

    Raises the errors of `administration`.
    """
    ring, clock = keyring(settings), SystemClock()
    async with our_store(settings, ring) as (client, keys):

        def deletion() -> Deletion:
            return Deletion(keys, StoredDeletions(client), StoredEraser(client), clock)

        lifecycle = Lifecycle(keys, ring, clock, StoredCounters(client))
        registry, trail = StoredSidecars(client, settings.fleet.sidecars), StoredTrail(client)
        yield StoreEditor(lifecycle, deletion, registry, trail, clock)


@asynccontextmanager
async def importing(settings: Settings, actor: str, note: str) -> AsyncIterator[Importer]:
    """Yield an Importer that notes `actor` and `note` in the audit trail.

    Raises the errors of `administration`.
    """
    ring = keyring(settings)
    async with our_store(settings, ring) as (client, _):
        index = StoredIndex(client)
        yield Importer(StoredImports(client), index, SystemClock(), actor, note)


@dataclass(frozen=True, slots=True)
class AdminSession:
    """The objects of commands that read many keys.

    read: parses a CheckRequest. write: writes a CheckResponse. imports: None if no keys were ever
    imported.
    """

    lifecycle: Lifecycle
    selection: Selection
    history: KeyHistory
    verifier: Verifier
    read: Callable[[bytes], Request]
    write: Callable[[Decision, Request], bytes]
    limit_reports: LimitReports
    imports: ImportStore | None


@asynccontextmanager
async def admin_session(settings: Settings) -> AsyncIterator[AdminSession]:
    """Yield an AdminSession, and close its client at the end.

    Raises the errors of `administration`.
    """
    from authz.wiring.extraction import (  # noqa: PLC0415  most commands need no protobuf
        extractor,
        responder,
    )

    clock, ring = SystemClock(), keyring(settings)
    reading = extractor(settings, ring)
    async with our_store(settings, ring) as (client, keys):
        peppers = KnownPeppers(await keys.peppers(), ring.fingerprints)
        imports = StoredImports(client) if await keys.has_imports() else None
        counters = StoredCounters(client)
        reports = LimitReports(counters, limit_policy(settings), clock)
        yield AdminSession(
            Lifecycle(keys, ring, clock, counters),
            Selection(StoredIndex(client), clock),
            KeyHistory(StoredTrail(client)),
            Verifier(keys, peppers, clock, reports, imports),
            reading.read,
            responder(settings, reading).write,
            reports,
            imports,
        )


@asynccontextmanager
async def inspection(settings: Settings) -> AsyncIterator[AsyncIterator[Finding]]:
    """Yield the findings about the store, each made when it is asked for.

    Raises BadInput for unusable settings, Unavailable for an unusable TLS or password file. An
    unreachable store is a finding.
    """
    ring, where, clock = keyring(settings), endpoint(settings), SystemClock()
    deadline, has_replicas = settings.check.deadline, where.has_replicas
    async with AsyncExitStack() as stack:
        client, anonymous = await stack.enter_async_context(aclosing(where.client())), None
        if where.login():
            nobody = replace(where, username="", password_file=None)
            anonymous = await stack.enter_async_context(aclosing(nobody.client()))
        about = (ring.fingerprints, deadline, clock.wall_ms, has_replicas, anonymous)
        fleet = settings.fleet.sidecars
        yield inspect(Store(client, *about, prefixes=ring.prefixes, sidecars=fleet))
