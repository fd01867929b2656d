"""Send made-up requests through Envoy and the gate, and judge which handlers ran.

`python -m tests.differential.fuzz --requests 1000000 --seed 7`, or `make differential N=1000000`.
"""

import argparse
import asyncio
import itertools
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import uvloop

from authz.core.listen_address import Address
from authz.core.request import Request
from authz.rpc.h2.server import FastServer
from tests.differential import backends, grammar
from tests.differential.clients import Answer, Http1, Http2, handler_of
from tests.differential.grammar import Sent
from tests.differential.installation import RecordingReader, make_handler, misses
from tests.support.fakes import RecordingProbe

CLIENTS = 12  # for each backend behind each listener, half of them HTTP/2
SHOWN = 20
PROGRESS = 10_000  # requests between two lines on stderr

Made = tuple[int, str, str, Sent]  # number, listener, backend, request


@dataclass
class Found:
    """The results of a run."""

    sent: int = 0
    handled: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    bypasses: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.sent} requests; {self.handled.total()} reached a handler"]
        lines += [f"  {name:32} {count}" for name, count in sorted(self.handled.items())]
        lines += [f"  status {name or 'none':25} {n}" for name, n in sorted(self.statuses.items())]
        lines += [f"{len(self.bypasses)} without its scope, cost or environment"]
        lines += self.bypasses[:SHOWN]
        lines += [f"{len(self.disagreements)} that `keys verify` would read in another way"]
        return "\n".join([*lines, *self.disagreements[:SHOWN]])


def run(requests: int, seed: int, seconds: float = math.inf) -> Found:
    """Send `requests` requests, or as many as `seconds` allow, and return what came of them."""
    reader = RecordingReader()
    handler, key = make_handler(reader)

    async def through() -> Found:
        server = FastServer(handler, Address("127.0.0.1", 0), probe=RecordingProbe())
        await server.start()
        try:
            with backends.running(server.address.port) as (ports, names):
                places = list(itertools.product(ports, names))
                # The same seed makes the same requests, whichever client sends them.
                made = _requests(Random(seed), requests, places, time.monotonic() + seconds)
                return await _send_all(reader, key, ports, made)
        finally:
            await server.stop(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(through())


async def _send_all(
    reader: RecordingReader, key: str, ports: dict[str, int], made: Iterator[Made]
) -> Found:
    found = Found()

    async def client(port: dict[str, Http1 | Http2]) -> None:
        for number, listener, backend, sent in made:
            mark = str(number)
            sent.headers += [
                ("x-fuzz-id", mark.encode()),
                ("x-backend", backend.encode()),
                ("x-api-key", key.encode()),
            ]
            answer = await port[f"{listener} {sent.is_http2}"].send(sent)
            _count(found, f"{listener} {backend}", sent, answer, reader.seen.pop(mark, None))

    def connections() -> dict[str, Http1 | Http2]:
        made: dict[str, Http1 | Http2] = {
            f"{name} True": Http2(port) for name, port in ports.items()
        }
        return made | {f"{name} False": Http1(port) for name, port in ports.items()}

    opened = [connections() for _ in range(CLIENTS)]
    await asyncio.gather(*map(client, opened))
    for connection in itertools.chain.from_iterable(each.values() for each in opened):
        connection.close()
    found.disagreements = reader.disagreements
    return found


def _requests(
    rng: Random, count: int, places: list[tuple[str, str]], deadline: float
) -> Iterator[Made]:
    for number in range(count):
        if time.monotonic() > deadline:
            return
        yield number, *places[number % len(places)], grammar.request(rng)


def _count(found: Found, place: str, sent: Sent, answer: Answer, request: Request | None) -> None:
    found.sent += 1
    if found.sent % PROGRESS == 0:
        problems = len(found.bypasses)
        print(f"{found.sent} requests, {problems} got around a rule", file=sys.stderr, flush=True)
    found.statuses[answer.get(":status", "")] += 1
    handler, value = handler_of(answer)
    if not handler:
        return
    found.handled[f"{place} {handler}"] += 1
    missing = "a Check" if request is None else misses(handler, value, request.route)
    if missing:
        found.bypasses.append(f"{place}: {handler} without {missing}: {sent}")


def main() -> None:
    """Run, and end with 1 if a request got around a rule."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so many")
    given = parser.parse_args()
    lacking = backends.lacking() or backends.build()
    if lacking:
        sys.exit(lacking)
    found = run(given.requests, given.seed, given.seconds)
    print(found)
    sys.exit(bool(found.bypasses or found.disagreements))


if __name__ == "__main__":
    main()
