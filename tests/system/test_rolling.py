"""Two sidecars behind a real Envoy, restarted one after the other under load."""

import pytest

from tests.bench.rolling import measured
from tests.rpc.servers import TRANSPORTS

RATE = 100  # requests a second; `python -m tests.bench.rolling` asks with 1,000


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_rollout_fails_no_request(transport: str) -> None:
    """With envoy.yaml and `shutdown.delay` as they are shipped."""
    tally = await measured(RATE, rounds=1, transport=transport)

    assert tally.failed == {}
    assert tally.answers["200"] > RATE
