"""Readiness of the process."""

from types import SimpleNamespace

import pytest

from authz.process.readiness import Readiness
from authz.storage.feed import FeedHealth


class Cache(SimpleNamespace):
    """A cache with seven entries."""

    def __len__(self) -> int:
        return 7


def readiness(*, trusted: bool, grace: float, leaving: str = "", uncounted: str = "") -> Readiness:
    """Return the readiness of components in this state."""
    fault = "" if trusted else "the store is away"
    limits = SimpleNamespace(reason=uncounted)
    feed = SimpleNamespace(health=lambda: FeedHealth(trusted, fault, 4))
    settings = SimpleNamespace(report=lambda: {"version": "0123456789ab"})
    found = Readiness(feed, Cache(grace_left=grace), limits, settings)
    found.leaving = leaving
    return found


@pytest.mark.parametrize("leaving", ["", "stopping: SIGTERM"])
@pytest.mark.parametrize("grace", [0.0, 12.3456])
@pytest.mark.parametrize("trusted", [True, False])
def test_every_part_says_whether_it_stands_in_the_way_and_why(trusted, grace, leaving):
    """The process is ready if every component is. The store is ready while grace is left."""
    ready, parts = readiness(trusted=trusted, grace=grace, leaving=leaving).report()

    assert ready is (parts["process"]["ready"] and parts["store"]["ready"])
    assert parts["process"] == {"ready": leaving == "", "reason": leaving}
    assert parts["store"]["ready"] is (trusted or grace > 0)
    assert (parts["store"]["trusted"], parts["store"]["seq"]) == (trusted, 4)
    assert parts["store"]["reason"] == ("" if trusted else "the store is away")
    assert parts["cache"] == {"entries": 7, "outage_grace_left": round(grace, 3)}
    assert parts["limits"] == {"counted": True, "reason": ""}
    assert parts["settings"] == {"version": "0123456789ab"}


def test_limits_that_are_not_counted_are_said_and_stand_in_nobody_s_way():
    """Uncounted limits are reported, and the process stays ready."""
    ready, parts = readiness(trusted=True, grace=1.0, uncounted="NOPERM").report()

    assert ready
    assert parts["limits"] == {"counted": False, "reason": "NOPERM"}


def test_who_only_asks_whether_gets_the_same_answer():
    """grpc.health.v1 and /readyz have the same answer."""
    for trusted, grace, leaving in ((True, 1.0, ""), (False, 0.0, ""), (True, 1.0, "stopping")):
        found = readiness(trusted=trusted, grace=grace, leaving=leaving)
        assert found() is found.report()[0]
