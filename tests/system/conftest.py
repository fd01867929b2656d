"""A whole installation: real Envoy, real Valkey, a sidecar process, an echo backend."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.cli import devstack
from authz.cli.child_processes import ChildProcesses
from authz.cli.demo import Client
from authz.cli.devstack import Ports, Stack
from authz.core.changes import KeySpec
from authz.core.listen_address import Address
from authz.flows.lifecycle import Changed, Lifecycle
from authz.settings import model
from authz.wiring import administration
from tests.support.real import free_port

LIFE_MS = 3_600_000
# Nothing here is a claim about time but what a test says; a machine may stand still for seconds.
PATIENT = {"AUTHZ_CHECK__DEADLINE": "3s", "AUTHZ_CACHE__TRUST_LEASE": "4s"}


class Installation:
    """A running stack, and its administration."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.settings = model.load(Path(stack.config))

    def administer(self, act: Callable[[Lifecycle], Any]) -> Any:
        """Run one coroutine of a Lifecycle."""

        async def run() -> Any:
            async with administration.administration(self.settings) as lifecycle:
                return await act(lifecycle)

        return asyncio.run(run())

    def issue(self, **spec: Any) -> Changed:
        """A fresh key of client `acme`."""
        wanted = KeySpec(**{"client_id": "acme", "env": "live", "life_ms": LIFE_MS} | spec)
        return self.administer(lambda life: life.issue(wanted, life.author("tests")))

    def client(self) -> Client:
        """A client of Envoy's."""
        return Client(self.stack.envoy)


@contextmanager
def running() -> Iterator[tuple[Stack, ChildProcesses]]:
    """An installation on free ports whose Envoy and sidecar wait for longer than as shipped."""
    shipped = devstack.envoy_config

    def patient(ports: Ports, check: Address) -> str:
        wanted = yaml.safe_load(shipped(ports, check))
        (chain,) = wanted["static_resources"]["listeners"][0]["filter_chains"]
        filters = chain["filters"][0]["typed_config"]["http_filters"]
        (asking,) = (one["typed_config"] for one in filters if one["name"].endswith("ext_authz"))
        asking["grpc_service"]["timeout"] = "20s"
        for cluster in wanted["static_resources"]["clusters"]:
            cluster["connect_timeout"] = "10s"
        return yaml.safe_dump(wanted)

    with ExitStack() as opened:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(devstack, "envoy_config", patient)
            for name in PATIENT.keys() - os.environ.keys():
                patch.setenv(name, PATIENT[name])
            ports = Ports(*(free_port() for _ in range(6)))
            started = opened.enter_context(devstack.running(ports))
        yield started


@pytest.fixture(scope="session", params=["fast", "grpcio"])
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which transport answers Checks: everything here holds for each."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUTHZ_CHECK__TRANSPORT", request.param)
        yield request.param


@pytest.fixture(scope="session")
def installation(transport: str) -> Iterator[Installation]:
    """One installation for all tests that leave it as they found it."""
    with running() as (stack, _):
        yield Installation(stack)


@pytest.fixture
def own_installation(transport: str) -> Iterator[Installation]:
    """An installation of the test's own, to abuse."""
    with running() as (stack, _):
        yield Installation(stack)


@pytest.fixture
def envoy(installation: Installation) -> Iterator[Client]:
    """A client of the shared installation's Envoy."""
    with closing(installation.client()) as client:
        yield client
