"""A complete installation, real Envoy and real Valkey, for the system tests."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from authz.cli import binaries, devstack
from authz.cli.child_processes import ChildProcesses
from authz.cli.demo import Answer, Client
from authz.cli.devconfig import own_environment
from authz.cli.devstack import Ports, Stack
from authz.core.listen_address import Address
from authz.core.new_keys import KeySpec
from authz.flows.lifecycle import Changed, Lifecycle
from authz.settings import model
from authz.wiring import administration
from tests.support import envoy_versions
from tests.support.real import free_port

LIFE_MS = 3_600_000
PAUSE = 0.01  # seconds between two looks
PATIENCE = 60.0  # seconds; no test claims that something takes this long
FOREIGN = "sk-0123456789/abcdef+=="
# Only tests make claims about time: a busy machine may stand still for seconds.
PATIENT = {
    "AUTHZ_CHECK__DEADLINE": "3s",
    "AUTHZ_CACHE__TRUST_LEASE": "4s",
    "AUTHZ_ABUSE__FAILURES_PER_MINUTE": "0",  # tests send many wrong keys from one address
}


class Installation:
    """A running installation, and its administration."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.settings = model.load(Path(stack.config), environ=own_environment())

    def administer(self, act: Callable[[Lifecycle], Any]) -> Any:
        """Run a coroutine with a Lifecycle. Return its result."""

        async def run() -> Any:
            async with administration.administration(self.settings) as lifecycle:
                return await act(lifecycle)

        return asyncio.run(run())

    def issue(self, **spec: Any) -> Changed:
        """Issue a key of client `acme`."""
        key_spec = KeySpec(**{"client_id": "acme", "env": "live", "life_ms": LIFE_MS} | spec)
        return self.administer(lambda life: life.issue(key_spec, life.author("tests")))

    def client(self) -> Client:
        """Return a client of Envoy."""
        return Client(self.stack.envoy)


@contextmanager
def running(
    alter: Callable[[dict[str, Any]], None] = lambda _manager: None,
    *,
    llm: bool = False,
    with_admin: bool = False,
    reshape: Callable[[dict[str, Any]], None] = lambda _whole: None,
) -> Iterator[tuple[Stack, ChildProcesses]]:
    """Run an installation on free ports, with longer timeouts in Envoy and sidecar.

    alter: changes the settings of Envoy's HTTP connection manager. llm: that of `authz dev --llm`.
    with_admin: run the admin API, too. reshape: changes the whole configuration of Envoy, last.
    """
    shipped = devstack.envoy_config

    def patient(ports: Ports, check: Address, _backend: object = None) -> str:
        config = yaml.safe_load(shipped(ports, check))
        (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
        manager = chain["filters"][0]["typed_config"]
        alter(manager)
        filters = manager["http_filters"]
        (asking,) = (one["typed_config"] for one in filters if one["name"].endswith("ext_authz"))
        asking["grpc_service"]["timeout"] = "20s"
        for cluster in config["static_resources"]["clusters"]:
            cluster["connect_timeout"] = "10s"
        reshape(config)
        return yaml.safe_dump(envoy_versions.adapted(config))

    with ExitStack() as opened:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(devstack, "envoy_config", patient)
            patch.setattr(binaries, "envoy", envoy_versions.binary)
            for name in PATIENT.keys() - os.environ.keys():
                patch.setenv(name, PATIENT[name])
            ports = Ports(*(free_port() for _ in range(10)))
            started = opened.enter_context(devstack.running(ports, llm=llm, with_admin=with_admin))
        yield started


def until(look: Callable[[], Any], is_right: Callable[[Any], bool]) -> Any:
    """Call `look` until its result `is_right`, at most PATIENCE seconds. Return the last result.

    It looks every PAUSE (10 ms): without one, it would take the processors from what it waits for.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if is_right(seen) or time.monotonic() > deadline:
            return seen
        time.sleep(PAUSE)


def readiness(installation: Installation) -> dict:
    """Return the document of /readyz."""
    try:
        with urllib.request.urlopen(f"{installation.stack.ops}/readyz", timeout=5) as answer:
            return json.load(answer)
    except HTTPError as refused:
        with refused:
            return json.load(refused)


def ask(client: Client, key: str) -> Answer:
    """Send one request with this key."""
    return client.get(x_api_key=key)


def run_import(installation: Installation, *lines: dict[str, Any]) -> dict[str, Any]:
    """Run `authz keys import` with the settings of the installation. Return its report."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "authz.cli.main"),
            *("--config", installation.stack.config, "keys", "import", "--json"),
        ],
        input="".join(json.dumps(line) + "\n" for line in lines).encode(),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    return json.loads(done.stdout)


def await_line(file: Path, needle: str) -> str:
    """Return the first line of `file` that contains `needle`, as soon as there is one."""
    with subprocess.Popen(
        ["tail", "-n", "+1", "-F", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        found = next(line for line in tail.stdout if needle in line)
        tail.terminate()
    return found
