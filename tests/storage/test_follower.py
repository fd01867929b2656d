"""Follower: whatever is lost, repeated or restored, who is in step holds nothing that is stale.

A machine drives it against a store in memory whose link does what a real one does: requests are
executed in order, replies and notices arrive in the order of their execution, later. Notices get
lost, the log is trimmed, the link ends, the store goes back to an older copy and lives on.
"""

import copy
import logging
import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from authz.core.events import Event
from authz.storage import follower as subject
from authz.storage.follower import QUIET_SECONDS, Follower, Position
from authz.storage.lag import BOUNDS_MS, LagHistogram
from tests.support.fakes import FakeClock, RecordingProbe

KIDS = ["A" * 16, "B" * 16, "C" * 16]
kids = st.sampled_from(KIDS)


@dataclass
class Store:
    """What a server holds: the version of each key, and the log."""

    seq: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    log: list[tuple[int, list[str]]] = field(default_factory=list)

    def xrange(self, start: str, end: str, count: int) -> list[list]:
        """As the server answers."""
        least = int(start.strip("(").partition("-")[0]) + start.startswith("(")
        most = float("inf") if end == "+" else int(end.partition("-")[0])
        found = [[f"{seq}-0", entry] for seq, entry in self.log if least <= seq <= most]
        return found[:count]


class Cache(dict):
    """A ChangeSink that holds kid -> version."""

    def forget(self, kid, *, revoked):
        """See ChangeSink."""
        self.pop(kid, None)

    def flush(self):
        """See ChangeSink."""
        self.clear()

    def trust(self, until):
        """See ChangeSink."""


class FollowerMachine(RuleBasedStateMachine):
    """One store, one link at a time, one sidecar."""

    follower_type = Follower

    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        self.store = Store()
        self.older = copy.deepcopy(self.store)
        self.follower = self.follower_type(self.clock, RecordingProbe())
        self.cache = Cache()
        self.requests = deque()
        self.wire = deque()
        self.changes = 0
        self.up = False

    # the link

    def send(self, on_reply, *command):
        """As Link.send."""
        self.requests.append((on_reply, command))

    def execute(self, command):
        """What the server answers now."""
        match command:
            case ("GET", _):
                return self.store.seq, dict(self.store.versions)
            case ("HGETALL", kid):
                return self.store.versions.get(kid)
            case ("XRANGE", _, start, end):
                return self.store.xrange(start, end, 10)
            case ("XRANGE", _, start, end, "COUNT", count):
                return self.store.xrange(start, end, int(count))

    @precondition(lambda self: not self.up)
    @rule()
    def connect(self):
        """A new link is subscribed, and a heartbeat is sent."""
        self.up = True
        self.follower.follow(self, self.cache, self.beat)
        self.beat()

    @precondition(lambda self: self.up)
    @rule()
    def disconnect(self):
        """The link ends, with all that is on it."""
        self.up = False
        self.requests.clear()
        self.wire.clear()

    @precondition(lambda self: self.up)
    @rule()
    def beat(self):
        """A heartbeat is sent. Whoever is in step then holds what was true when it was executed."""

        def on_seq(reply):
            seq, versions = reply
            if self.follower.compare(seq):
                stale = {kid for kid, version in self.cache.items() if versions.get(kid) != version}
                assert not stale

        self.send(on_seq, "GET", "seq")

    @precondition(lambda self: self.up)
    @rule(kid=kids)
    def load(self, kid):
        """A record is read into the cache."""

        def on_record(version):
            if version is not None:
                self.follower.saw(int(version.split()[0]))
                self.cache[kid] = version

        self.send(on_record, "HGETALL", kid)

    @precondition(lambda self: self.requests)
    @rule()
    def serve(self):
        """The server executes one request."""
        on_reply, command = self.requests.popleft()
        self.wire.append((on_reply, self.execute(command)))

    @precondition(lambda self: self.wire)
    @rule()
    def hand_over(self):
        """One message arrives."""
        receive, message = self.wire.popleft()
        receive(message)

    @rule()
    def settle(self):
        """Everything under way is executed and arrives."""
        for _ in range(200):
            if self.requests:
                self.serve()
            elif self.wire:
                self.hand_over()
            else:
                return
        raise AssertionError("it does not come to rest")

    # the store

    @rule(kid=kids, told=st.booleans())
    def change(self, kid, told):
        """A key is changed; the notice may get lost."""
        self.changes += 1
        self.clock.advance(0.001)
        store, at = self.store, str(self.clock.wall_ms())
        store.seq += 1
        entry = ["kid", kid, "status", "active", "at", at, "change_id", f"c{self.changes}"]
        store.log.append((store.seq, entry))
        store.versions[kid] = f"{store.seq} c{self.changes}"
        if self.up and told:
            notice = f"{store.seq} {kid} active {at} c{self.changes}"
            self.wire.append((self.follower.notice, notice))

    @rule(left=st.integers(0, 3))
    def trim(self, left):
        """The log loses its oldest entries."""
        self.store.log = self.store.log[len(self.store.log) - left :]

    @rule()
    def copy_store(self):
        """A copy is made: a snapshot, or a replica that falls behind."""
        self.older = copy.deepcopy(self.store)

    @rule()
    def fail_over(self):
        """The copy takes over. The link ends with the server."""
        if self.up:
            self.disconnect()
        self.store = copy.deepcopy(self.older)

    def teardown(self):
        """In the end it gets in step by itself, with one heartbeat that nothing disturbs."""
        if not self.up:
            self.connect()
        self.settle()
        self.beat()
        self.settle()
        assert self.follower.seq == self.store.seq
        assert self.follower.compare(self.store.seq)
        assert not self.follower.is_reading


