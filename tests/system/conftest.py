"""A whole installation: real Envoy, real Valkey, a sidecar process, an echo backend."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from authz import app, config
from authz.cli.demo import Client
from authz.cli.devstack import Ports, Stack, running
from authz.core.changes import KeySpec
from authz.flows.lifecycle import Changed, Lifecycle

LIFE_MS = 3_600_000


class Installation:
    """A running stack, and its administration."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.settings = config.load(Path(stack.config))

    def administer(self, act: Callable[[Lifecycle], Any]) -> Any:
        """Run one coroutine of a Lifecycle."""

        async def run() -> Any:
            async with app.administration(self.settings) as lifecycle:
                return await act(lifecycle)

        return asyncio.run(run())

    def issue(self, **spec: Any) -> Changed:
        """A fresh key of client `acme`."""
        wanted = KeySpec(**{"client_id": "acme", "env": "live", "life_ms": LIFE_MS} | spec)
        return self.administer(lambda life: life.issue(wanted, life.author("tests")))

    def client(self) -> Client:
        """A client of Envoy's."""
        return Client(self.stack.envoy)


@pytest.fixture(scope="session", params=["fast", "grpcio"])
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which transport answers Checks: everything here holds for each."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUTHZ_CHECK__TRANSPORT", request.param)
        yield request.param


@pytest.fixture(scope="session")
def installation(transport: str) -> Iterator[Installation]:
    """One installation for all tests that leave it as they found it."""
    with running(Ports.free()) as (stack, _):
        yield Installation(stack)


@pytest.fixture
def own_installation(transport: str) -> Iterator[Installation]:
    """An installation of the test's own, to abuse."""
    with running(Ports.free()) as (stack, _):
        yield Installation(stack)


@pytest.fixture
def envoy(installation: Installation) -> Iterator[Client]:
    """A client of the shared installation's Envoy."""
    with closing(installation.client()) as client:
        yield client
