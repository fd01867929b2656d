"""The ordered link compared with redis-py: `python -m tests.bench.link`.

A real store on one core, the client on the other. Records are looked up one after the other and 64
at a time; and notices of changes arrive as fast as the store can send them. Beside each rate stands
the client's processor time, which waits for nobody. Each client in turn, several rounds of it;
medians, and their ratio.
"""

import argparse
import asyncio
import itertools
import json
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import redis.asyncio
import uvloop

from authz.storage import encoding
from authz.storage.endpoint import Endpoint
from authz.storage.link import Link
from tests.bench.figures import machine, offer_record, record
from tests.bench.measured import LOAD_CORE, SERVER_CORE, medians
from tests.support.fakes import make_record
from tests.support.real import Valkey
from tests.support.storage import stored

AT_A_TIME = 64
KIDS = [f"{number:016}" for number in range(1000)]
PUBLISH = f"""
for number = 1, tonumber(ARGV[1]) do
    local notice = number .. ' 0000000000000001 active at 1790000000000-0'
    server.call('PUBLISH', '{stored.CHANGES}', notice)
end
"""


async def lookups_of_the_link(link: Link, at_a_time: int, seconds: float) -> int:
    """Records found, each handed over as it is parsed, as the sidecar has it."""
    kids, found, waiting = itertools.cycle(KIDS), 0, at_a_time
    end, over = time.perf_counter() + seconds, asyncio.get_running_loop().create_future()

    def on_reply(reply: Any) -> None:
        nonlocal found, waiting
        if not isinstance(reply, dict) or not reply:
            over.set_exception(SystemExit(f"not a record: {reply!r}"))
        found += 1
        if time.perf_counter() < end:
            link.send(on_reply, "HGETALL", stored.key(next(kids)))
        else:
            waiting -= 1
            if not waiting:
                over.set_result(found)

    for _ in range(at_a_time):
        link.send(on_reply, "HGETALL", stored.key(next(kids)))
    return await over


async def lookups_of_redis_py(client: redis.asyncio.Redis, at_a_time: int, seconds: float) -> int:
    """Records found by so many tasks."""
    kids, found = itertools.cycle(KIDS), 0
    end = time.perf_counter() + seconds

    async def ask() -> None:
        nonlocal found
        while time.perf_counter() < end:
            if not await client.hgetall(stored.key(next(kids))):
                raise SystemExit("a record that is there was not found")
            found += 1

    await asyncio.gather(*(ask() for _ in range(at_a_time)))
    return found


async def timed(work: Awaitable[int]) -> tuple[float, float]:
    """How many a second, and microseconds of processor time each."""
    began, busy = time.perf_counter(), time.process_time()
    done = await work
    taken, used = time.perf_counter() - began, time.process_time() - busy
    return done / taken, used / done * 1e6


async def open_link(endpoint: Endpoint, on_push: Callable[[list[Any]], None]) -> Link:
    """A link as the sidecar has it."""
    link = await endpoint.open(lambda: Link(on_push, lambda: None))
    await endpoint.greet(link, "bench")
    return link


async def notices_of_the_link(endpoint: Endpoint, count: int) -> int:
    """Notices that were handed over."""
    arrived, all_here = 0, asyncio.get_running_loop().create_future()

    def on_push(_message: list[Any]) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == count:
            all_here.set_result(arrived)

    link, publisher = await open_link(endpoint, on_push), endpoint.client(timeout=60)
    await link.call("SUBSCRIBE", stored.CHANGES)
    sending = asyncio.create_task(publisher.eval(PUBLISH, 0, count))
    await all_here
    await sending
    link.abort()
    await publisher.aclose()
    return arrived


async def notices_of_redis_py(endpoint: Endpoint, count: int) -> int:
    """The same with its PubSub."""
    client, publisher = endpoint.client(timeout=60), endpoint.client(timeout=60)
    async with client.pubsub(ignore_subscribe_messages=True) as listener:
        await listener.subscribe(stored.CHANGES)
        await listener.get_message(timeout=1)  # that it is subscribed
        sending = asyncio.create_task(publisher.eval(PUBLISH, 0, count))
        arrived = 0
        while arrived < count:
            arrived += await listener.get_message(timeout=1) is not None
        await sending
    await client.aclose()
    await publisher.aclose()
    return arrived


async def fill(client: redis.asyncio.Redis) -> None:
    """A thousand records."""
    async with client.pipeline(transaction=False) as batch:
        for kid in KIDS:
            fields = encoding.encode(make_record(kid=kid, scopes=frozenset({"models:generate"})))
            batch.hset(stored.key(kid), mapping={"version": "1", **fields})
        await batch.execute()


async def measure(
    endpoint: Endpoint, rounds: int, seconds: float, notices: int
) -> dict[str, dict[str, float]]:
    """A second's work of each client and its processor time, by what was done."""
    client = endpoint.client(timeout=60)
    await fill(client)
    link = await open_link(endpoint, lambda _message: None)
    works: dict[str, dict[str, Callable[[], Awaitable[int]]]] = {
        f"HGETALL, {at_a_time} at a time": {
            "the link": partial(lookups_of_the_link, link, at_a_time, seconds),
            "redis-py": partial(lookups_of_redis_py, client, at_a_time, seconds),
        }
        for at_a_time in (1, AT_A_TIME)
    }
    works["notices of changes"] = {
        "the link": partial(notices_of_the_link, endpoint, notices),
        "redis-py": partial(notices_of_redis_py, endpoint, notices),
    }
    taken: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name, kinds in works.items():
            each = {kind: await timed(work()) for kind, work in kinds.items()}
            rates, costs = ({kind: both[at] for kind, both in each.items()} for at in (0, 1))
            taken.setdefault(f"{name}, a second", []).append(rates)
            taken.setdefault(f"{name}, microseconds of processor time", []).append(costs)
    link.abort()
    await client.aclose()
    return {name: medians(each) for name, each in taken.items()}


def run(rounds: int, seconds: float, notices: int) -> dict[str, Any]:
    """Start a store on a core of its own and measure."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, SERVER_CORE)  # what the store inherits
    try:
        with Valkey() as valkey:
            os.sched_setaffinity(0, LOAD_CORE)
            found = uvloop.run(measure(valkey.endpoint, rounds, seconds, notices))
    finally:
        os.sched_setaffinity(0, ours)
    return {"machine": machine(), "figures": found}


def main() -> None:
    """Print the ratios, and what they are made of."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--notices", type=int, default=50_000)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.rounds, given.seconds, given.notices)
    if given.record:
        rates = found["figures"]
        lookups, notices = (
            rates[f"{kind}, a second"]
            for kind in (f"HGETALL, {AT_A_TIME} at a time", "notices of changes")
        )
        for ending, client in (("", "the link"), ("_redis_py", "redis-py")):
            record({f"link.lookups{ending}": lookups[client]})
            record({f"link.notices{ending}": notices[client]})
    if given.json:
        print(json.dumps(found))
        return
    for name, each in found["figures"].items():
        ratio = each["the link"] / each["redis-py"]
        digits = 1 if max(each.values()) < 1000 else 0
        values = ", ".join(f"{kind} {value:,.{digits}f}" for kind, value in each.items())
        print(f"{name}: the link / redis-py {ratio:.2f}\n    {values}")
    print(f"\n{found['machine']}")


if __name__ == "__main__":
    main()
