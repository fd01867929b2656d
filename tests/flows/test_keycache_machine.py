"""The cache serves nothing older than the lease, in any order of events; and the judge can see it.

The same machine drives caches that each have one known mistake, and must find every one.
"""

import asyncio
import math

import pytest
from hypothesis import settings

from authz.flows.keycache import KeyCache
from tests.flows.link_machine import LinkMachine
from tests.flows.verdicts import RevivedError, StaleError, make, verdict_on


class KeyCacheMachine(LinkMachine):
    """The real cache."""

    def make_cache(self, source, clock):
        """See LinkMachine."""
        return make(KeyCache, source, clock)


KeyCacheMachine.TestCase.settings = settings(max_examples=250, stateful_step_count=50)
TestKeyCacheMachine = KeyCacheMachine.TestCase


class NaiveCache:
    """What everybody writes first: get, then set by the task that awaited; no trust."""

    def __init__(self, source, _clock):
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
        """What is that?"""


class FillsLate(KeyCache):
    """Right in everything, but the fill waits for the next turn of the event loop."""

    def _deliver(self, kid, load, loaded):
        load.get_loop().call_soon(super()._deliver, kid, load, loaded)


class TrustsForEver(KeyCache):
    """Once trusted, always trusted."""

    def trust(self, until):
        """Never lapses, not even when the link is lost."""
        super().trust(math.inf)


class PeeksWithoutTrust(KeyCache):
    """Looks at trust on a miss only."""

    def peek(self, kid):
        """A record that has not outlived its TTL."""
        record, deadline = self._entries.get(kid, (None, 0.0))
        return record if self._monotonic() < deadline else None


class ServesWhatItLoaded(KeyCache):
    """Hands the reply to the waiter, past the cache and past the trust of the moment."""

    async def find(self, kid):
        """Loads, and answers whatever came of it."""
        loaded = asyncio.get_running_loop().create_future()
        self._source.load(kid, loaded.set_result)
        record = await loaded
        if isinstance(record, Exception):
            raise record
        return record


class MissesNotices(KeyCache):
    """Waits for the TTL."""

    def forget(self, kid, *, revoked):
        """Remembers a revocation, but leaves the record where it is."""
        if revoked:
            self._remember_revoked(kid)


class KeepsThroughFlush(KeyCache):
    """Takes a reconnect for harmless."""

    def flush(self, *, foreign=False):
        """Nothing."""


class ForgetsRevocations(KeyCache):
    """Believes whatever the store says after a failover."""

    def flush(self, *, foreign=False):
        """Everything, what was revoked too."""
        super().flush(foreign=foreign)
        self._revoked.clear()


class ForgetsWhatItReads(KeyCache):
    """Remembers revocations from notices only."""

    def _keep(self, record):
        revoked = set(self._revoked)
        super()._keep(record)
        if record.kid not in revoked:
            self._revoked.pop(record.kid, None)


@pytest.mark.parametrize(
    ("mutant", "verdicts"),
    [
        (NaiveCache, {StaleError, RevivedError}),
        (FillsLate, {StaleError}),
        (TrustsForEver, {StaleError}),
        (PeeksWithoutTrust, {StaleError}),
        (ServesWhatItLoaded, {StaleError, RevivedError}),
        (MissesNotices, {StaleError, RevivedError}),
        (KeepsThroughFlush, {StaleError, RevivedError}),
        (ForgetsRevocations, {RevivedError}),
        (ForgetsWhatItReads, {RevivedError}),
    ],
)
def test_the_judge_sees_every_mistake(mutant, verdicts):
    """A cache with one mistake is caught serving something stale, or revived, within a few runs."""

    class MutantMachine(LinkMachine):
        def make_cache(self, source, clock):
            if issubclass(mutant, KeyCache):
                return make(mutant, source, clock)
            return mutant(source, clock)

    assert verdict_on(MutantMachine) in verdicts
