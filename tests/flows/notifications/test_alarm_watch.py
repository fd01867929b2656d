"""Alarms about anomalies, and rules that disable keys: never too many, never twice."""

from dataclasses import replace

import pytest

from authz.core.errors import NotFound
from authz.core.limits.throttle import Throttle
from authz.core.records import Status
from authz.core.trail import alarms
from authz.core.usage.anomalies.features import Feature, Reason
from authz.core.usage.anomalies.policy import AlarmPolicy, Done, Rule, RuleAction, Subjects
from authz.core.usage.anomalies.ports import Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.flows.lifecycle import Lifecycle
from authz.flows.notifications.alarm_notes import TrailAlarms
from authz.flows.notifications.alarm_watch import AlarmWatch
from tests.support.anomalies.memory_habits import FIRST, MemoryHabits
from tests.support.fakes import make_record
from tests.support.notifications import DeliveryRig, Records
from tests.support.trail.memory_rows import KEYS

KIDS = [letter * 16 for letter in "ABCDEFGH"]
A, B = KIDS[:2]
RATE, NETWORKS = (Reason(one, 9, 1, 2) for one in (Feature.RATE, Feature.NETWORKS))
RULE = Rule(
    "stolen",
    frozenset({Feature.RATE, Feature.NETWORKS}),
    Subjects(plans={"gold"}),
    RuleAction.DISABLE,
)
NOBODY = Subjects()


class Ended:
    """An HourlyPlaces in memory."""

    def __init__(self):
        self.kids = []

    async def take_places(self, kids, ms, limit):
        """Implement HourlyPlaces.take_places."""
        new = [kid for kid in kids if kid not in self.kids][: max(0, limit - len(self.kids))]
        self.kids += new
        return frozenset(kids) & frozenset(self.kids)


class Disabling(Lifecycle):
    """A lifecycle that disables records in memory."""

    def __init__(self, records):
        self.records, self.authors = records, []

    async def disable(self, kid, author, conditions=None):
        """Disable a record in memory."""
        self.authors.append(author)
        if kid not in self.records.records:
            raise NotFound(kid)
        changed = make_record(kid=kid, plan="gold", status=Status.DISABLED)
        self.records.records[kid] = changed
        return changed

    async def update(self, kid, wanted, author):
        """Set fields of a record in memory."""
        self.authors.append(author)
        changed = self.records.records[kid] = make_record(kid=kid, plan="gold", **wanted)
        return changed


class Rig(DeliveryRig):
    """A trail, keys with the plan gold, and the watch of a process."""

    def __init__(self, *, per_hour=3, alarms_for=NOBODY, rules=(RULE,)):
        super().__init__()
        self.rotated, self.has_target = [], True
        self.habits, self.ended = MemoryHabits(), Ended()
        self.records = Records(*(make_record(kid=kid, plan="gold") for kid in KIDS))
        self.lifecycle = Disabling(self.records)
        self.policy = AlarmPolicy(alarms_for, rules, per_hour)
        self.writer.write(A)
        self.watch = self.process("one")
        self.at(FIRST)

    async def begin(self, record, overlap_ms, author, *, secret=""):
        """Implement KeyRotation.begin."""
        self.rotated.append((record.kid, overlap_ms, author.actor))
        return self.has_target

    def process(self, name):
        """Return the watch of a process."""
        return AlarmWatch(
            *(self.habits, self.records, self.lifecycle),
            ended=self.ended,
            rotation=self,
            policy=self.policy,
            notes=TrailAlarms(self.rows, KEYS, self.clock, name),
            clock=self.clock,
        )

    def at(self, hour, *found):
        """Set the latest hour that was judged, with reasons by kid."""
        self.habits.rounds.append(Round(hour))
        for kid, *reasons in found:
            self.habits.found[kid, hour] = Anomaly(kid, hour, tuple(reasons))

    def noted(self):
        """Return kid, features and result of the alarms in the trail."""
        found = [one for row in self.rows.rows if (one := alarms.noted(row))]
        return [(one.kid, sorted(one.reasons), one.done) for one in found]


async def test_nobody_is_alarmed_unasked():
    """Anomalies of a key that the settings do not name do nothing."""
    rig = Rig(rules=())
    rig.at(FIRST, (A, RATE, NETWORKS))
    assert await rig.watch.look()
    assert rig.noted() == []


async def test_an_alarm_comes_once_a_day():
    """The same features come again after a day, over restarts; a new feature comes at once."""
    rig = Rig(rules=(), alarms_for=Subjects(plans={"gold"}))
    for hour in range(FIRST, FIRST + 30):
        rig.at(hour, (A, RATE), *([(A, RATE, NETWORKS)] if hour == FIRST + 3 else []))
        assert await rig.watch.look()
        assert await rig.process("two").look()
    both = ["networks", "rate"]
    assert rig.noted() == [
        (A, ["rate"], Done.NOTED),
        (A, both, Done.NOTED),
        (A, ["rate"], Done.NOTED),
    ]


async def test_a_rule_disables_a_key():
    """A key with both features is disabled once, in the name of the rule."""
    rig = Rig()
    rig.at(FIRST, (A, RATE, NETWORKS), (B, RATE))
    for _ in range(2):
        assert await rig.watch.look()
    assert rig.noted() == [(A, ["networks", "rate"], Done.DISABLED), (B, ["rate"], Done.NOTED)]
    assert [author.actor for author in rig.lifecycle.authors] == ["anomalies/stolen"]
    assert {done: n for done, n in rig.watch.done.items() if n} == {
        Done.NOTED: 1,
        Done.DISABLED: 1,
    }


