"""Kill -9 of `authz admin` during a create: `python -m tests.rpc.admin.kills --trials N`.

Each trial sends a CreateKey with a request id, kills the process at a random point of it, starts it
again, and repeats the request. There must be one key, and every response must be the same. The
processes are forked from one that has imported the modules, so a start takes little time.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self
from urllib.error import URLError

import grpc
import grpc.aio
import yaml

from authz.core.new_keys import KeySpec
from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2
from authz.settings import model
from authz.wiring import administration
from authz.wiring.serving_admin import serve_admin
from tests.support.real import Valkey, free_port
from tests.support.rpc.admin import Stubs

FORKS: Final = multiprocessing.get_context("forkserver")
PATIENCE: Final = 60.0  # seconds for a start
TOLD: Final = 50  # trials between two lines about the progress
DURATION: Final = 0.008  # seconds; a create takes less


class Forked:
    """A process of `authz admin`, forked from one that has its modules; as far as a Popen is used.

    file: its settings. log: the file for its output.
    """

    def __init__(self, file: Path, log: Path) -> None:
        self._process = FORKS.Process(target=_serve, args=(file, log), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit code. Raises TimeoutError if it does not end."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError
        return self._process.exitcode


def _serve(file: Path, log: Path) -> None:
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    serve_admin(lambda: model.load(file, environ={}))


class AdminServing:
    """`authz admin` as a process; `start` may be called again once it has ended.

    forks: forked, in place of a new interpreter. program: in place of `authz`.
    """

    def __init__(
        self,
        directory: Path,
        redis_url: str,
        *,
        forks: bool = False,
        program: Sequence[str] = (sys.executable, "-m", "authz.cli.main"),
        **admin: Any,
    ) -> None:
        self._forks = forks
        self._program = program
        pepper = directory / "pepper"
        pepper.write_text("p" * 64)
        self.address = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self.file, self.log = directory / "authz.yaml", directory / "admin.log"
        settings = {
            "redis": {"url": redis_url},
            "keys": {"peppers": [{"file": str(pepper)}]},
            "shutdown": {"delay": "0"},
            "admin": {"listen": self.address, "http_listen": self.http} | admin,
        }
        self.file.write_text(yaml.safe_dump(settings))
        self.settings = model.load(self.file, environ={})
        self.process: subprocess.Popen[bytes] | Forked | None = None

    async def issue(self, *roles: Role) -> str:
        """Initialise the store and return the text of a new key with these roles."""
        ring = administration.keyring(self.settings)
        async with administration.store(self.settings) as store:
            await store.initialise(ring.fingerprints, ring.prefixes, ring.public_prefix)
        spec = KeySpec(
            client_id="ops", env="live", life_ms=None, scopes=frozenset(r.scope for r in roles)
        )
        async with administration.administration(self.settings) as lifecycle:
            return (await lifecycle.issue(spec, lifecycle.author("tests"))).key_text or ""

    def start(self) -> Self:
        """Start the process and wait until it is ready."""
        self.process = Forked(self.file, self.log) if self._forks else self._started()
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                code = self.process.returncode  # None: it still starts
                raise AssertionError(f"exit code {code}: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    def _started(self) -> subprocess.Popen[bytes]:
        command = [*self._program, "--config", str(self.file), "admin"]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code. Does nothing if it has ended."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Kill the process, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


def same(first: keys_pb2.CreateKeyResponse, second: keys_pb2.CreateKeyResponse) -> bool:
    """Return whether two responses are the same answer."""
    return (first.key, first.api_key) == (second.key, second.api_key)


async def trial(serving: AdminServing, key: str, number: int, delay: float) -> list[str]:
    """Make one trial and return its problems. The process runs before it and after it."""
    client = f"kill-{number}"
    request = keys_pb2.CreateKeyRequest(
        key=key_pb2.Key(client_id=client), request_id=f"trial-{number:06}"
    )
    before = None
    async with grpc.aio.insecure_channel(serving.address) as channel:
        stubs = Stubs(channel, key)
        await stubs.keys.ListKeys(keys_pb2.ListKeysRequest(page_size=1))
        call = asyncio.ensure_future(stubs.keys.CreateKey(request))
        await asyncio.sleep(delay)
        await asyncio.to_thread(serving.end, signal.SIGKILL)
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        if isinstance(outcome, keys_pb2.CreateKeyResponse):
            before = outcome
    await asyncio.to_thread(serving.start)
    problems = []
    async with grpc.aio.insecure_channel(serving.address) as channel:
        stubs = Stubs(channel, key)
        first = await stubs.keys.CreateKey(request)
        again = await stubs.keys.CreateKey(request)
        if not same(first, again) or (before is not None and not same(before, first)):
            problems.append(f"trial {number}: the answers differ")
        found = await stubs.keys.ListKeys(keys_pb2.ListKeysRequest(filter=f"client_id = {client}"))
        if [each.name for each in found.keys] != [first.key.name]:
            problems.append(f"trial {number}: {len(found.keys)} keys")
        verdict = await stubs.keys.VerifyKey(keys_pb2.VerifyKeyRequest(api_key=first.api_key))
        if not verdict.allowed:
            problems.append(f"trial {number}: the key is {verdict.reason}")
    return problems


async def run(directory: Path, redis_url: str, trials: int, seed: int) -> list[str]:
    """Make some trials and return all problems."""
    rng, serving = random.Random(seed), AdminServing(directory, redis_url, forks=True)
    key = await serving.issue(Role.ADMIN)
    await asyncio.to_thread(serving.start)
    problems = []
    try:
        for number in range(trials):
            problems += await trial(serving, key, number, rng.uniform(0, DURATION))
            if not (number + 1) % TOLD:
                print(f"{number + 1} trials, {len(problems)} problems", flush=True)
    finally:
        serving.close()
    return problems


def main() -> None:
    """Run against an own store, and print the problems."""
    FORKS.set_forkserver_preload(["authz.wiring.serving_admin", "tests.support.rpc.admin"])
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with Valkey() as valkey, tempfile.TemporaryDirectory() as directory:
        problems = asyncio.run(run(Path(directory), valkey.url, given.trials, given.seed))
    print("\n".join(problems) or f"{given.trials} trials: one key and one answer in each")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
