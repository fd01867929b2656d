"""Fixtures of the flows' suites."""

import pytest

from authz.flows import lifecycle


@pytest.fixture(autouse=True, scope="module")
def _no_pause():
    """A lost answer is asked for again at once."""
    patch = pytest.MonkeyPatch()
    patch.setattr(lifecycle, "CONFIRMATION_PAUSE", 0)
    yield
    patch.undo()
