"""A sidecar that the tests of one module share."""

from collections.abc import Iterator

import pytest

from tests.support.real import Valkey
from tests.support.telemetry.receiver import Receiver, receiving
from tests.support.telemetry.sidecar import ReportingSidecar, telling


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver of OTLP."""
    with receiving() as found:
        yield found


@pytest.fixture(scope="module", params=["fast", "grpcio"])
def sidecar(
    request: pytest.FixtureRequest, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReportingSidecar]:
    """A sidecar with all telemetry on, and a high rate of denial lines."""
    telemetry = {
        "otlp": {"endpoint": receiver.endpoint, "interval": "1s"},
        "tracing": {"enabled": True, "sample_ratio": 0, "max_per_second": 100_000},
        "denials_per_second": 100_000,
    }
    more = {"check": {"transport": request.param}, "telemetry": telemetry}
    with Valkey() as valkey, telling(tmp_path_factory.mktemp("sidecar"), valkey, more) as found:
        yield found
