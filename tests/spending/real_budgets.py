"""A budget of tokens under 200 requests at a time, with everything real, and some usage lost.

    python -m tests.spending.real_budgets [--limit 1000000] [--seed N] [--record]

Two sidecars, Envoy with the filter for LLM APIs, a meter and a store. Answers take a log-normal
number of tokens, about 800 on average and 4,096 at most. Envoy keeps the usage line of some
requests to itself, which the client chooses, so the promised bound is known exactly.
"""

import argparse
import asyncio
import json
import random
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.cli import devstack
from authz.cli.child_processes import ChildProcesses
from authz.core.limits.limit import parse_limits
from authz.proxy.chains import Expected
from tests.bench.figures import machine, offer_record, record
from tests.support.real import free_port
from tests.support.system import Installation, running

AT_A_TIME = 200
MOST, MEAN = 4096, 800
PAUSE = 0.3  # seconds until a refused request comes again
QUIET = 5.0  # seconds without a request that passes: the budget is used up
SETTLED = 4.0  # seconds after which the usage of a request is settled, with much to spare
WARM = 20.0  # seconds of traffic that is learned
LOSES = "x-lose-usage"
ESTIMATES: dict[str, dict[str, Any]] = {
    "mean": {"estimate": MEAN},
    "most": {"estimate": MOST},
    "learned": {"estimate": "learned", "at_most": MOST},
    "learned_p95": {"estimate": "learned_p95", "at_most": MOST},
}
RUNS = [(name, lost) for name in ESTIMATES for lost in (0.0, 0.05)] + [("mean", 1.0), ("most", 1.0)]
LEAST_USED, MOST_OVER = 0.97, 1.02


@dataclass(slots=True)
class Passed:
    """A request that passed: its tokens, when it began and ended, and whether its usage is lost."""

    tokens: int
    began: float
    ended: float
    is_lost: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one run: what was really used, and the promised bound."""

    limit: int
    used: int
    bound: int
    requests: int

    def __str__(self) -> str:
        return (
            f"used {self.used / self.limit:.3f} of the budget, bound {self.bound / self.limit:.3f}"
            f", {self.requests} requests"
        )


class Llm(asyncio.Protocol):
    """A backend: each answer comes after a while, and reports a log-normal number of tokens."""

    chance = random.Random(1)

    def connection_made(self, transport: Any) -> None:
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            size = int(fields.get(b"content-length", 0))
            if len(rest) < size:
                return
            self._received = rest[size:]
            tokens = max(1, min(MOST, round(self.chance.lognormvariate(6.35, 0.85))))
            delay = self.chance.uniform(0.1, 1.5)
            asyncio.get_running_loop().call_later(delay, self._answer, tokens)

    def _answer(self, tokens: int) -> None:
        used = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
        body = json.dumps({"object": "chat.completion", "model": "m", "usage": used}).encode()
        kind = b"content-type: application/json\r\ncontent-length: %d" % len(body)
        self._transport.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (kind, body))


class Demand:
    """Clients that always have AT_A_TIME requests under way, of one key and path.

    passed: the requests that passed. Refused ones come again after PAUSE.
    """

    def __init__(self, port: int, key: str, path: str, lost: float, seed: int) -> None:
        self._port, self._lost = port, lost
        self._chance = random.Random(seed)
        self._head = f"POST {path} HTTP/1.1\r\nhost: llm\r\nx-api-key: {key}\r\n".encode()
        self.passed: list[Passed] = []
        self._newest = time.monotonic()

    async def run(self, seconds: float = float("inf")) -> None:
        """Make requests for so long, or until none has passed for QUIET."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._client(end) for _ in range(AT_A_TIME)))

    async def _client(self, end: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        body = b'{"model": "m", "messages": []}'
        while time.monotonic() < min(end, self._newest + QUIET):
            is_lost = self._chance.random() < self._lost
            more = f"{LOSES}: 1\r\n".encode() if is_lost else b""
            began = time.monotonic()
            kind = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.write(self._head + more + kind + body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(size)
            status = int(head.split(b" ", 2)[1])
            if status == 200:
                tokens = json.loads(answer)["usage"]["total_tokens"]
                self._newest = time.monotonic()
                self.passed.append(Passed(tokens, began, self._newest, is_lost))
            elif status == 429:
                await asyncio.sleep(PAUSE)
            else:
                raise RuntimeError(f"{status}: {answer!r}")
        writer.close()

    def outcome(self, limit: int, reserved: int) -> Outcome:
        """Return the result. reserved: tokens, at least, that each request took in advance."""
        last = max(each.began for each in self.passed)
        beyond = sum(
            max(0, each.tokens - reserved)
            for each in self.passed
            if each.is_lost or each.ended > last - SETTLED
        )
        used = sum(each.tokens for each in self.passed)
        return Outcome(limit, used, limit + beyond, len(self.passed))


def _settings() -> dict[str, Any]:
    """Return the sections of the settings: a route for each kind of estimate."""
    routes = [
        {"path": f"/v1/{name}", "name": name, "cost": cost} for name, cost in ESTIMATES.items()
    ]
    return {"routes": routes, "routes_default": "deny"}


@contextmanager
def installed(backend: int) -> Iterator[Installation]:
    """Yield an installation with two sidecars and the backend at this port."""
    check, ops = free_port(), free_port()

    def reshape(whole: dict[str, Any]) -> None:
        resources = whole["static_resources"]
        for cluster in resources["clusters"]:
            endpoints = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            if cluster["name"] == "backend":
                address = endpoints[0]["endpoint"]["address"]["socket_address"]
                address["port_value"] = backend
            elif cluster["name"] == "authz":
                where = {"socket_address": {"address": "127.0.0.1", "port_value": check}}
                endpoints.append({"endpoint": {"address": where}})

    with_llm = devstack.with_llm

    def lossy(text: str, expected: Expected) -> str:
        whole = yaml.safe_load(with_llm(text, expected))  # which mends the logger
        (chain,) = whole["static_resources"]["listeners"][0]["filter_chains"]
        loggers = chain["filters"][0]["typed_config"]["access_log"]
        (usage,) = (one for one in loggers if one["name"].endswith("open_telemetry"))
        kept = {"header_filter": {"header": {"name": LOSES, "present_match": False}}}
        usage["filter"] = {"and_filter": {"filters": [usage["filter"], kept]}}
        return yaml.safe_dump(whole)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devstack, "llm_sections", _settings)
        patch.setattr(devstack, "with_llm", lossy)
        with running(llm=True, reshape=reshape) as (stack, children):
            _second_sidecar(stack, children, check, ops)
            yield Installation(stack)


def _second_sidecar(stack: devstack.Stack, children: ChildProcesses, check: int, ops: int) -> None:
    settings = yaml.safe_load(Path(stack.config).read_text())
    settings["check"]["listen"] = f"127.0.0.1:{check}"
    settings["ops"]["listen"] = f"127.0.0.1:{ops}"
    file = Path(stack.config).with_name("second.yaml")
    file.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "authz.cli.main", "--config", str(file), "serve"]
    children.spawn("second sidecar", command)

    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ops}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    children.wait("second sidecar", is_ready)


