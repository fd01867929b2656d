"""Processor time of a call in a whole sidecar: `python -m tests.bench.cpu_per_call`.

A change of the hot path is judged by this figure. `--against TREE` measures another checked-out
tree with a `.venv` of its own, in turn with this one. A benchmark of a part misses a cost that the
composition of the parts brings. A busy machine only adds time, so the lowest of many short rounds
counts. Each sidecar is driven through its commands only, so the other tree may be an old one.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from tests.bench import load, measured
from tests.bench.check_hot import client_headers
from tests.bench.figures import machine
from tests.bench.processor_time import thread_seconds
from tests.support.real import Valkey
from tests.support.rpc.messages import check_request

TREE = Path(__file__).parents[2]
CONNECTIONS, AT_A_TIME = 2, 16
LIMIT = "1000000000/h"
SCOPE = "models:generate"


@dataclass(frozen=True)
class Subject:
    """The sidecar of one tree, a key without limits, and its requests by the name of the case."""

    server: measured.Server
    key: str
    requests: dict[str, load.Requests]

    def cost(self, case: str, calls: int) -> float:
        """Microseconds of processor time a call takes in one round of load."""
        began = thread_seconds(self.server.pid)
        uvloop.run(
            load.repeat(
                self.server.address,
                self.requests[case],
                connections=CONNECTIONS,
                at_a_time=AT_A_TIME,
                calls=calls,
            )
        )
        return (thread_seconds(self.server.pid) - began) / calls * 1e6


@contextmanager
def subject(tree: Path) -> Iterator[Subject]:
    """Run the sidecar of a tree with a store of its own."""
    python = sys.executable if tree == TREE else str(tree / ".venv/bin/python")
    with tempfile.TemporaryDirectory(prefix="authz-") as directory, Valkey() as store:
        file = measured.settings(Path(directory), store)

        def command(*arguments: str) -> str:
            return subprocess.run(
                [python, "-m", "authz.cli.main", *arguments, "--config", str(file)],
                check=True,
                stdout=subprocess.PIPE,
                cwd=tree,
                text=True,
            ).stdout

        def key(*options: str) -> str:
            options = ("--client", "bench", "--scope", SCOPE, *options, "--json")
            return json.loads(command("keys", "issue", *options))["key"]

        command("init")
        plain, limited = key("--cidr", "127.0.0.0/8"), key("--limit", LIMIT)
        with measured.sidecar(file, "fast", python=python, tree=tree) as server:
            for each in (plain, limited):
                asyncio.run(measured.allow(server.address, message(each)))
            yield Subject(server, plain, cases(plain, limited))


def cases(plain: str, limited: str) -> dict[str, load.Requests]:
    """Requests with each of two keys, and with the plain one in other forms of the call."""
    ordinary = body(plain)
    updated = load.Requests(measured.GRPC, ordinary)
    updated.blocks = [updated.first]
    return {
        "a key": load.Requests(measured.GRPC, ordinary),
        "another trace in each call": load.Requests(measured.GRPC, ordinary, traced=True),
        "behind a size update": updated,
        "a key with a limit": load.Requests(measured.GRPC, body(limited)),
    }


def message(key: str) -> CheckRequest:
    """The message in which Envoy describes a browser's request."""
    return check_request(
        client_headers(key),
        method="POST",
        path="/v1/models/gemini-pro:generateContent?alt=json",
        peer=measured.PEER,
        extensions={"scopes": SCOPE},
    )


def body(key: str) -> bytes:
    """The body of a call."""
    raw = message(key).SerializeToString()
    return b"\0" + len(raw).to_bytes(4) + raw


def measure(subjects: list[Subject], rounds: int, calls: int) -> dict[str, list[float]]:
    """The lowest cost of each case, for each subject in turn. The order changes each round."""
    found = {case: [float("inf")] * len(subjects) for case in subjects[0].requests}
    for number in range(rounds):
        order = range(len(subjects)) if number % 2 else reversed(range(len(subjects)))
        for which in order:
            for case, lowest in found.items():
                lowest[which] = min(lowest[which], subjects[which].cost(case, calls))
    return found


def show(found: dict[str, list[float]]) -> None:
    """One line a case: the cost here, that of the other tree, and their ratio."""
    print("microseconds of processor time a call, the lowest of all rounds")
    for case, (here, *others) in found.items():
        against = "".join(f"   against {other:6.2f}: {here / other:.3f}" for other in others)
        print(f"  {case:28}{here:7.2f}{against}")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", type=Path, help="another tree, with its own .venv")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=20_000, help="of each case in a round")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args()
    about = machine()
    os.sched_setaffinity(0, measured.LOAD_CORE)
    with subject(TREE) as here:
        if given.against is None:
            found = measure([here], given.rounds, given.calls)
        else:
            with subject(given.against.resolve()) as other:
                found = measure([here, other], given.rounds, given.calls)
    if given.json:
        print(json.dumps({"microseconds": found, "machine": about}))
    else:
        show(found)
        print(f"\n{about}")


if __name__ == "__main__":
    main()
