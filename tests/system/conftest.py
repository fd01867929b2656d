"""Fixtures of a complete installation: real Envoy, real Valkey, a sidecar and an echo backend."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from authz.cli.demo import Client
from tests.support.system import Installation, running


@pytest.fixture(scope="session", params=["fast", "grpcio"])
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run each test with each transport. Yield its name."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUTHZ_CHECK__TRANSPORT", request.param)
        environment.setenv("AUTHZ_EXTRACT__QUERY", "api_key")
        yield request.param


@pytest.fixture(scope="session")
def installation(transport: str) -> Iterator[Installation]:
    """An installation that all tests of a transport share. A test must not damage it."""
    with running() as (stack, _):
        yield Installation(stack)


@pytest.fixture
def own_installation(transport: str) -> Iterator[Installation]:
    """An installation of one test, which may damage it."""
    with running() as (stack, _):
        yield Installation(stack)


@pytest.fixture
def envoy(installation: Installation) -> Iterator[Client]:
    """A client of the Envoy of the shared installation."""
    with closing(installation.client()) as client:
        yield client
