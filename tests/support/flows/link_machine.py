"""A store, an ordered link and a cache, driven at random, with a judge of all that is served.

The model, one process each:

    store   does commands in the order in which they were sent, and changes whenever it likes;
            what it says (replies and notices) leaves in the order in which it did things
    link    hands over what the store said in that order, as late as it likes, or drops
    cache   the thing under test; its waiters wake when the event loop runs, later still
    clock   moves when it is told to

The judge knows when each state of each key was true, and that is all it goes by.
"""

import asyncio
import math
from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from authz.core.errors import Unavailable
from authz.core.records import Status
from authz.flows.keycache import KeyCache
from tests.support.caches import make_cache
from tests.support.fakes import FakeClock, RecordingProbe, make_record
from tests.support.flows.verdicts import LEASE, RevivedError, StaleError

KIDS = ["A" * 16, "B" * 16]
DEADLINE = 3.0
OWN_GRACE = {KIDS[0]: None, KIDS[1]: 0}  # of each key: as the sidecar is set, and none

PAUSES = [0.1, 0.4, LEASE, 2.5]
STATUSES = [Status.ACTIVE, Status.ACTIVE, Status.ACTIVE, Status.DISABLED, Status.REVOKED]

kids = st.sampled_from(KIDS)


async def a_few_turns():
    """Enough of them for a waiter to wake, find nothing and ask again."""
    for _ in range(4):
        await asyncio.sleep(0)