@pytest.fixture
def small_pages(monkeypatch):
    """Pages that are full soon."""
    monkeypatch.setattr(subject, "PAGE", 2)


STEPS = [
    (1, lambda machine, dice: machine.up or machine.connect()),
    (0.3, lambda machine, dice: machine.up and machine.disconnect()),
    (1, lambda machine, dice: machine.up and machine.beat()),
    (2, lambda machine, dice: machine.up and machine.load(dice.choice(KIDS))),
    (1, lambda machine, dice: machine.requests and machine.serve()),
    (1, lambda machine, dice: machine.wire and machine.hand_over()),
    (2, lambda machine, dice: machine.settle()),
    (2, lambda machine, dice: machine.change(dice.choice(KIDS), told=dice.random() < 0.7)),
    (0.2, lambda machine, dice: machine.trim(dice.randint(0, 3))),
    (0.3, lambda machine, dice: machine.copy_store()),
    (0.2, lambda machine, dice: machine.fail_over()),
]


def drive(machine, seed):
    """Take a machine through the steps that `seed` says."""
    dice = random.Random(seed)
    weights, steps = zip(*STEPS, strict=True)
    for step in dice.choices(steps, weights, k=60):
        step(machine, dice)
    machine.teardown()


def test_in_step_is_current(small_pages):
    """Who is in step holds only what was true when the heartbeat was answered."""
    run_state_machine_as_test(
        FollowerMachine, settings=settings(max_examples=50, stateful_step_count=40, deadline=None)
    )


def test_in_step_is_current_in_the_long_run(small_pages, caplog):
    """The same over many histories that were chosen to be difficult."""
    caplog.set_level(logging.CRITICAL)
    for seed in range(1000):
        drive(FollowerMachine(), seed)


def is_caught(machine, seed):
    """Does this history bring a mistake to light?"""
    try:
        drive(machine, seed)
    except AssertionError:
        return True
    return False


class TrustsNumbers(Follower):
    """Takes a change for the one it knows because it has the same number."""

    def _anchor(self, change):
        super()._anchor(change._replace(mark=(self._position or Position(0)).mark))


class SkipsHoles(Follower):
    """Goes on behind a hole in the log."""

    def _anchor(self, change):
        self._anchored = True


class CountsNotices(Follower):
    """Thinks that a notice is always the next one."""

    def notice(self, text):
        self._in_step, was = False, self._in_step
        super().notice(text)
        self._in_step = was
        self._position = Position(int(text.split()[0]), " ".join(text.split()[3:]))


class StaysInStep(Follower):
    """Compares numbers only, also on a new link."""

    def follow(self, link, sink, caught_up):
        was = self._in_step
        super().follow(link, sink, caught_up)
        self._in_step = was


class NeverLooksAhead(Follower):
    """Does not mind that a record was read which is newer than the last change applied."""

    def saw(self, version):
        pass


@pytest.mark.parametrize(
    "mistake", [TrustsNumbers, SkipsHoles, CountsNotices, StaysInStep, NeverLooksAhead]
)
def test_the_machine_sees_mistakes(small_pages, caplog, mistake):
    """The same histories bring each of these mistakes to light."""
    caplog.set_level(logging.CRITICAL)
    machine = type("Machine", (FollowerMachine,), {"follower_type": mistake})
    assert any(is_caught(machine(), seed) for seed in range(1000))


def test_garbage_is_spoken_of_once_a_minute(caplog):
    """The first piece is logged at once, those of the next minute in one line with their count."""
    clock, probe = FakeClock(), RecordingProbe()
    follower = Follower(clock, probe)
    follower._position, follower._in_step = Position(5, "mark"), True
    for _ in range(100):
        follower.notice("garbage")
    assert probe.events[Event.CHANGE_GARBLED] == 100
    assert [entry.levelno for entry in caplog.records] == [logging.WARNING]

    clock.advance(QUIET_SECONDS)
    assert not follower.is_reading
    follower.compare(5)
    follower.compare(5)
    assert [entry.args[0] for entry in caplog.records] == [1, 99]
    assert follower.seq == 5


@given(st.lists(st.integers(-5, 30_000), min_size=1))
def test_lag(lags):
    """No lag is lost, and a quantile is the step that the true one lies in."""
    histogram = LagHistogram()
    for lag in lags:
        histogram.add(lag)
    known = sorted(max(lag, 0) for lag in lags)
    summary = histogram.summary()
    assert summary.count == sum(histogram.counts) == len(lags)
    assert (summary.max_ms, histogram.sum) == (known[-1], sum(known))
    for found, share in ((summary.p50_ms, 50), (summary.p99_ms, 99)):
        true = known[-(-len(known) * share // 100) - 1]
        above = next((bound for bound in BOUNDS_MS if bound >= true), known[-1])
        assert found == min(above, known[-1])


def test_no_lag_yet():
    """Before the first change there is nothing to tell."""
    assert LagHistogram().summary().count == 0
