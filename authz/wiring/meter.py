"""Composition root of the meter: it builds the components, starts them and stops them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from authz import __version__
from authz.console.operations import OperationsServer
from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.core.ports import Clock
from authz.core.usage.counts import Level
from authz.core.usage.entry import EntryReader
from authz.flows.usage.batches import Deferred
from authz.flows.usage.meter import Meter
from authz.flows.usage.partitioned_meter import PartitionedMeter
from authz.process.clock import SystemClock
from authz.process.listener import ConnectionLimits, TlsFiles
from authz.process.usage_file import UsageFile
from authz.rpc.h2.server import FastServer
from authz.rpc.usage.logs import LogsHandler
from authz.settings.model import Settings
from authz.storage.usage.known_store import KnownStore
from authz.storage.usage.usage_link import UsageLink
from authz.telemetry.meter_counters import MeterCounters
from authz.wiring.administration import partitions
from authz.wiring.meter_metrics import meter_metrics

log = logging.getLogger("authz")

STOP_SECONDS: Final = 1.0  # for the answers to the last batches
CALLERS_KEPT: Final = 35 * 86_400  # seconds
MIN_TOKEN: Final = 16  # characters

Tail = tuple[Path, Path]
AnyMeter = Meter | PartitionedMeter


class MeterReadiness:
    """Whether this meter takes batches: it has the store, and is not stopping.

    It is ready while one of several partitions is there. Parts of batches for the others wait.
    """

    def __init__(self, links: Sequence[UsageLink], meter: AnyMeter) -> None:
        self._links = links
        self._meter = meter

    def __call__(self) -> bool:
        """Return whether the meter takes batches now."""
        return not self._meter.leaving and not all(link.reason for link in self._links)

    def report(self) -> tuple[bool, dict[str, object]]:
        """Return the readiness, and by component its state as JSON members."""
        meter = self._meter
        return self(), {
            "process": {"ready": not meter.leaving, "reason": meter.leaving},
            "store": self._store(),
            "batches": {"waiting": meter.waiting, "lag": round(meter.lag, 3)},
        }

    def _store(self) -> dict[str, object]:
        if len(self._links) == 1:
            reason = self._links[0].reason
            return {"ready": not reason, "reason": reason}
        missing = {at: link.reason for at, link in enumerate(self._links) if link.reason}
        is_ready = len(missing) < len(self._links)
        reason = "" if is_ready else "no partition can be used"
        return {"ready": is_ready, "reason": reason, "partitions": len(self._links)} | (
            {"missing": {str(at): why for at, why in missing.items()}} if missing else {}
        )


@dataclass(slots=True)
class RunningMeter:
    """A running meter.

    listen, operations: the addresses in use. following: follows a log; it ends only by a fault.
    drain_seconds: how long it commits at its end what it has taken.
    """

    listen: Address
    operations: Address
    meter: AnyMeter
    readiness: MeterReadiness
    counters: MeterCounters
    drain_seconds: float
    following: asyncio.Task[None] | None = None


@asynccontextmanager
async def meter_process(
    settings: Settings, tail: Tail | None = None
) -> AsyncIterator[RunningMeter]:
    """Run a meter until the block ends. It starts with or without the store.

    tail: the log of usage to follow, and its cursor file.
    At the end it takes no more batches, and commits and confirms those that it has, for at most
    `meter.drain`. Raises BadInput for unusable settings.
    """
    ours, clock, counters = settings.meter, SystemClock(), MeterCounters()
    callers_kept = CALLERS_KEPT if settings.anomalies.enabled else 0
    known = KnownStore(ours.pepper_fingerprint)  # all partitions have the same peppers
    links = [
        UsageLink(where, clock, kept(settings), callers_kept=callers_kept, known=known)
        for where in partitions(settings)
    ]
    meter = meter_of(settings, links, clock, counters)
    server = listener(settings, LogsHandler(meter.take, counters), counters)
    readiness = MeterReadiness(links, meter)
    page = meter_metrics(settings, counters, meter, readiness, clock)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, 0)
        operations = OperationsServer(
            ours.ops_listen, __version__, ours.socket_mode, setting="meter.ops_listen"
        )
        stack.push_async_callback(operations.stop)
        operations.report(readiness.report)
        if page:
            operations.publish(page.page)
            stack.push_async_callback(asyncio.to_thread, page.stop)
        await operations.start()
        await server.start()
        tasks = [
            *(asyncio.create_task(link.run()) for link in links),
            asyncio.create_task(meter.run()),
            asyncio.create_task(server.show(readiness)),
        ]
        following = None
        if tail:
            log_file = UsageFile(*tail, partial(deliver, meter))
            following = asyncio.create_task(log_file.run())
            tasks.append(following)
        running = RunningMeter(
            *(server.address, operations.address, meter, readiness, counters),
            drain_seconds=ours.drain,
            following=following,
        )
        try:
            yield running
        finally:
            if not await meter.drain(running.drain_seconds):
                log.warning("%d batches are not confirmed; Envoy sends them again", meter.waiting)
            await server.stop(STOP_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def meter_of(
    settings: Settings, links: Sequence[UsageLink], clock: Clock, counters: MeterCounters
) -> AnyMeter:
    """Return the meter over the links of all partitions."""
    max_bytes, period = settings.meter.max_waiting_mib << 20, settings.meter.commit_interval
    reader = EntryReader()
    meters = [
        Meter(link, clock, counters, max_bytes=max_bytes, period=period, reader=reader)
        for link in links
    ]
    if len(meters) == 1:
        return meters[0]
    return PartitionedMeter(meters, counters, max_bytes=max_bytes)


async def deliver(meter: AnyMeter, name: bytes, lines: Sequence[bytes]) -> bool:
    """Hand a batch of a followed log to the meter until it is confirmed.

    Return False if it waited too long for the store: it is not counted then.
    """
    while isinstance(taken := meter.take(name, lines), Deferred):  # noqa: ASYNC110  it says when
        await asyncio.sleep(taken.seconds)
    return await taken


def kept(settings: Settings) -> dict[Level, int]:
    """Return the seconds for which rows are kept, by level."""
    found = settings.meter.retention
    return {
        Level.MINUTE: round(found.minutes),
        Level.HOUR: round(found.hours),
        Level.DAY: round(found.days),
        Level.MONTH: round(found.months),
    }


def listener(settings: Settings, handler: LogsHandler, counters: MeterCounters) -> FastServer:
    """Return the listener for log entries, bound but not yet started.

    Raises BadInput if other machines could connect in the clear or without proof that they may.
    """
    ours, tls = settings.meter, settings.meter.tls
    tokens = read_tokens(settings)
    if not ours.listen.is_local:
        if tls is None and not ours.allow_plaintext:
            problem = "set meter.tls, or meter.allow_plaintext: true behind a mesh that encrypts"
            raise BadInput(
                "meter.listen", f"{ours.listen} would take usage in the clear; {problem}"
            )
        if not tokens and (tls is None or tls.client_ca is None):
            problem = "set meter.token_file, or meter.tls.client_ca"
            raise BadInput(
                "meter.listen", f"any machine could send usage to {ours.listen}; {problem}"
            )
    return FastServer(
        None,
        ours.listen,
        probe=counters.transport,
        limits=ConnectionLimits(message_bytes=ours.max_message_bytes),
        tls=TlsFiles(tls.cert, tls.key, tls.client_ca) if tls else None,
        allow_plaintext=True,  # judged above
        socket_mode=ours.socket_mode,
        setting="meter.listen",
        methods=handler.methods,
        tokens=tokens,
    )


def read_tokens(settings: Settings) -> tuple[bytes, ...]:
    """Return the tokens of `meter.token_file`, one a line; any of them is accepted.

    Raises BadInput if the file cannot be read, has none, or has one that is short or no ASCII text.
    """
    file = settings.meter.token_file
    if file is None:
        return ()
    try:
        tokens = tuple(file.read_bytes().split())
    except OSError as cause:
        raise BadInput("meter.token_file", f"{file}: {cause.strerror}") from None
    if not tokens or not all(len(one) >= MIN_TOKEN and one.isascii() for one in tokens):
        problem = f"needs a token of at least {MIN_TOKEN} ASCII characters in each line"
        raise BadInput("meter.token_file", f"{file}: {problem}; openssl rand -hex 32 makes one")
    return tokens