@asynccontextmanager
async def backend(seed: int) -> AsyncIterator[int]:
    """Yield the port of a running backend."""
    Llm.chance = random.Random(seed)
    server = await asyncio.get_running_loop().create_server(Llm, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Rig:
    """An installation, and runs against it."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self._installation, self._seed = installation, seed
        self._port = int(installation.stack.envoy.rpartition(":")[2])

    async def warm(self, name: str) -> None:
        """Make requests of a route without a budget, so that its tokens are learned."""
        demand = await self._demand(name, 0.0, ())
        await demand.run(WARM)

    async def run(self, name: str, lost: float, limit: int) -> Outcome:
        """Use up one budget. Return what was used."""
        demand = await self._demand(name, lost, (f"{limit}/month,of=tokens",))
        await demand.run()
        cost = ESTIMATES[name]
        estimate = cost["estimate"]
        return demand.outcome(limit, estimate if isinstance(estimate, int) else MOST // 20)

    async def _demand(self, name: str, lost: float, limits: tuple[str, ...]) -> Demand:
        issue = self._installation.issue
        made = await asyncio.to_thread(lambda: issue(limits=parse_limits("--limit", limits)))
        return Demand(self._port, made.key_text or "", f"/v1/{name}", lost, self._seed)


def keeps(name: str, lost: float, outcome: Outcome) -> bool:
    """Return whether every promise about this kind of estimate and loss holds."""
    return (
        outcome.used <= outcome.bound
        and (name != "most" or outcome.used <= outcome.limit)
        and (not name.startswith("learned") or outcome.used <= MOST_OVER * outcome.limit)
        and (lost > 0 or outcome.used >= LEAST_USED * outcome.limit)
    )


async def play(
    limit: int, seed: int, runs: Sequence[tuple[str, float]] = RUNS
) -> dict[tuple[str, float], Outcome]:
    """Play the runs one after the other, and print each. Learned estimates are learned first."""
    found = {}
    async with backend(seed) as port:
        opened = installed(port)
        installation = await asyncio.to_thread(opened.__enter__)
        try:
            rig = Rig(installation, seed)
            for name in dict.fromkeys(name for name, _ in runs if name.startswith("learned")):
                await rig.warm(name)
            for name, lost in runs:
                outcome = found[name, lost] = await rig.run(name, lost, limit)
                good = "" if keeps(name, lost, outcome) else " NOT AS PROMISED"
                print(f"estimate {name}, lost {lost:.0%}: {outcome}{good}", flush=True)
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)
    return found


def main() -> None:
    """Print a row for each estimate and share of lost usage. Exit 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    offer_record(parser)
    given = parser.parse_args()
    found = asyncio.run(play(given.limit, given.seed))
    if given.record:
        record(
            {
                f"budgets.real_{name}_{lost * 100:.0f}": outcome.used / outcome.limit
                for (name, lost), outcome in found.items()
            }
        )
    print(machine())
    raise SystemExit(0 if all(keeps(*case, outcome) for case, outcome in found.items()) else 1)


if __name__ == "__main__":
    main()
