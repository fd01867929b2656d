"""The cost of usage: `python -m tests.bench.usage`.

Entries parsed and added up in this process; entries over the listener of a meter process; the time
that the store takes for one key of a commit, and the bytes that it keeps for a key; the top keys of
a month.
"""

import argparse
import asyncio
import gc
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import grpc
import grpc.aio
import uvloop

from authz.core.listen_address import Address
from authz.core.usage.counts import MINUTE_MS, Level
from authz.core.usage.entry import EntryReader
from authz.core.usage.ports import Counted
from authz.core.usage.question import By, TopBy, span
from authz.core.usage.tally import Clocks, Tally
from authz.flows.usage.meter import MAX_ROWS
from authz.rpc.pb.usage.v1.otlp_logs_pb2 import ExportLogsServiceRequest
from authz.rpc.usage.logs import PATH
from authz.storage.usage.usage_link import UsageLink
from authz.wiring.store_parts import StoreParts
from authz.wiring.usage_readers import usage_reading
from tests.bench.figures import number, offer_record, record
from tests.bench.processor_time import processor_seconds, thread_seconds
from tests.bench.usage_entries import FOLDED, batches, entry, history, kid_of
from tests.support.metering import MeterProcess
from tests.support.real import RealClock, Valkey, eventually
from tests.support.storage import stored
from tests.support.usage_counting import linked

AT_ONCE = 64  # batches
COMMITS = 4  # at once
PATIENCE = 120.0  # seconds for a reply: the machine may be busy
HOUR = 3_600_000
ACTIVE = 100_000  # keys
RATE = 10_000  # requests a second
CALLERS_KEPT = 35 * 86_400  # as the meter keeps them for the judgement of hours
KEPT = {
    Level.MINUTE: 7200,
    Level.HOUR: 35 * 86_400,
    Level.DAY: 395 * 86_400,
    Level.MONTH: 1830 * 86_400,
}
PARTS, PART_MS = 6, 10_000  # of a minute in which the store is measured


