"""In an outage keys go on for their grace and no longer, in any order of events.

The same machine drives caches that each have one known mistake, and must find every one.
"""

import pytest
from hypothesis import settings

from authz.flows.keycache import KeyCache
from tests.support.flows.outage_machine import OutageMachine
from tests.support.flows.verdicts import (
    ForeignError,
    GivenUpError,
    RevivedError,
    StaleError,
    verdict_on,
)

OutageMachine.TestCase.settings = settings(max_examples=250, stateful_step_count=50)
TestOutageMachine = OutageMachine.TestCase


class MovesGraceWithEveryDrop(KeyCache):
    """Counts the grace from the last drop, whether there was trust before it or not."""

    def trust(self, until):
        """As the real one, but for a link that was never trusted."""
        super().trust(until)
        self._last_trusted = max(self._last_trusted, self._monotonic())


class KeepsAside(KeyCache):
    """Goes on in the next outage with what the one before left."""

    def trust(self, until):
        """As the real one, but nothing is given up."""
        aside = dict(self._flushed.packed)
        super().trust(until)
        self._flushed.update(aside)


class HasOneGrace(KeyCache):
    """Mutant: it ignores the key's own grace."""

    def peek_stale(self, kid):
        """For the sidecar's grace."""
        record = super().peek_stale(kid)
        return self._cached(kid) if self._monotonic() < self._last_trusted + self._grace else record


class KeepsChangedAside(KeyCache):
    """Forgets a changed key only where it looks first."""

    def forget(self, kid, *, revoked):
        """As the real one, but what a flush took out stays."""
        aside = self._flushed.fetch(kid)
        super().forget(kid, revoked=revoked)
        if aside is not None:
            self._flushed.put(*aside)
            self._entries.pop(kid)


class GoesOnWithTheForeign(KeyCache):
    """Takes another's store for an outage."""

    def flush(self, *, foreign=False):
        """As if the store were ours."""
        super().flush()


class GivesUpAtReconnect(KeyCache):
    """Forgets everything as soon as a new link is there, trusted or not."""

    def flush(self, *, foreign=False):
        """For good."""
        super().flush(foreign=True)


class EndsWithTheTtl(KeyCache):
    """Holds nothing longer than its TTL, outage or not."""

    def peek_stale(self, kid):
        """Return the record also if only its TTL has ended."""
        _, deadline = self._entries.fetch(kid) or (None, 0.0)
        return super().peek_stale(kid) if self._monotonic() < deadline else None


@pytest.mark.parametrize(
    ("mutant", "verdict"),
    [
        (MovesGraceWithEveryDrop, {StaleError}),
        (KeepsAside, {StaleError, RevivedError}),
        (HasOneGrace, {StaleError}),
        (KeepsChangedAside, {StaleError, RevivedError}),
        (GoesOnWithTheForeign, {ForeignError}),
        (GivesUpAtReconnect, {GivenUpError}),
        (EndsWithTheTtl, {GivenUpError}),
    ],
)
def test_the_judge_sees_every_mistake(mutant, verdict):
    """A cache with one mistake is caught by what it goes on with, or gives up, in a few runs."""

    class MutantMachine(OutageMachine):
        cache_kind = mutant

    assert verdict_on(MutantMachine) in verdict
