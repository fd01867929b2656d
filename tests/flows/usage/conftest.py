"""Fixtures of the tests of meters."""

import pytest

from tests.support.fakes import FakeClock
from tests.support.usage import NOW


@pytest.fixture
def quick(monkeypatch):
    """Meters that pause only shortly after a failed commit."""
    monkeypatch.setattr("authz.flows.usage.meter.PAUSE", 0.001)
    monkeypatch.setattr("authz.flows.usage.meter.MAX_PAUSE", 0.01)


@pytest.fixture
def clock():
    """A clock that stands."""
    return FakeClock(NOW)
