"""Fixtures for the tests of flows."""

import pytest

from authz.flows import resending


@pytest.fixture(autouse=True, scope="module")
def _no_pause():
    """Send again without a pause after a lost reply."""
    patch = pytest.MonkeyPatch()
    patch.setattr(resending, "PAUSE", 0)
    yield
    patch.undo()
