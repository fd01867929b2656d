"""Composition root of administration: builds the objects of the commands from the settings.

The sidecar has its own root in sidecar.py, so that no command imports the listeners.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from authz.core.errors import Foreign, Unavailable
from authz.core.keys.keyring import Keyring
from authz.core.partitions import Partitions
from authz.core.seals import AppliedSeals, EntrySeals, RecordSeals
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.endpoint import Client, Endpoint
from authz.storage.keys import StoredKeys
from authz.storage.meta import Emptied
from authz.storage.seals import StoreSeals
from authz.storage.signpost import Signpost, refuse_other_count
from authz.wiring.missing_parts import refuse_several
from authz.wiring.moved_parts import whole, with_move
from authz.wiring.pepper_files import read_pepper
from authz.wiring.store_parts import StoreParts

if TYPE_CHECKING:  # a command imports only what it uses
    from authz.core.abuse import AbuseControl
    from authz.core.admin_ports import SidecarRegistry
    from authz.core.limits.key_limits import LimitPolicy
    from authz.flows.command_ports import KeyEditor
    from authz.flows.delivered_rotation import DeliveredRotation
    from authz.flows.lifecycle import Lifecycle
    from authz.flows.rolling_back import RollingBack


def keyring(settings: Settings) -> Keyring:
    """Read the pepper files and return the keyring.

    Raises BadInput for a pepper file that is missing, unreadable, writable by every user or too
    short.
    """
    peppers = [read_pepper(settings, at) for at in range(len(settings.keys.peppers))]
    keys = settings.keys
    return Keyring(
        keys.prefix,
        peppers,
        keys.older_prefixes,
        keys.imported_prefixes,
        issuer=settings.tokens.issuer,
        public_prefix=keys.public_prefix,
        partitions=Partitions(settings.redis.count),
    )


def endpoint(settings: Settings) -> Endpoint:
    """Return the endpoint of a store with one partition, as `partitions` does.

    All work that does not know partitions begins here. Raises BadInput if there are several.
    """
    found = partitions(settings)
    if len(found) > 1:
        refuse_several(len(found))
    return found[0]


def partitions(settings: Settings) -> tuple[Endpoint, ...]:
    """Return the endpoint of each partition of the store. Does not connect.

    The peppers are read when one of its clients reads or makes the first record: they seal records,
    and mark the entries of the audit trail. Raises BadInput for invalid redis settings.
    """
    store, tls, sentinel = settings.redis, settings.redis.tls, settings.redis.sentinel
    files, monitors = None, None
    if tls:
        from authz.storage.tls import TlsFiles  # noqa: PLC0415

        files = TlsFiles(tls.ca, tls.cert, tls.key)
    if sentinel:
        from authz.storage.sentinel import Sentinel  # noqa: PLC0415

        monitors = Sentinel(sentinel.hosts, sentinel.service)
    found = Endpoint.parse(
        store.url,
        store.username,
        store.password_file,
        tls=files,
        sentinel=monitors,
        is_cluster=store.cluster,
        namespace=store.namespace,
        partitions=store.count,
    )
    ring = cache(lambda: keyring(settings))
    required = settings.keys.require_seals
    return replace(
        found,
        marks=lambda: ring().trail_keys,
        seals=lambda: store_seals(ring, is_required=required),
        sidecars=settings.fleet.sidecars,
    ).partitions()


def store_seals(ring: Callable[[], Keyring], *, is_required: bool) -> StoreSeals:
    """Return the seals of one client. ring: called at their first use."""

    def read() -> tuple[RecordSeals, EntrySeals, AppliedSeals]:
        found = ring()
        return found.record_seals, found.entry_seals, found.applied_seals

    return StoreSeals(read, is_required=is_required)


def limit_policy(settings: Settings) -> "LimitPolicy":
    """Return the plans, pools and outage behaviour of limits."""
    from authz.core.limits.key_limits import LimitPolicy  # noqa: PLC0415

    pools = settings.pools
    return LimitPolicy(settings.plans, pools.projects, pools.tenants, settings.limits.on_outage)


@asynccontextmanager
async def store(settings: Settings) -> AsyncIterator[StoredKeys]:
    """Yield the key store, before its authz:meta is verified, and close its connections at the end.

    Raises BadInput for invalid redis settings, Unavailable for an unusable TLS or password file.
    """
    endpoint(settings)
    async with stores(settings) as (keys,):
        yield keys


@asynccontextmanager
async def stores(settings: Settings) -> AsyncIterator[tuple[StoredKeys, ...]]:
    """Yield the key store of each partition, as `store` does."""
    async with all_parts(settings) as parts:
        yield parts.stores


@asynccontextmanager
async def signpost(settings: Settings) -> AsyncIterator[Signpost | None]:
    """Yield the signpost of a store with several partitions; None for a store with one.

    Raises BadInput, Unavailable.
    """
    where = partitions(settings)[0]
    if where.count == 1:
        yield None
        return
    async with aclosing(where.undivided().client()) as client:
        yield Signpost(client, where.count)


async def cluster_problems(settings: Settings) -> list[str]:
    """Return what the store's cluster lacks, each with its remedy; nothing for a single store.

    Raises BadInput for invalid redis settings, Unavailable if the cluster cannot be used.
    """
    where = partitions(settings)[0]
    if where.cluster is None:
        return []
    from authz.storage.inspection.cluster import cluster_problems as find  # noqa: PLC0415

    async with aclosing(where.client()) as client:
        return await find(client)


@asynccontextmanager
async def sidecar_registry(settings: Settings) -> AsyncIterator["SidecarRegistry"]:
    """Yield the registry of sidecars, and close its connections at the end.

    Raises BadInput, Unavailable; Foreign if the store has another number of partitions.
    """
    await refuse_other_count(partitions(settings)[0])
    async with all_parts(settings) as parts:
        yield parts.registry


@asynccontextmanager
async def abuse_control(settings: Settings) -> AsyncIterator["AbuseControl"]:
    """Yield the control of blocked clients, and close its connection at the end.

    Raises BadInput, Unavailable; Foreign if the store has another number of partitions.
    """
    from authz.flows.blocked_clients import BlockedClients  # noqa: PLC0415
    from authz.storage.abuse import StoredAbuse  # noqa: PLC0415
    from authz.storage.trail import StoredRows  # noqa: PLC0415

    where, clock = partitions(settings)[0], SystemClock()  # addresses belong to no key
    await refuse_other_count(where)
    async with aclosing(where.client()) as client:
        rows = StoredRows(client, has_replicas=where.has_replicas)
        yield BlockedClients(StoredAbuse(client, clock), rows, clock)


@asynccontextmanager
async def all_parts(settings: Settings) -> AsyncIterator[StoreParts]:
    """Yield the partitions, which may not be ours, and close their clients at the end."""
    async with AsyncExitStack() as stack:
        clients, keys = [], []
        for where in partitions(settings):
            client = await stack.enter_async_context(aclosing(where.client()))
            clients.append(client)
            keys.append(StoredKeys(client, has_replicas=where.has_replicas))
        count = Partitions(settings.redis.count)
        parts = StoreParts(count, tuple(clients), tuple(keys), {})
        yield with_move(parts, settings, stack)


@asynccontextmanager
async def our_parts(
    settings: Settings, ring: Keyring, *, reads: bool = False
) -> AsyncIterator[StoreParts]:
    """Yield the partitions of the store, once each is found to be ours.

    Of several partitions some may be unreachable: work on their keys raises Unavailable then.
    Raises Unavailable if none is reachable, Emptied or Foreign if one is not ours. reads: nothing
    is changed, so after a move it is also raised at the end: see `whole`.
    """
    wanted = (ring.fingerprints, ring.read_prefixes)
    async with all_parts(settings) as parts:
        looks = (store.verify(*wanted) for store in parts.stores)
        missing: dict[int, Unavailable] = {}
        for at, problem in enumerate(await asyncio.gather(*looks, return_exceptions=True)):
            if isinstance(problem, Unavailable) and not isinstance(problem, Emptied | Foreign):
                missing[at] = problem
            elif isinstance(problem, Emptied) and parts.partitions.count > 1:
                await refuse_other_count(partitions(settings)[0])
                problem.args = (f"partition {at}: {problem}",)
                raise problem
            elif isinstance(problem, BaseException):
                raise problem
        if len(missing) == len(parts.stores):
            raise missing[0]
        async with whole(parts, reads=reads):
            yield replace(parts, missing=missing)


@asynccontextmanager
async def our_store(settings: Settings, ring: Keyring) -> AsyncIterator[tuple[Client, StoredKeys]]:
    """Yield a client of a store with one partition and its keys, as `our_parts` does.

    Raises BadInput if there are several.
    """
    endpoint(settings)
    async with our_parts(settings, ring) as parts:
        yield parts.only, parts.stores[0]


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator["Lifecycle"]:
    """Yield a Lifecycle for commands that read or change one key, and close the client at the end.

    Raises BadInput for unusable settings, and as `our_parts`.
    """
    from authz.flows.lifecycle import Lifecycle  # noqa: PLC0415

    ring = keyring(settings)
    async with our_parts(settings, ring) as parts:
        yield Lifecycle(parts.keys, ring, SystemClock(), lambda: parts.counters)


@asynccontextmanager
async def editor(settings: Settings) -> AsyncIterator["KeyEditor"]:
    """Yield the editor of commands that make or change one key, and close its client at the end.

    Raises the errors of `administration`.
    """
    from authz.flows.editing import StoreEditor  # noqa: PLC0415
    from authz.flows.lifecycle import Lifecycle  # noqa: PLC0415
    from authz.flows.limits.refunds import Refunding  # noqa: PLC0415

    ring, clock = keyring(settings), SystemClock()
    async with our_parts(settings, ring) as parts:
        lifecycle = Lifecycle(parts.keys, ring, clock, lambda: parts.counters)

        def refunding() -> Refunding:
            return Refunding(lifecycle, parts.counters, clock)

        def delivering(target: str) -> "DeliveredRotation":
            from authz.wiring.deliveries import delivered_rotation  # noqa: PLC0415

            return delivered_rotation(settings, parts, lifecycle, ring, clock, only=target)

        def rolling_back() -> "RollingBack":
            from authz.flows.rolling_back import RollingBack  # noqa: PLC0415

            return RollingBack(lifecycle, parts.history, parts.pending_deliveries)

        yield StoreEditor(
            *(lifecycle, lambda: parts.deletion, lambda: parts.wait),
            refunding=refunding,
            delivering=delivering,
            rolling_back=rolling_back,
        )
