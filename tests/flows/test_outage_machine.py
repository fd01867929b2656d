"""In an outage keys go on for their grace and no longer, in any order of events.

The same machine drives caches that each have one known mistake, and must find every one.
"""

import pytest
from hypothesis import settings

from tests.support.flows.altered_cache import AlteredCache
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


class MovesGraceWithEveryDrop(AlteredCache):
    """Counts the grace from the last drop, whether there was trust before it or not."""

    def trust(self, until):
        """As the real one, but for a link that was never trusted."""
        self.real.trust(until)
        self.real._last_trusted = max(self.real._last_trusted, self.real._monotonic())


class KeepsAside(AlteredCache):
    """Goes on in the next outage with what the one before left."""

    def trust(self, until):
        """As the real one, but nothing is given up."""
        aside = dict(self.real._flushed.packed)
        self.real.trust(until)
        self.real._flushed.update(aside)


class HasOneGrace(AlteredCache):
    """Mutant: it ignores the key's own grace."""

    def peek_stale(self, kid):
        """For the sidecar's grace."""
        record = self.real.peek_stale(kid)
        return (
            self.real._cached(kid)
            if self.real._monotonic() < self.real._last_trusted + self.real._grace
            else record
        )


class KeepsChangedAside(AlteredCache):
    """Forgets a changed key only where it looks first."""

    def forget(self, kid, *, revoked):
        """As the real one, but what a flush took out stays."""
        aside = self.real._flushed.fetch(kid)
        self.real.forget(kid, revoked=revoked)
        if aside is not None:
            self.real._flushed.put(*aside)
            self.real._entries.pop(kid)


class GoesOnWithTheForeign(AlteredCache):
    """Takes another's store for an outage."""

    def flush(self, *, foreign=False):
        """As if the store were ours."""
        self.real.flush()


class GivesUpAtReconnect(AlteredCache):
    """Forgets everything as soon as a new link is there, trusted or not."""

    def flush(self, *, foreign=False):
        """For good."""
        self.real.flush(foreign=True)


class EndsWithTheTtl(AlteredCache):
    """Holds nothing longer than its TTL, outage or not."""

    def peek_stale(self, kid):
        """Return the record also if only its TTL has ended."""
        _, deadline = self.real._entries.fetch(kid) or (None, 0.0)
        return self.real.peek_stale(kid) if self.real._monotonic() < deadline else None


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