def rule(action, **rest):
    """Return the rule with another action."""
    return replace(RULE, name="other", action=action, **rest)


async def test_a_rule_throttles_a_key():
    """The rates of the key are lowered until a time; the alarm says so."""
    rig = Rig(rules=(rule(RuleAction.THROTTLE, percent=30, for_ms=60_000),))
    rig.at(FIRST, (A, RATE, NETWORKS))
    assert await rig.watch.look()
    assert rig.noted() == [(A, ["networks", "rate"], Done.THROTTLED)]
    record = rig.records.records[A]
    assert record.throttle == Throttle(30, rig.clock.wall_ms() + 60_000)
    assert record.status is Status.ACTIVE


@pytest.mark.parametrize(
    ("percent", "lasts", "expected"),
    [(25, 90_000, (25, 90_000)), (80, 90_000, (30, 90_000)), (25, 0, (30, 60_000))],
    ids=["a stronger one", "a longer one", "one that is over"],
)
async def test_a_rule_never_weakens_a_throttle(percent, lasts, expected):
    """A throttle that a person set, and that lasts, is made stronger or longer, or left alone."""
    rig = Rig(rules=(rule(RuleAction.THROTTLE, percent=30, for_ms=60_000),))
    now = rig.clock.wall_ms()
    throttled = make_record(kid=A, plan="gold", throttle=Throttle(percent, now + lasts))
    rig.records.records[A] = throttled
    rig.at(FIRST, (A, RATE, NETWORKS))
    assert await rig.watch.look()
    least, ends = expected
    assert rig.records.records[A].throttle == Throttle(least, now + ends)


@pytest.mark.parametrize("has_target", [True, False])
async def test_a_rule_rotates_a_key(has_target):
    """The rotation is begun with the overlap of the policy. Without a target a person decides."""
    rig = Rig(rules=(rule(RuleAction.ROTATE),))
    rig.has_target = has_target
    rig.at(FIRST, (A, RATE, NETWORKS))
    assert await rig.watch.look()
    assert rig.rotated == [(A, None, "anomalies/other")]
    done = Done.ROTATED if has_target else Done.HELD
    assert rig.noted() == [(A, ["networks", "rate"], done)]


@pytest.mark.parametrize("action", list(RuleAction))
async def test_every_rule_stops_and_asks(action):
    """A look that would change more keys than allowed changes none, whatever the rule does."""
    rig = Rig(rules=(rule(action),))
    rig.at(FIRST, *((kid, RATE, NETWORKS) for kid in KIDS[:4]))
    assert await rig.watch.look()
    assert {done for _, _, done in rig.noted()} == {Done.HELD}
    assert (rig.rotated, rig.lifecycle.authors) == ([], [])


async def test_too_many_keys_at_once():
    """A look that would disable more keys than allowed disables none, and asks."""
    rig = Rig()
    rig.at(FIRST, *((kid, RATE, NETWORKS) for kid in KIDS[:4]))
    assert await rig.watch.look()
    assert {done for _, _, done in rig.noted()} == {Done.HELD}
    assert rig.lifecycle.authors == []


async def test_too_many_keys_in_an_hour():
    """Keys of several looks count together: those beyond the limit are held."""
    rig = Rig()
    for at, kid in enumerate(KIDS[:5]):
        rig.at(FIRST + at, (kid, RATE, NETWORKS))
        assert await rig.watch.look()
    assert [done for _, _, done in rig.noted()] == [Done.DISABLED] * 3 + [Done.HELD] * 2


async def test_killed_before_the_row():
    """A key that was disabled without a row gets its row, and is not disabled again."""
    rig = Rig()
    rig.at(FIRST, (A, RATE, NETWORKS))
    await rig.lifecycle.disable(A, rig.lifecycle.author("anomalies/stolen"))
    assert await rig.watch.look()
    assert rig.noted() == [(A, ["networks", "rate"], Done.NOTED)]
    assert len(rig.lifecycle.authors) == 1


async def test_the_event():
    """The event has risk, features, hour and result, and the same id each time."""
    rig = Rig()
    rig.at(FIRST, (A, RATE, NETWORKS))
    await rig.watch.look()
    (event,) = await rig.derivation.newest(10, lambda one: one.type == "authz.key.anomaly")
    assert event.kid == A
    assert event.data["details"] == {
        "risk": "high",
        "features": ["networks", "rate"],
        "hour": FIRST * 3_600_000,
        "done": "disabled",
        "rule": "stolen",
    }
    row = await rig.derivation.row(event.id)
    assert await rig.derivation.events([row]) == [event]


@pytest.mark.parametrize("detail", ["", "[]", "{}", '{"key": 1}', '{"key": "A"}', "[" * 9999])
async def test_rows_that_are_damaged(detail):
    """A row with another detail is no alarm."""
    rig = Rig()
    row = rig.rows.rows[-1]
    fields = {**row.fields, "kid": "", "action": alarms.NOTED, "detail": detail}
    assert alarms.noted(type(row)(row.id, fields)) is None
