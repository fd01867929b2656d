"""The cache serves nothing older than the lease, in any order of events.

The judge is proven too: caches that each have one known mistake are driven over the same schedules,
and every one must be caught.
"""

import asyncio
import math
import random

import pytest
from hypothesis import settings

from tests.support.flows.altered_cache import AlteredCache
from tests.support.flows.link_machine import KIDS, PAUSES, STATUSES, LinkMachine
from tests.support.flows.verdicts import RevivedError, StaleError

SCHEDULES = 1000


LinkMachine.TestCase.settings = settings(max_examples=250, stateful_step_count=50)
TestKeyCacheMachine = LinkMachine.TestCase


class NaiveCache:
    """The naive cache: the waiting task stores its own result, and trust is ignored."""

    def __init__(self, source, *_args, **_settings):
        self.source = source
        self.records = {}

    def peek(self, kid):
        """A record that is there."""
        return self.records.get(kid)

    async def find(self, kid):
        """Get, then set."""
        if kid not in self.records:
            reply = asyncio.get_running_loop().create_future()
            self.source.load(kid, reply.set_result)
            loaded = await reply
            if isinstance(loaded, Exception):
                raise loaded
            self.records[kid] = loaded
        return self.records[kid]

    def forget(self, kid, *, revoked):
        """Invalidation."""
        self.records.pop(kid, None)

    def flush(self, *, foreign=False):
        """Invalidation of everything."""
        self.records.clear()

    def trust(self, until):
        """Ignore trust."""


class LateSource:
    """A source whose replies wait for the next turn of the event loop."""

    def __init__(self, source):
        self.source = source

    def load(self, kid, deliver):
        """Deliver late."""
        self.source.load(kid, lambda loaded: self.source.loop.call_soon(deliver, loaded))


class FillsLate(AlteredCache):
    """Right in everything, but the fill waits for the next turn of the event loop."""

    def __init__(self, source, *args, **settings):
        super().__init__(LateSource(source), *args, **settings)


class TrustsForEver(AlteredCache):
    """Mutant: trust never ends."""

    def trust(self, until):
        """Never lapses, not even when the link is lost."""
        self.real.trust(math.inf)


class PeeksWithoutTrust(AlteredCache):
    """Looks at trust on a miss only."""

    def peek(self, kid):
        """A record that has not outlived its TTL."""
        record, deadline = self.real._entries.fetch(kid) or (None, 0.0)
        return record if self.real._monotonic() < deadline else None


class ServesWhatItLoaded(AlteredCache):
    """Hands the reply to the waiter, past the cache and past the trust of the moment."""

    async def find(self, kid):
        """Loads, and answers whatever came of it."""
        loaded = asyncio.get_running_loop().create_future()
        self.real._source.load(kid, loaded.set_result)
        record = await loaded
        if isinstance(record, Exception):
            raise record
        return record


class MissesNotices(AlteredCache):
    """Waits for the TTL."""

    def forget(self, kid, *, revoked):
        """Remembers a revocation, but leaves the record where it is."""
        if revoked:
            self.real._revoked.put(kid, None)


class KeepsThroughFlush(AlteredCache):
    """Takes a reconnect for harmless."""

    def flush(self, *, foreign=False):
        """Nothing."""


class ForgetsRevocations(AlteredCache):
    """Believes whatever the store says after a failover."""

    def flush(self, *, foreign=False):
        """Everything, what was revoked too."""
        self.real.flush(foreign=foreign)
        self.real._revoked.clear()


MUTANTS = [
    (NaiveCache, {StaleError, RevivedError}),
    (FillsLate, {StaleError}),
    (TrustsForEver, {StaleError}),
    (PeeksWithoutTrust, {StaleError}),
    (ServesWhatItLoaded, {StaleError, RevivedError}),
    (MissesNotices, {StaleError, RevivedError}),
    (KeepsThroughFlush, {StaleError, RevivedError}),
    (ForgetsRevocations, {RevivedError}),
]


STEPS = [  # how likely, and what
    (3, lambda machine, dice: machine.change(dice.choice(KIDS), dice.choice(STATUSES))),
    (3, lambda machine, dice: machine.ask(dice.choice(KIDS))),
    (2, lambda machine, dice: machine.serve(dice.randint(1, 5))),
    (2, lambda machine, dice: machine.hand_over(dice.randint(1, 5))),
    (2, lambda machine, dice: machine.wake()),
    (1, lambda machine, dice: machine.catch_up()),
    (1, lambda machine, dice: machine.pause(dice.choice(PAUSES))),
    (1, lambda machine, dice: machine.up and machine.beat()),
    (1, lambda machine, dice: machine.up and machine.live(dice.randint(1, 4))),
    (0.3, lambda machine, dice: machine.up and machine.drop()),
    (0.6, lambda machine, dice: machine.fail_over(dice.choice(KIDS))),
    (2, lambda machine, dice: machine.up or machine.connect()),
]


def drive(machine, seed):
    """Take a machine through the schedule that `seed` stands for, each with likings of its own."""
    dice = random.Random(seed)
    likings = [weight * dice.random() for weight, _ in STEPS]
    machine.begin()
    try:
        for _, step in dice.choices(STEPS, likings, k=60):
            step(machine, dice)
    finally:
        machine.teardown()


def verdict(machine, seed):
    """Return the judge's error for a machine on the schedule of `seed`, or None."""
    try:
        drive(machine, seed)
    except (StaleError, RevivedError) as caught:
        return type(caught)
    return None


def test_the_cache_keeps_to_the_rules_on_every_schedule():
    """On a thousand schedules the judge has nothing to say of the real cache."""
    assert [seed for seed in range(SCHEDULES) if verdict(LinkMachine(), seed)] == []


@pytest.mark.parametrize(("mutant", "verdicts"), MUTANTS)
def test_the_judge_sees_every_mistake(mutant, verdicts):
    """On the same schedules a cache with one mistake is caught."""

    class MutantMachine(LinkMachine):
        cache_kind = mutant

        def settle(self):
            """Do nothing: the judge has to find the mistake in what was served."""

    found = (verdict(MutantMachine(), seed) for seed in range(SCHEDULES))

    assert next(filter(None, found), None) in verdicts
