"""The errors that the judge of a cache finds."""

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

LEASE = 1.0


class StaleError(AssertionError):
    """Something was served that had not been true for longer than it may be."""


class RevivedError(AssertionError):
    """A key that this cache saw revoked was served as if it were not."""


class GivenUpError(AssertionError):
    """A key that was known was not gone on with, though its grace was not over."""


class ForeignError(AssertionError):
    """A key was gone on with after the store had turned out to be another's."""


def verdict_on(machine):
    """The kind of error by which the judge finds the mistake in this machine's cache."""

    class Unsettled(machine):
        def settle(self):  # the judge alone has to see it
            pass

    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(
            Unsettled,
            settings=settings(
                max_examples=1000,
                stateful_step_count=30,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
            ),
        )
    return caught.type
