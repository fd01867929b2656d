"""Follower: if it is in step, the cache holds nothing stale, whatever was lost or restored.

A state machine drives it against a store in memory. The link behaves like a real one: requests run
in order, replies and notices arrive later in that order. Notices get lost, the log is trimmed, the
link ends, and the store goes back to an older copy.
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
from authz.storage.follower import Follower, Position
from authz.storage.lag import BOUNDS_MS, LagHistogram
from tests.support.fakes import FakeClock, RecordingProbe

KIDS = ["A" * 16, "B" * 16, "C" * 16]
kids = st.sampled_from(KIDS)


@dataclass
class Store:
    """Content of a server: the version of each key, and the log."""

    seq: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    log: list[tuple[int, list[str]]] = field(default_factory=list)

    def xrange(self, start: str, end: str, count: int) -> list[list]:
        """Return the entries of a range, as the server does."""
        least = int(start.strip("(").partition("-")[0]) + start.startswith("(")
        most = float("inf") if end == "+" else int(end.partition("-")[0])
        found = [[f"{seq}-0", entry] for seq, entry in self.log if least <= seq <= most]
        return found[:count]


class Cache(dict):
    """A ChangeSink that holds kid -> version."""

    def forget(self, kid, *, revoked):
        """Implement ChangeSink.forget."""
        self.pop(kid, None)

    def flush(self):
        """Implement ChangeSink.flush."""
        self.clear()

    def trust(self, until):
        """Implement ChangeSink.trust."""


class FollowerMachine(RuleBasedStateMachine):
    """One store, one link at a time, and one sidecar."""

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
        """Return the server's reply."""
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
        """Subscribe a new link and send a heartbeat."""
        self.up = True
        self.follower.follow(self, self.cache, self.beat)
        self.beat()

    @precondition(lambda self: self.up)
    @rule()
    def disconnect(self):
        """End the link with everything in flight."""
        self.up = False
        self.requests.clear()
        self.wire.clear()

    @precondition(lambda self: self.up)
    @rule()
    def beat(self):
        """Send a heartbeat. If the follower is in step, the cache must hold what was true at the
        server.
        """

        def on_seq(reply):
            seq, versions = reply
            self.follower.catch_up(seq)
            if self.follower.is_in_step:
                stale = {kid for kid, version in self.cache.items() if versions.get(kid) != version}
                assert not stale

        self.send(on_seq, "GET", "seq")

    @precondition(lambda self: self.up)
    @rule(kid=kids)
    def load(self, kid):
        """Read a record into the cache."""

        def on_record(version):
            if version is not None:
                self.follower.record_read(int(version.split()[0]))
                self.cache[kid] = version

        self.send(on_record, "HGETALL", kid)

    @precondition(lambda self: self.requests)
    @rule()
    def serve(self):
        """Execute one request."""
        on_reply, command = self.requests.popleft()
        self.wire.append((on_reply, self.execute(command)))

    @precondition(lambda self: self.wire)
    @rule()
    def hand_over(self):
        """Deliver one message."""
        receive, message = self.wire.popleft()
        receive(message)

    @rule()
    def settle(self):
        """Execute and deliver everything in flight."""
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
        """Change a key; the notice may get lost."""
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
        """Remove the oldest entries of the log."""
        self.store.log = self.store.log[len(self.store.log) - left :]

    @rule()
    def copy_store(self):
        """Copy the store, like a snapshot or a lagging replica."""
        self.older = copy.deepcopy(self.store)

    @rule()
    def fail_over(self):
        """Let the copy take over and end the link."""
        if self.up:
            self.disconnect()
        self.store = copy.deepcopy(self.older)

    def teardown(self):
        """Check that one undisturbed heartbeat brings the follower in step."""
        if not self.up:
            self.connect()
        self.settle()
        self.beat()
        self.settle()
        assert self.follower.seq == self.store.seq
        self.follower.catch_up(self.store.seq)
        assert self.follower.is_in_step


@pytest.fixture
def small_pages(monkeypatch):
    """Make the pages of the log small."""
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
    """Run a machine through the random steps of `seed`."""
    dice = random.Random(seed)
    weights, steps = zip(*STEPS, strict=True)
    for step in dice.choices(steps, weights, k=60):
        step(machine, dice)
    machine.teardown()


def test_in_step_is_current(small_pages):
    """A follower in step holds only versions that were current at the heartbeat."""
    run_state_machine_as_test(
        FollowerMachine, settings=settings(max_examples=50, stateful_step_count=40, deadline=None)
    )


def test_in_step_is_current_in_the_long_run(small_pages, caplog):
    """A follower in step holds only current versions, over 1,000 difficult histories."""
    caplog.set_level(logging.CRITICAL)
    for seed in range(1000):
        drive(FollowerMachine(), seed)


def is_caught(machine, seed):
    """Return whether this history reveals the mistake."""
    try:
        drive(machine, seed)
    except AssertionError:
        return True
    return False


class TrustsNumbers(Follower):
    """A mutant that identifies a change by its number alone."""

    def _anchor(self, change):
        super()._anchor(change._replace(mark=(self._position or Position(0)).mark))


class SkipsHoles(Follower):
    """A mutant that continues after a hole in the log."""

    def _anchor(self, change):
        self._anchored = True


class CountsNotices(Follower):
    """A mutant that takes every notice for the next one."""

    def notice(self, text):
        self._compared, was = False, self._compared
        super().notice(text)
        self._compared = was
        self._position = Position(int(text.split()[0]), " ".join(text.split()[3:]))


class StaysInStep(Follower):
    """A mutant that compares only numbers on a new link."""

    def follow(self, link, sink, caught_up):
        was = self._compared
        super().follow(link, sink, caught_up)
        self._compared = was


class NeverLooksAhead(Follower):
    """A mutant that ignores that a record newer than the last change was read."""

    def record_read(self, version):
        pass


@pytest.mark.parametrize(
    "mistake", [TrustsNumbers, SkipsHoles, CountsNotices, StaysInStep, NeverLooksAhead]
)
def test_the_machine_sees_mistakes(small_pages, caplog, mistake):
    """The same histories reveal each of these mutants."""
    caplog.set_level(logging.CRITICAL)
    machine = type("Machine", (FollowerMachine,), {"follower_type": mistake})
    assert any(is_caught(machine(), seed) for seed in range(1000))


def test_an_unreadable_notice_is_ignored(caplog):
    """An unreadable notice is counted and logged, and does not move the position."""
    clock, probe = FakeClock(), RecordingProbe()
    follower = Follower(clock, probe)
    follower._position, follower._compared = Position(5, "mark"), True
    for _ in range(100):
        follower.notice("garbage")
    assert probe.events[Event.CHANGE_GARBLED] == 100
    assert {(entry.name, entry.levelno) for entry in caplog.records} == {
        ("authz.store.ignored", logging.WARNING)
    }

    follower.catch_up(5)
    assert follower.is_in_step
    assert follower.seq == 5


@given(st.lists(st.integers(-5, 30_000), min_size=1))
def test_lag(lags):
    """The histogram loses no lag, and a quantile is the bound of the step of the true quantile."""
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
    """Before the first change the count is 0."""
    assert LagHistogram().summary().count == 0
