"""Two sidecars behind a real Envoy, restarted in turn under load."""

from pathlib import Path

import pytest
import yaml

from authz.settings.model import Settings
from authz.wiring.sidecar import DRAIN_SECONDS
from tests.bench.rolling import measured, pair, processes
from tests.support.rpc.servers import TRANSPORTS
from tests.support.stalls import conclusively

ROOT = Path(__file__).parents[2]
KUBELET_SECONDS = 30  # terminationGracePeriodSeconds, where a pod does not say
MOST_FAILED = 5  # requests for each process that is killed; usually none
RATE = 100  # requests a second; `python -m tests.bench.rolling` asks with 1,000


@pytest.mark.timeout(300)  # of several rounds
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_rollout_fails_no_request(transport: str) -> None:
    """With the shipped envoy.yaml and `shutdown.delay` no request fails."""
    tally = await conclusively(
        lambda: measured(RATE, 1, pair(transport)), lambda tally: not tally.failed
    )

    assert tally.failed == {}
    assert tally.answers["200"] > RATE


@pytest.mark.timeout(300)  # of several rounds
async def test_replacing_the_processes_of_one_command_fails_no_request() -> None:
    """`authz serve --processes 2` replaces both at SIGHUP, and no request fails."""
    tally = await conclusively(
        lambda: measured(RATE, 1, processes(2, kills=False)), lambda tally: not tally.failed
    )

    assert tally.failed == {}
    assert tally.answers["200"] > RATE


@pytest.mark.timeout(300)  # of several rounds
async def test_a_killed_process_starts_again() -> None:
    """If a process is killed, the other one answers, and a new one takes its place."""
    tally = await conclusively(
        lambda: measured(RATE, 1, processes(2, kills=True, delay="0")),
        lambda tally: tally.failed.total() <= MOST_FAILED,
    )

    assert tally.failed.total() <= MOST_FAILED
    assert tally.answers["200"] > RATE


def test_the_delay_is_longer_than_envoy_takes_to_notice() -> None:
    """The delay is longer than the health checks of envoy.yaml need, and shorter than a kubelet
    waits.
    """
    clusters = yaml.safe_load((ROOT / "envoy.yaml").read_text())["static_resources"]["clusters"]
    (health,) = next(one for one in clusters if one["name"] == "authz")["health_checks"]
    noticed = float(health["interval"].removesuffix("s")) * health["unhealthy_threshold"]

    assert noticed < Settings().shutdown.delay < KUBELET_SECONDS - DRAIN_SECONDS