def in_process(seconds: float, keys: int = 1000) -> float:
    """Return entries a second: decoded, checked and added up, as one core does. The best round."""
    messages, best = batches(30_000, keys), 0.0
    reader, clocks = EntryReader(), Clocks.near(time.time_ns() // 1_000_000, HOUR, HOUR)
    gc.collect()
    gc.freeze()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began, tally = time.process_time(), Tally(reader)
        for raw in messages:
            message = ExportLogsServiceRequest.FromString(raw)
            tally.add(
                [
                    each.body.string_value
                    for resource in message.resource_logs
                    for scope in resource.scope_logs
                    for each in scope.log_records
                ]
            )
        best = max(best, 30_000 / (time.process_time() - began))
        assert not tally.refused
        assert tally.commit(clocks).entries == 30_000
    return best


async def send(address: Address, messages: list[bytes]) -> None:
    """Send all messages, and wait until each is confirmed."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(str(address), options) as channel:
        call, room = channel.unary_unary(PATH.decode()), asyncio.Semaphore(AT_ONCE)

        async def one(raw: bytes) -> None:
            async with room:
                await call(raw, timeout=30, wait_for_ready=True)

        await asyncio.gather(*map(one, messages))


async def over_the_listener(valkey: Valkey, entries: int, keys: int) -> float:
    """Return entries for each second of processor time of a meter process, store included."""
    with (
        tempfile.TemporaryDirectory() as directory,
        MeterProcess(Path(directory), valkey.url) as meter,
    ):
        await eventually(meter.is_ready, 100)
        await send(meter.listen, batches(3000, keys))  # what is only done once
        began = processor_seconds(meter.pid)
        await send(meter.listen, batches(entries, keys, seed=2))
        return entries / (processor_seconds(meter.pid) - began)


async def in_the_store(valkey: Valkey, keys: int, days: int, hours: int) -> dict[str, float]:
    """Use each key in some hours of some days. Return the bytes of the store."""
    rnd, last = random.Random(1), 0
    async with emptied(valkey) as link:
        now = RealClock().wall_ms()
        for day in reversed(range(days)):
            for hour in reversed(range(hours)):
                ended = now - day * 24 * HOUR - hour * HOUR
                for start in range(0, keys, 100):
                    used = range(start, min(start + 100, keys))
                    lines = [
                        entry(last + n, used[n // 10], ended, rnd) for n in range(10 * len(used))
                    ]
                    last += len(lines)
                    await add(link, lines, now)
    kids = [kid_of(number) for number in range(0, keys, max(1, keys // 20))]

    def size(pattern: str) -> float:
        return size_of_keys(valkey, kids, pattern)

    of_key = size("*") + 76  # and its place in the sorted set of latest uses
    return {
        "usage.bytes.open": size(":o"),
        "usage.bytes.hour": size(":ph") / (days * hours),
        "usage.bytes.day": size(":pd") / days,
        "usage.bytes.month": size("") / 2,
        "usage.bytes.key": of_key,
        "usage.bytes.active": of_key * ACTIVE / 1e6,
    }


def size_of_keys(valkey: Valkey, kids: list[str], pattern: str) -> float:
    """Return the mean bytes of a key in the names that begin with its name and match a pattern."""
    admin, base = valkey.admin, stored.DEFAULT.usage
    sizes = [sum(map(admin.memory_usage, admin.keys(f"{base}{kid}{pattern}"))) for kid in kids]
    return statistics.mean(sizes)


async def time_of_the_store(valkey: Valkey, keys: int) -> dict[str, float]:
    """Use each key once in 10 s, in any order, for a minute. Return the store's time, and bytes.

    10,000 requests a second over 100,000 keys that are all in use are the worst case: nearly each
    request is the only one of its key in its commit. Before that minute each key gets a history,
    and then open usage of some minutes, of each key another number. So in this minute as many
    keys are folded as in any other one.
    """
    rnd, order = random.Random(1), list(range(keys))
    async with emptied(valkey) as link:
        now = RealClock().wall_ms()
        minute = now // MINUTE_MS - 1
        minute -= minute % 60 == 0  # the first request of an hour costs more

        async def seed(start: int) -> None:
            used = range(start, min(start + MAX_ROWS, keys))
            for ends, is_open in ((minute - FOLDED, False), (minute, True)):
                commit = history(used, ends, rnd, is_open=is_open)
                assert await link.commit(commit, [], RealClock().wall_ms()) == Counted()

        async def use(part: int, start: int) -> None:
            ended = minute * MINUTE_MS + part * PART_MS + start * PART_MS // keys
            used = enumerate(order[start : start + MAX_ROWS], part * keys + start + 1)
            await add(link, [entry(n, key, ended, rnd) for n, key in used], now)

        await of_all(seed, keys)
        sample = [kid_of(number) for number in range(0, keys, max(1, keys // 20))]
        size = size_of_keys(valkey, sample, ":pm")
        times = []
        for part in range(PARTS):
            rnd.shuffle(order)
            before = thread_seconds(valkey.pid)
            await of_all(partial(use, part), keys)
            times.append((thread_seconds(valkey.pid) - before) / keys)
    return {
        "usage.store.key": statistics.mean(times) * 1e6,
        "usage.store.share": statistics.mean(times) * RATE * 100,
        "usage.bytes.minute": size / FOLDED,
    }


async def of_all(call: Callable[[int], Awaitable[None]], keys: int) -> None:
    """Call with the first key of each commit, COMMITS at once: neither side waits for the other."""
    starts = range(0, keys, MAX_ROWS)
    for at in range(0, len(starts), COMMITS):
        await asyncio.gather(*map(call, starts[at : at + COMMITS]))


def emptied(valkey: Valkey) -> AbstractAsyncContextManager[UsageLink]:
    """Empty a store and return a link to it."""
    valkey.admin.flushall()
    return linked(valkey, KEPT, callers_kept=CALLERS_KEPT, deadline=PATIENCE)


async def add(link: UsageLink, lines: list[bytes], now: int) -> None:
    """Commit these entries."""
    tally = Tally(EntryReader())
    tally.add(lines)
    commit = tally.commit(Clocks.near(now, 100 * 24 * HOUR, HOUR))
    assert await link.commit(commit, [lines[0]], RealClock().wall_ms()) == Counted()


async def top_of_a_month(valkey: Valkey, keys: int, limit: int = 100) -> dict[str, float]:
    """Use so many keys this month. Return the time of one key's month and of the top ones, in ms.

    The time is that of a whole command in this process, from its connection to its answer.
    """
    rnd, last = random.Random(1), 0
    async with emptied(valkey) as link:
        now = RealClock().wall_ms()
        for start in range(0, keys, 500):
            lines: list[bytes] = []
            for kid in range(start, min(start + 500, keys)):
                times = 1 + int(rnd.paretovariate(1.2)) % 50
                lines += [entry(last + n + 1, kid, now, rnd) for n in range(times)]
                last += times
            await add(link, lines, now)
    month = span(now, now + 1, By.MONTH, of_keys=True)
    found_times: dict[str, list[float]] = {"usage.top": [], "usage.month_of_key": []}
    for at in range(9):
        for name, found in found_times.items():
            began = time.perf_counter()
            async with valkey.endpoint.client() as client:
                reading = usage_reading(StoreParts.of_one(client))
                if name == "usage.top":
                    answer = await reading.top(month, TopBy.REQUESTS, limit)
                    assert len(answer.keys) == limit
                else:
                    report = await reading.of_key(kid_of(at), month, By.MONTH)
                    assert report.total.requests
            found.append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(found) for name, found in found_times.items()}


async def measure(asked: argparse.Namespace) -> dict[str, float]:
    """Return the figures that need a store."""
    with Valkey() as valkey:
        found = await time_of_the_store(valkey, asked.active)
        show(found)
        if asked.only_store:
            return found
        found |= await in_the_store(valkey, asked.keys, asked.days, asked.hours)
        async with emptied(valkey):
            found["usage.entries.listener"] = await over_the_listener(valkey, asked.entries, 100)
        found |= await top_of_a_month(valkey, asked.top)
        show(found)
        return found


def show(found: dict[str, float]) -> None:
    """Print figures."""
    for name, value in found.items():
        print(f"{name}: {number(value)}", flush=True)


def main() -> None:
    """Measure, print, and record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of rounds in this process")
    parser.add_argument("--entries", type=int, default=150_000, help="over the listener")
    parser.add_argument("--keys", type=int, default=500, help="in the store")
    parser.add_argument("--days", type=int, default=35)
    parser.add_argument("--hours", type=int, default=4, help="of each day in which a key is used")
    parser.add_argument("--active", type=int, default=ACTIVE, help="keys that are used every 10 s")
    parser.add_argument("--only-store", action="store_true", help="only the time of the store")
    parser.add_argument("--top", type=int, default=1_000_000, help="keys that are used in a month")
    offer_record(parser)
    asked = parser.parse_args()
    found = uvloop.run(measure(asked))
    if not asked.only_store:
        found["usage.entries.core"] = in_process(asked.seconds)
        show(found)
    if asked.record:
        record(found)


if __name__ == "__main__":
    main()
