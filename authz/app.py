"""Composition root: the only place that names concrete classes and sees the settings."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass

import uvloop

from authz import __version__
from authz.clock import SystemClock
from authz.config import Settings
from authz.console.operations import OperationsServer
from authz.core.errors import BadInput
from authz.core.keys import Keyring, Pepper
from authz.core.ports import Probe
from authz.core.routes import Facts, RouteTable, Rule
from authz.flows.check import Checker
from authz.flows.imported import ImportedKeys
from authz.flows.importing import Importer
from authz.flows.keycache import KeyCache
from authz.flows.lifecycle import Lifecycle
from authz.rpc.check import CheckDoor
from authz.rpc.extract import Extractor
from authz.rpc.grpcio import GrpcServer, credentials
from authz.rpc.respond import Responder
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.imports import LinkedAliases, StoredImports
from authz.storage.keys import LinkedKeys, StoredKeys
from authz.telemetry import Counters, log_to_stderr

log = logging.getLogger("authz")

DRAIN_SECONDS = 2.0


def keyring(settings: Settings) -> Keyring:
    """The prefix and the peppers. Raises BadInput when a pepper file cannot be read."""
    peppers = []
    for entry in settings.keys.peppers:
        try:
            secret = entry.file.read_bytes().strip()
        except OSError as cause:
            hint = "; `authz init` makes it" if isinstance(cause, FileNotFoundError) else ""
            raise BadInput("keys.peppers", f"{entry.file}: {cause.strerror}{hint}") from None
        peppers.append(Pepper.expand(entry.version, secret))
    return Keyring(settings.keys.prefix, peppers)


def endpoint(settings: Settings) -> Endpoint:
    """Where the store is. Raises BadInput."""
    store = settings.redis
    return Endpoint.parse(store.url, store.username, store.password_file)


@asynccontextmanager
async def store(settings: Settings) -> AsyncIterator[StoredKeys]:
    """The store for administration, as it is: not yet known to be ours."""
    client = endpoint(settings).client()
    try:
        yield StoredKeys(client)
    finally:
        await client.aclose()


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[Lifecycle]:
    """What the commands that look at keys or change them work with.

    Raises BadInput for unusable settings, Unavailable when the store is not there or not ours.
    """
    ring = keyring(settings)
    async with store(settings) as keys:
        await keys.verify(ring.fingerprints)
        yield Lifecycle(keys, ring, SystemClock())


@asynccontextmanager
async def imports(settings: Settings, actor: str, note: str) -> AsyncIterator[Importer]:
    """What imports keys. Raises what `administration` does."""
    ring = keyring(settings)
    client = endpoint(settings).client()
    try:
        await StoredKeys(client).verify(ring.fingerprints)
        yield Importer(StoredImports(client), SystemClock(), actor, note)
    finally:
        await client.aclose()


@dataclass(slots=True)
class Sidecar:
    """A running sidecar."""

    server: GrpcServer
    operations: OperationsServer
    counters: Counters
    feed: ChangeFeed
    cache: KeyCache

    def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether it should be asked, and its components with the reasons."""
        store = self.feed.health()
        return store.trusted, {"store": asdict(store), "cache": {"entries": len(self.cache)}}


def route_table(settings: Settings) -> RouteTable | None:
    """The rules of `routes`, or None when there is nothing to look up."""
    deny_unmatched = settings.routes_default == "deny"
    if not settings.routes and not deny_unmatched:
        return None
    rules = []
    for given in settings.routes:
        scopes = None if given.scopes is None else frozenset(given.scopes.split())
        optional = None if given.auth is None else given.auth == "optional"
        facts = Facts(scopes, optional, given.env)
        rules.append(Rule.parse("routes", given.path, given.host, given.methods, facts))
    return RouteTable(rules, deny_unmatched=deny_unmatched)


def check_door(settings: Settings, ring: Keyring, checker: Checker, probe: Probe) -> CheckDoor:
    """Bytes to bytes: how a CheckRequest is read, decided and answered."""
    carriers, query = settings.extract.headers, settings.extract.query
    source = settings.extract.client_address
    extractor = Extractor(
        ring,
        carriers=carriers,
        query=query,
        address_header="" if source == "peer" else source,
        env=settings.check.env,
        rules=route_table(settings),
    )
    responder = Responder(
        header_prefix=settings.identity.header_prefix,
        removed_headers=[c.removesuffix(":") for c in carriers if c.endswith(":")],
        query=query,
    )
    return CheckDoor(extractor, checker, responder, probe)


@asynccontextmanager
async def sidecar(settings: Settings) -> AsyncIterator[Sidecar]:
    """Start a sidecar, whether the store is there or not, and stop it on the way out.

    Raises BadInput for settings that cannot be used, such as a port that is taken.
    """
    clock, counters, ring = SystemClock(), Counters(), keyring(settings)
    remember, check, tls = settings.cache, settings.check, settings.check.tls
    feed = ChangeFeed(
        endpoint(settings),
        clock,
        counters,
        lease=remember.trust_lease,
        fingerprints=ring.fingerprints,
    )
    cache = KeyCache(
        LinkedKeys(feed, counters),
        clock,
        counters,
        ttl=remember.ttl,
        negative_ttl=remember.negative_ttl,
        max_entries=remember.max_entries,
        max_negatives=remember.max_negatives,
        deadline=check.deadline,
    )
    imported = ImportedKeys(
        LinkedAliases(feed),
        cache,
        clock,
        counters,
        rate=settings.keys.import_lookups,
        negative_ttl=remember.negative_ttl,
        max_entries=remember.max_entries,
        max_negatives=remember.max_negatives,
        deadline=check.deadline,
    )
    server = GrpcServer(
        check_door(settings, ring, Checker(cache, feed, clock, counters, imported), counters),
        check.listen,
        tls=credentials(tls.cert, tls.key, tls.client_ca) if tls else None,
        allow_plaintext=check.allow_plaintext,
        socket_mode=check.socket_mode,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, DRAIN_SECONDS)
        operations = OperationsServer(settings.ops.listen, __version__)
        stack.push_async_callback(operations.stop)
        running = Sidecar(server, operations, counters, feed, cache)
        operations.ask(running.readiness)
        await server.start()
        await operations.start()
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(feed.run(imported)),
                tasks.create_task(server.show(lambda: feed.health().trusted)),
            ]
            try:
                yield running
            finally:
                for task in work:
                    task.cancel()


def serve(settings: Settings) -> None:
    """Run a sidecar until SIGTERM or SIGINT. Raises BadInput when it cannot start."""
    log_to_stderr(settings.log.level)
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with sidecar(settings) as running:
        log.info(
            "serving Check on %s, operations on %s, store %s",
            running.server.address,
            running.operations.address,
            endpoint(settings),
        )
        await stop.wait()
        log.info("stopping")
