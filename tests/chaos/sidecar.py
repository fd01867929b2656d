"""One sidecar process: decides under load, writes down every answer, obeys commands on stdin.

python -m tests.chaos.sidecar '{"kind": "leased", "url": "redis://...", ...}'
"""

import asyncio
import json
import logging
import random
import sys
import time
from pathlib import Path

import uvloop

from authz.core.listen_address import Address
from authz.storage.endpoint import Endpoint
from authz.storage.sentinel import Sentinel
from tests.chaos.caches import Asked, Leased, Subject
from tests.chaos.checker import Bounds
from tests.chaos.history import Answers, now
from tests.chaos.mutants import MUTANTS, RELOADING, SUBJECTS, TOKEN_MUTANTS
from tests.chaos.rules import PATHS
from tests.support.stalls import Watch

RECENT = 600  # keys and tokens that are asked for
HOT = 0.4  # share of the requests for the newest of them
RARER = 4  # times, for mutants that are caught without a race
PAUSE = 0.0015  # seconds between two requests, whether the first was answered or not


class Load:
    """Sends random requests to a subject, to so many of PATHS."""

    def __init__(self, subject: Subject, answers: Answers, paths: int, pause: float) -> None:
        self._subject = subject
        self._answers = answers
        self._paths = paths
        self._pause = pause
        self._keys: list[Asked] = []
        self._hot = 0

    def add(self, text: str) -> None:
        """Add a key or a token."""
        self._keys.append(Asked.of(text))
        self._hot = (len(self._keys) - 1) & ~1

    def heat(self, key: int) -> None:
        """Make this the key that is requested most, and its token, which has the next number."""
        self._hot = key

    async def work(self) -> None:
        """Send requests until cancelled, without waiting for answers."""
        async with asyncio.TaskGroup() as asked:
            while True:
                if self._keys:
                    asked.create_task(self._ask(self._choose()))
                await asyncio.sleep(random.uniform(0.5, 1.5) * self._pause)

    async def _ask(self, key: int) -> None:
        path, sent = random.randrange(self._paths), now()
        outcome = await self._subject.answer(self._keys[key], path)
        self._answers.add(key, sent, outcome, now(), path=path)

    def _choose(self) -> int:
        if random.random() < HOT:
            return min(self._hot + random.randrange(2), len(self._keys) - 1)
        return random.randrange(max(0, len(self._keys) - RECENT), len(self._keys))


def endpoint(given: dict) -> Endpoint:
    """Return the endpoint of the store."""
    if "sentinel" not in given:
        return Endpoint.parse(given["url"], partitions=given.get("partitions", 1))
    hosts = (Address("127.0.0.1", given["sentinel"]),)
    return Endpoint.parse("redis://unused", sentinel=Sentinel(hosts, given["service"]))


async def main(given: dict) -> None:
    """Run until stdin ends."""
    bounds = Bounds(given["lease"], given["isolation"])
    kind, file = given["kind"], Path(given["settings"])
    subject = SUBJECTS[kind](endpoint(given), bounds, given["grace"], file)
    answers = Answers(Path(given["answers"]))
    pause = PAUSE * (RARER if kind in TOKEN_MUTANTS else 1)
    load = Load(subject, answers, len(PATHS) if kind in RELOADING else 1, pause)
    with Watch() as watch:
        failed = await _play(subject, load, again=0.1 if kind in MUTANTS else None)
    answers.close()
    Path(given["stalls"]).write_text(json.dumps(watch.stalls))
    for task in failed:
        task.result()


async def _play(subject: Subject, load: Load, again: float | None) -> list[asyncio.Task[None]]:
    """Run until stdin ends; return the tasks that ended earlier.

    again: seconds after which to cancel again. In the mutants redis-py sometimes swallows a
    cancellation; the product must end after one.
    """
    tasks = [asyncio.create_task(subject.run()), asyncio.create_task(load.work())]
    print("ready", flush=True)
    commands = asyncio.create_task(_obey(load, subject))
    await asyncio.wait([*tasks, commands], return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in tasks if task.done()]
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=again)
    return failed


async def _obey(load: Load, subject: Subject) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match json.loads(line):
            case {"add": text}:
                load.add(text)
            case {"hot": key}:
                load.heat(key)
            case {"offset": offset} if isinstance(subject, Leased):
                subject.clock.offset = offset
            case {"busy": seconds}:
                time.sleep(seconds)  # the loop is busy with something else


class BootTime(logging.Formatter):
    """Formats the time of a line as that of the answers."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time at which the line is written."""
        return f"{now():.3f}"


if __name__ == "__main__":
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(BootTime("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_stderr])
    uvloop.run(main(json.loads(sys.argv[1])))
