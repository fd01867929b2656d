"""The same with outages of the store: what the cache goes on with, for how long, and what it must.

The judge allows a key its grace on top of the lease, and asks in return that a key that was known
goes on for that long.
"""

import math

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from authz.core.records import Status
from tests.support.flows.link_machine import KIDS, LinkMachine, kids
from tests.support.flows.verdicts import LEASE, ForeignError, GivenUpError

GRACE = 3.0  # of the sidecar


def grace_of(record):
    """Seconds."""
    return GRACE if record.outage_grace is None else record.outage_grace / 1000


class OutageMachine(LinkMachine):
    """Keeps its own book of what the cache was told, and so has to go on with."""

    cache_settings = {"ttl": 5.0, "negative_ttl": 2.0, "grace": GRACE}

    def __init__(self):
        super().__init__()
        self.known = {}
        self.aside = set()  # those that a flush took out
        self.disowned = set()  # those that are another store's, as it turned out
        self.last_trusted = -math.inf

    # what the cache is told

    def deliver(self, kid, deliver, record):
        """Implement LinkMachine.deliver."""
        super().deliver(kid, deliver, record)
        self.aside.discard(kid)
        self.disowned.discard(kid)
        self.known[kid] = record

    def forget(self, kid, *, revoked):
        """Implement LinkMachine.forget."""
        super().forget(kid, revoked=revoked)
        self.known.pop(kid, None)

    def flush(self, *, foreign=False):
        """Implement LinkMachine.flush."""
        self.cache.flush(foreign=foreign)
        if foreign:
            self.disowned.update(self.known)
            self.known = {}
        self.aside = set(self.known)

    def trust(self, until):
        """Implement LinkMachine.trust."""
        super().trust(until)
        now = self.clock.monotonic()
        if now >= until:
            self.last_trusted = min(self.last_trusted, now)
            return
        self.last_trusted = until
        for kid in self.aside:
            self.known.pop(kid, None)
        self.aside = set()
        self.holds_nothing_older_than(until - LEASE)

    def holds_nothing_older_than(self, sent):
        """With trust, a change that was made before that heartbeat can be confirmed."""
        for kid in KIDS:
            record = self.cache.peek_stale(kid)
            if record is not None and record.status is not Status.REVOKED:
                self.judge(kid, record, self.clock.monotonic() - sent + 0.001)

    # what happens

    @precondition(lambda self: not self.up)
    @rule(times=st.integers(1, 3))
    def flap(self, times):
        """New links come, and end before their first heartbeat is answered."""
        for _ in range(times):
            self.clock.advance(LEASE)
            self.up = True
            self.flush()
            self.drop()

    @precondition(lambda self: self.up)
    @rule(foreign=st.booleans())
    def disown(self, foreign):
        """A heartbeat finds the store emptied, or another's; its number is another, too."""
        self.catch_up()
        self.flush(foreign=foreign)
        self.trust(0.0)

    @precondition(lambda self: self.up)
    @rule(kid=kids, status=st.sampled_from(Status), seconds=st.sampled_from([0.5, 2.0, 3.5]))
    def miss(self, kid, status, seconds):
        """A key is known, the link drops, and the key is changed while nobody listens."""
        self.connect_and_know(kid)
        self.drop()
        self.change(kid, status)
        self.clock.advance(seconds)
        self.ask(kid)

    def connect_and_know(self, kid):
        """A healthy moment in which the key is used."""
        self.live(1)
        self.ask(kid)
        self.quiesce()

    @precondition(lambda self: self.up)
    @rule(kid=kids, status=st.sampled_from(Status))
    def change_between_flush_and_drop(self, kid, status):
        """A key is known and taken out by a flush; its change is heard, then the link drops."""
        self.connect_and_know(kid)
        self.flush()
        self.change(kid, status)
        self.catch_up()
        self.drop()
        self.ask(kid)

    # the judge

    def not_found(self, kid):
        """The store cannot be asked."""
        record = self.cache.peek_stale(kid)
        if record is None:
            known = self.known.get(kid)
            if known is not None and self.clock.monotonic() < self.last_trusted + grace_of(known):
                raise GivenUpError(f"{kid}: {known}")
        elif kid in self.disowned:
            raise ForeignError(f"{kid} version {record.version}")
        elif record.status is not Status.REVOKED:  # that is final, whenever it was
            self.judge(kid, record, LEASE + grace_of(record))