class LinkMachine(RuleBasedStateMachine):
    """Drives the real cache; subclasses also drive others."""

    cache_kind = KeyCache
    cache_settings = {"ttl": 20.0, "negative_ttl": 5.0}

    def __init__(self):
        super().__init__()
        self.loop = None
        self.clock = FakeClock()
        self.cache = make_cache(
            self,
            self.clock,
            RecordingProbe(),
            kind=self.cache_kind,
            max_entries=2,
            max_in_use=1,
            max_negatives=2,
            deadline=DEADLINE,
            **self.cache_settings,
        )
        self.tasks = []
        self.states = 0
        # kid -> [(since, record or None)]: all that was ever true, the last is true now
        self.history = {kid: [(-math.inf, None)] for kid in KIDS}
        self.seen_revoked = set()
        self.up = False
        self.commands = deque()  # sent, not yet done by the store
        self.said = deque()  # said by the store, not yet handed over

    # the store

    def now_true(self, kid):
        """The record of `kid` in the store, or None."""
        return self.history[kid][-1][1]

    def write(self, kid, record):
        """From now on this is true."""
        self.history[kid].append((self.clock.monotonic(), record))

    @rule(kid=kids, status=st.sampled_from(STATUSES))
    def change(self, kid, status):
        """The key is issued, altered, or revoked, and everybody who listens is told."""
        current = self.now_true(kid)
        if current is not None and current.status is Status.REVOKED:
            return
        self.states += 1
        grace = OWN_GRACE[kid]
        self.write(
            kid, make_record(kid=kid, status=status, version=self.states, outage_grace=grace)
        )
        if self.up:
            self.said.append(("notice", kid, status is Status.REVOKED))

    @rule(kid=kids)
    def fail_over(self, kid):
        """The store loses its last change: the link drops, and nobody is told."""
        if len(self.history[kid]) > 1:
            self.write(kid, self.history[kid][-2][1])
        self.drop()

    @precondition(lambda self: self.commands)
    @rule(count=st.integers(1, 5))
    def serve(self, count):
        """The store does what it was asked."""
        for _ in range(min(count, len(self.commands))):
            kind, *rest = self.commands.popleft()
            if kind == "load":
                kid, deliver = rest
                self.said.append(("record", kid, deliver, self.now_true(kid)))
            else:
                self.said.append(("pong", *rest))

    # the link

    def load(self, kid, deliver):
        """Implement KeySource.load."""
        if self.up:
            self.commands.append(("load", kid, deliver))
        else:
            self.loop.call_soon(deliver, Unavailable("not connected"))

    @precondition(lambda self: self.up)
    @rule()
    def beat(self):
        """A heartbeat is sent."""
        self.commands.append(("ping", self.clock.monotonic()))

    @precondition(lambda self: self.said)
    @rule(count=st.integers(1, 5))
    def hand_over(self, count):
        """Deliver the store's replies in order, before any waiter wakes."""
        for _ in range(min(count, len(self.said))):
            match self.said.popleft():
                case ("record", kid, deliver, record):
                    if record is not None and record.status is Status.REVOKED:
                        self.seen_revoked.add(kid)
                    self.deliver(kid, deliver, record)
                case ("notice", kid, revoked):
                    if revoked:
                        self.seen_revoked.add(kid)
                    self.forget(kid, revoked=revoked)
                case ("pong", sent):
                    self.trust(sent + LEASE)

    @precondition(lambda self: self.commands or self.said)
    @rule()
    def catch_up(self):
        """All that is under way arrives; the waiters sleep on."""
        while self.commands or self.said:
            self.serve(len(self.commands))
            self.hand_over(len(self.said))

    @precondition(lambda self: self.up)
    @rule(halves=st.integers(1, 4))
    def live(self, halves):
        """A healthy while: heartbeats come and go, notices arrive."""
        for _ in range(halves):
            self.clock.advance(LEASE / 2)
            self.beat()
            self.catch_up()

    @precondition(lambda self: self.up)
    @rule()
    def drop(self):
        """The link ends: what is under way is lost, and every load is told."""
        lost = [*self.said, *self.commands]
        self.said.clear()
        self.commands.clear()
        self.up = False
        for kind, *rest in lost:
            if kind in ("load", "record"):
                rest[1](Unavailable("the link was lost"))
        self.trust(0.0)

    @initialize()
    def begin(self):
        """The sidecar starts, and one key is in use."""
        self.loop = asyncio.new_event_loop()
        self.change(KIDS[0], Status.ACTIVE)
        self.connect()
        self.ask(KIDS[0])
        self.quiesce()

    @precondition(lambda self: not self.up)
    @rule()
    def connect(self):
        """A new link begins with a flush and a heartbeat."""
        self.up = True
        self.flush()
        self.beat()
        self.catch_up()

    # what seldom comes about by chance

    @precondition(lambda self: self.up)
    @rule(kid=kids, status=st.sampled_from(Status))
    def race(self, kid, status):
        """A key is read, changed behind that, and both arrive together."""
        self.ask(kid)
        self.serve(len(self.commands))
        self.change(kid, status)
        self.catch_up()

    @precondition(lambda self: self.up)
    @rule(kid=kids)
    def lose_a_revocation(self, kid):
        """A key is revoked while nobody listens, read as revoked, and then the store loses that."""
        self.drop()
        self.change(kid, Status.REVOKED)
        self.connect()
        self.ask(kid)
        self.quiesce()
        self.fail_over(kid)
        self.connect()
        self.ask(kid)

    # what the cache is told

    def deliver(self, _kid, deliver, record):
        """A load is answered."""
        deliver(record)

    def forget(self, kid, *, revoked):
        """Implement ChangeSink.forget."""
        self.cache.forget(kid, revoked=revoked)

    def flush(self):
        """Implement ChangeSink.flush."""
        self.cache.flush()

    def trust(self, until):
        """Implement ChangeSink.trust."""
        self.cache.trust(until)

    # the requests

    @rule(kid=kids)
    def ask(self, kid):
        """A request comes: served at once, or by a task that waits."""
        record = self.cache.peek(kid)
        if record is not None:
            self.judge(kid, record)
        else:
            self.tasks.append(self.loop.create_task(self.find(kid)))
            self.wake()

    async def find(self, kid):
        """A miss. What it gets is judged in the moment in which it gets it."""
        try:
            record = await self.cache.find(kid)
        except Unavailable:
            self.not_found(kid)
        else:
            self.judge(kid, record)

    def not_found(self, kid):
        """The cache had nothing to serve."""

    @rule()
    def wake(self):
        """The event loop runs: waiters go on as far as they can."""
        self.loop.run_until_complete(a_few_turns())
        waiting = [task for task in self.tasks if not task.done()]
        for task in self.tasks:
            if task.done():
                task.result()
        self.tasks = waiting

    @rule(seconds=st.sampled_from(PAUSES))
    def pause(self, seconds):
        """Time passes."""
        self.clock.advance(seconds)

    # the judge

    def judge(self, kid, served, bound=LEASE):
        """Check that a served record was true within the last `bound`, and revoked ones stay so."""
        if served is not None and served.status is Status.REVOKED:
            self.seen_revoked.add(kid)
        elif served is not None and kid in self.seen_revoked:
            raise RevivedError(f"{kid} version {served.version}")
        oldest = self.clock.monotonic() - bound
        history = self.history[kid]
        ends = [since for since, _ in history[1:]] + [math.inf]
        recent = {
            record and record.version
            for (_, record), end in zip(history, ends, strict=True)
            if end > oldest
        }
        if (served and served.version) not in recent:
            raise StaleError(f"{kid} version {served and served.version}, true of late: {recent}")

    def teardown(self):
        """When all is quiet and healthy, the cache serves what is true."""
        if self.loop is None:
            return
        try:
            self.settle()
        finally:
            for task in self.tasks:
                task.cancel()
            if self.tasks:
                self.loop.run_until_complete(asyncio.wait(self.tasks))
            self.loop.close()

    def settle(self):
        """Let everything that is under way arrive, then ask for every key."""
        if not self.up:
            self.connect()
        self.quiesce()
        self.live(1)
        for kid in KIDS:
            found = self.loop.create_task(self.cache.find(kid))
            self.quiesce()
            served, true = found.result(), self.now_true(kid)
            assert (served is None) is (true is None)
            if served is not None:
                assert served.version == true.version
                assert (served.status is Status.REVOKED) is (kid in self.seen_revoked)

    def quiesce(self):
        """Run until nothing moves any more."""
        self.wake()
        while self.commands or self.said:
            self.catch_up()
            self.wake()
