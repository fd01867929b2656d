"""Several sidecars, a network between, the real script on a real Valkey, all on a clock of ours.

Requests come at random moments, messages take as long as they like, clocks run a little fast or
slow, a sidecar stops for a while or dies. What passes is recorded with its moment: of a request
that the store granted that of the grant, of one on a lease that of the decision.
"""

import asyncio
import heapq
import itertools
import random

from authz.core.errors import OutcomeUnknown
from authz.core.limits.charge import SpendReply
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import OnOutage, parse_limits
from authz.flows.limits.limiter import Limiter
from tests.spending.store import TimedStore
from tests.support.fakes import RecordingProbe, make_record

BEGIN = 1_763_779_999_000_000
DRIFT = 0.0005


class World:
    """The queue of events, each at its microsecond."""

    def __init__(self, client, seed, texts, lossy=0.0):
        self.chance = random.Random(seed)
        self.store = TimedStore(client)
        self.now = BEGIN
        self.events = []
        self.number = itertools.count()
        self.lossy = lossy
        self.record = make_record(limits=parse_limits("limits", texts), on_outage=OnOutage.DENY)
        self.passed = []  # moments
        self.sidecars = []

    def at(self, when, act):
        heapq.heappush(self.events, (max(when, self.now), next(self.number), act))

    async def run(self, until):
        """Let time pass."""
        while self.events and self.events[0][0] <= until:
            self.now, _, act = heapq.heappop(self.events)
            act()
            await asyncio.sleep(0)
        self.now = until

    def delay(self):
        """How long a message takes: mostly a fraction of a millisecond, now and then a lot."""
        return round(self.chance.choice((100, 200, 300, 1500, 40_000)) * self.chance.random()) + 1


class Sidecar:
    """A limiter in the world: its clock, its store, and who waits for it."""

    is_open = True

    def __init__(self, world, policy=None, record=None):
        self.world = world
        self.speed = 1 + world.chance.uniform(-DRIFT, DRIFT)
        self.paused_until = 0
        self.alive = True
        self.waiting = []  # (asked at, future)
        self.probe = RecordingProbe()
        self.record = record or world.record
        self.limiter = Limiter(self, policy or LimitPolicy(), self, self.probe, max_keys=10)
        self.counted = self.let_pass = 0
        self.passed = []
        world.sidecars.append(self)

    # Clock

    def wall_ms(self):
        return self.world.now // 1000

    def monotonic(self):
        return (self.world.now - BEGIN) / 1e6 * self.speed

    # SpendStore

    def spend(self, charge, ask, deliver):
        sent = self.world.now

        def arrive():
            receipt = self.world.store.spend(charge, ask, self.world.now)
            lost = self.world.chance.random() < self.world.lossy
            self.counted += receipt.granted - ask.returned
            self.later(
                lambda: self.answer(sent, deliver, OutcomeUnknown("lost") if lost else receipt)
            )

        self.world.at(self.world.now + self.world.delay(), arrive)

    def answer(self, sent, deliver, answer):
        deliver(answer)
        for asked, future in self.waiting:
            if future.done():
                granted = isinstance(answer, SpendReply) and asked <= sent
                self.note(future, answer.now_us if granted else self.world.now)
        self.waiting = [(asked, future) for asked, future in self.waiting if not future.done()]

    def later(self, act):
        """After the network, and not while it is stopped."""

        def now():
            if self.world.now < self.paused_until:
                self.world.at(self.paused_until, now)
            elif self.alive:
                act()

        self.world.at(self.world.now + self.world.delay(), now)

    # requests

    def offer(self, rate, until):
        """Requests at `rate` a second, at random moments."""

        def request():
            if not self.alive:
                return
            if self.world.now >= self.paused_until:
                self.ask()
            following = self.world.now + round(self.world.chance.expovariate(rate) * 1e6)
            if following < until:
                self.world.at(following, request)

        self.world.at(self.world.now, request)

    def ask(self):
        spent = self.limiter.spend(self.record, 1)
        if asyncio.isfuture(spent):
            self.waiting.append((self.world.now, spent))
        else:
            self.count(spent, self.world.now)

    def note(self, future, moment):
        if future.exception() is None:
            self.count(future.result(), moment)

    def count(self, spent, moment):
        if spent.allowed:
            self.let_pass += 1
            self.world.passed.append(moment)
            self.passed.append(moment)

    def pause(self, microseconds):
        self.paused_until = self.world.now + microseconds

    @property
    def stranded(self):
        """The requests that were counted for it and did not pass."""
        return self.counted - self.let_pass
