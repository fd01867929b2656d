"""A rotation that delivers its secret: at every failure one secret works that its holder has."""

import asyncio
import json

import pytest

from authz.core.audit import Action
from authz.core.begun_delivery import HELD_MS, UNDECIDED_MS
from authz.core.changes import Refused
from authz.core.delivery import Arrival, Undelivered
from authz.core.errors import BadInput, Forbidden, NotFound, Unavailable
from authz.core.rotation import RotationPolicies, RotationPolicy
from authz.core.secret_changes import roll_back
from authz.flows.automatic_rotation import AutomaticRotation, PolicyRotation
from authz.flows.conditions import Conditions
from authz.flows.delivered_rotation import DeliveredRotation
from authz.flows.lifecycle import Changed
from authz.flows.rolling_back import RollingBack
from tests.support.fakes import DAY
from tests.support.flows.rigs import KEYRING, SPEC, LifecycleRig
from tests.support.flows.rotations import MemoryDeliveries, MemoryTrail

HOUR = 3_600_000
POLICIES = RotationPolicies({}, RotationPolicy(30 * DAY, to="vault", overlap_ms=DAY))


class Rig(LifecycleRig):
    """A target: its holder uses the latest secret that the target has.

    failure: raised by the next tries. takes: whether the target has the secret all the same.
    failures: both of these for the next tries, one each. used: kid and number of used secrets.
    """

    def __init__(self):
        super().__init__()
        self.pending = MemoryDeliveries()
        self.failure, self.takes = None, False
        self.has, self.failures, self.used = [], [], set()
        self.slept = []
        self.reads = 0
        self.rolling_back = RollingBack(self.keys, MemoryTrail(self.store), self.pending)
        self.restart()

    def restart(self, **targets):
        """Begin again, as a new process does."""
        self.rotation = self.process({"vault": self} | targets)
        self.rotated = {}
        self.automatic = self.automatic_by(POLICIES)

    def automatic_by(self, policies):
        """Return a rotation by these policies. It reads all keys by `records`."""
        return AutomaticRotation(
            *(self.rotation, self.keys, self.records),
            policies=policies,
            rotated=self,
            per_hour=3,
            clock=self.clock,
            writer="one",
        )

    def process(self, targets):
        """Return the rotation of a process with these targets in its settings."""
        return DeliveredRotation(
            *(self.keys, KEYRING, self.pending, targets),
            is_used=self.is_used,
            clock=self.clock,
            sleep=self.sleep,
        )

    async def sleep(self, seconds):
        """Remember a pause."""
        self.slept.append(seconds)

    async def records(self):
        """Yield all records, and count the reads of all."""
        self.reads += 1
        for record in list(self.store.records.values()):
            yield record

    async def take_places(self, kids, ms, limit):
        """Implement HourlyPlaces.take_places."""
        now = self.clock.wall_ms()  # here the clock of the store, too
        known = {kid for kid, at in self.rotated.items() if at >= now - ms}
        new = [kid for kid in kids if kid not in known][: limit - len(known)]
        self.rotated |= dict.fromkeys(new, now)
        return frozenset(known.intersection(kids)) | frozenset(new)

    async def deliver(self, parcel):
        """Implement Target.deliver."""
        if self.failures:
            self.failure, self.takes = self.failures.pop(0)
        if self.failure is None or self.takes:
            self.has.append(parcel.text)
        if self.failure is not None:
            raise self.failure

    async def is_used(self, kid, secret):
        """Return whether a secret was used."""
        return (kid, secret) in self.used

    async def issue(self):
        """Issue a key that its holder has, and return its kid."""
        changed = await self.keys.issue(SPEC, self.author())
        self.has = [changed.key_text]
        return changed.record.kid

    async def rotate(self, kid, overlap_ms=DAY):
        """Rotate a key to the target."""
        return await self.rotation.rotate(kid, "vault", overlap_ms, self.author())

    async def resume(self):
        """Try all pending deliveries again."""
        for kid, text in (await self.rotation.pending()).items():
            await self.rotation.resume(kid, text)

    def works(self):
        """Return whether the secret works that the holder has."""
        return self.opens(self.has[-1])


@pytest.fixture
def rig():
    """An empty store."""
    return Rig()


async def test_a_delivery(rig):
    """The holder gets the new secret. The old one then works for the overlap and no longer."""
    kid = await rig.issue()
    [old] = rig.has
    done = await rig.rotate(kid)
    assert (done.arrival, done.why, rig.pending.entries) == (Arrival.DELIVERED, "", {})
    assert rig.has[-1] != old
    assert (rig.works(), rig.opens(old)) == (True, True)
    rig.clock.advance(DAY / 1000)
    assert (rig.works(), rig.opens(old)) == (True, False)
    assert [event.note for _, _, event in rig.store.audit][-1] == "delivered to vault"


async def test_no_overlap(rig):
    """With an overlap of 0 the old secret ends when the new one has arrived."""
    kid = await rig.issue()
    [old] = rig.has
    await rig.rotate(kid, 0)
    assert (rig.works(), rig.opens(old)) == (True, False)


async def test_a_long_overlap(rig):
    """An overlap above 30 days is not shortened."""
    kid = await rig.issue()
    [old] = rig.has
    await rig.rotate(kid, 60 * DAY)
    rig.clock.advance(59 * DAY / 1000)
    assert (rig.works(), rig.opens(old)) == (True, True)
    rig.clock.advance(DAY / 1000)
    assert (rig.works(), rig.opens(old)) == (True, False)


async def test_a_refusal_undoes_the_rotation(rig):
    """The old secret works without an end, and the new one does not."""
    kid = await rig.issue()
    before = rig.store.records[kid]
    rig.failure = Undelivered("the target answered 403")
    done = await rig.rotate(kid)
    assert (done.arrival, done.why) == (Arrival.UNDONE, "the target answered 403")
    rig.clock.advance(2 * HELD_MS / 1000)
    assert rig.works()
    after = rig.store.records[kid]
    assert (after.newest_secret, after.expires_at) == (before.newest_secret, before.expires_at)
    assert not rig.pending.entries
    assert not rig.slept


@pytest.mark.parametrize("takes", [False, True], ids=["it did not arrive", "it arrived"])
async def test_an_unknown_result(rig, takes):
    """Both secrets work while the result is unknown. The same secret is delivered again."""
    kid = await rig.issue()
    rig.failure, rig.takes = Unavailable("no response"), takes
    done = await rig.rotate(kid)
    assert (done.arrival, rig.slept, rig.works()) == (Arrival.PENDING, [1.0, 3.0], True)
    rig.clock.advance(12 * HOUR / 1000)
    assert rig.works()
    rig.restart()
    rig.failure = None
    await rig.resume()
    assert rig.works()
    assert not rig.pending.entries
    assert len(set(rig.has)) == 2
    rig.clock.advance(DAY / 1000)
    assert (rig.works(), rig.opens(rig.has[0])) == (True, False)


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_refusal_after_an_unknown_result(rig, restarts):
    """The target may have the secret since an earlier try, so a refusal does not undo it."""
    kid = await rig.issue()
    rig.failures = [(Unavailable("no response"), True), (Undelivered("it answered 403"), False)]
    if restarts:
        rig.failures[1:1] = [(Unavailable("no response"), True)] * 2
    done = await rig.rotate(kid)
    assert done.arrival is Arrival.PENDING
    await rig.resume()
    assert rig.works()
    rig.failure = None
    await rig.resume()
    assert (rig.works(), rig.pending.entries) == (True, {})


class Divided:
    """A target that refuses the first try, after another process has made a second one."""

    def __init__(self, rig):
        self.rig = rig
        self.tries = 0

    async def deliver(self, parcel):
        """Implement Target.deliver."""
        self.tries += 1
        if self.tries == 1:
            await self.rig.resume()
            raise Undelivered("the target answered 403")
        self.rig.has.append(parcel.text)


async def test_two_processes_try_at_once(rig):
    """A refusal of one undoes nothing, because the other one has delivered the new secret."""
    kid = await rig.issue()
    rig.restart(divided=Divided(rig))
    done = await rig.rotation.rotate(kid, "divided", DAY, rig.author())
    assert done.arrival is not Arrival.UNDONE
    await rig.resume()
    assert (len(rig.has), rig.works(), rig.pending.entries) == (2, True, {})


async def test_a_process_without_the_target_looks_while_another_one_tries(rig):
    """The look changes no entry, so the refusal that the other one gets undoes the rotation."""
    kid = await rig.issue()
    blind = rig.process({})

    class Looked:
        """A target that refuses, after the process without it has looked."""

        async def deliver(self, parcel):
            """Implement Target.deliver."""
            seen = await blind.resume(kid, rig.pending.entries[kid])
            assert (seen.arrival, seen.why) == (
                Arrival.PENDING,
                "the settings have no target looked",
            )
            raise Undelivered("the target answered 403")

    rig.restart(looked=Looked())
    done = await rig.rotation.rotate(kid, "looked", DAY, rig.author())
    assert (done.arrival, rig.works(), rig.pending.entries) == (Arrival.UNDONE, True, {})
    assert sum(one.is_live(rig.clock.wall_ms()) for one in rig.store.records[kid].secrets) == 1


async def test_a_process_without_the_target_rotates(rig):
    """The first try is that of another process, so a refusal undoes the rotation."""
    kid = await rig.issue()
    await rig.rotation.begin(rig.store.records[kid], "vault", DAY, rig.author())
    await rig.process({}).resume(kid, rig.pending.entries[kid])
    assert len(rig.store.records[kid].secrets) == 2
    rig.failure = Undelivered("the target answered 403")
    await rig.resume()
    assert (rig.rotation.counts[Arrival.UNDONE], rig.works(), rig.pending.entries) == (1, True, {})


async def test_two_processes_make_the_same_rotation(rig, monkeypatch):
    """Both planned it before the store had it. One of them tries, so no refusal ends a new secret.

    One target takes the secret. The other one refuses it then, while the first has not answered.
    """
    kid = await rig.issue()
    await rig.rotation.begin(rig.store.records[kid], "vault", DAY, rig.author())
    apply, both_planned = rig.store.apply, asyncio.Barrier(2)

    async def apply_together(change):
        if change.event.action is Action.ROTATE:
            await both_planned.wait()
        return await apply(change)

    monkeypatch.setattr(rig.store, "apply", apply_together)
    arrived, tasks = asyncio.Event(), {}

    class Takes:
        """A target that takes the secret, and answers when the other process has ended."""

        async def deliver(self, parcel):
            """Implement Target.deliver."""
            rig.has.append(parcel.text)
            arrived.set()
            await asyncio.wait([tasks["refused"]])

    class Refuses:
        """A target that refuses the secret after the other one took it, or tries it no more."""

        async def deliver(self, _parcel):
            """Implement Target.deliver."""
            taken = asyncio.create_task(arrived.wait())
            await asyncio.wait([taken, tasks["taken"]], return_when=asyncio.FIRST_COMPLETED)
            taken.cancel()
            raise Undelivered("the target answered 403")

    text = rig.pending.entries[kid]
    async with asyncio.TaskGroup() as running:
        for name, target in (("taken", Takes()), ("refused", Refuses())):
            process = rig.process({"vault": target})
            tasks[name] = running.create_task(process.resume(kid, text))
    assert rig.works()


@pytest.mark.parametrize("trial", [None, "first"])
async def test_an_entry_of_an_earlier_build(rig, trial):
    """The entry does not say whether somebody has tried, so a refusal undoes nothing."""
    kid = await rig.issue()
    rig.failure, rig.takes = Unavailable("no response"), True
    await rig.rotate(kid)
    entry = json.loads(rig.pending.entries[kid])
    entry.pop("trial", None)
    rig.pending.entries[kid] = json.dumps(entry | ({"trial": trial} if trial else {}))
    rig.failure, rig.takes = Undelivered("the target answered 403"), False
    await rig.resume()
    assert (rig.works(), list(rig.pending.entries)) == (True, [kid])
    rig.failure = None
    await rig.resume()
    assert (rig.works(), rig.pending.entries) == (True, {})


async def test_the_store_has_the_entry_in_another_form(rig):
    """An entry is replaced by its text, so one with more spaces or names is ended, too."""
    kid = await rig.issue()
    await rig.rotation.begin(rig.store.records[kid], "vault", DAY, rig.author())
    entry = json.loads(rig.pending.entries[kid])
    rig.pending.entries[kid] = json.dumps(entry | {"later": 1}, indent=1)
    await rig.resume()
    assert (len(rig.has), rig.works(), rig.pending.entries) == (2, True, {})


async def test_the_process_ends_after_the_claim(rig, monkeypatch):
    """Nobody knows whether its try arrived. So a refusal of the next one undoes nothing."""
    kid = await rig.issue()

    async def fail(parcel):
        rig.has.append(parcel.text)
        raise RuntimeError("the process ends")

    with monkeypatch.context() as patched:
        patched.setattr(rig, "deliver", fail)
        with pytest.raises(RuntimeError):
            await rig.rotate(kid)
    rig.restart()
    rig.failure = Undelivered("the target answered 403")
    await rig.resume()
    assert (rig.works(), list(rig.pending.entries)) == (True, [kid])


async def test_a_process_without_the_target_undoes_a_refusal(rig, monkeypatch):
    """The entry says that the target has refused the secret. No target is needed to roll back."""
    kid = await rig.issue()
    rig.failure = Undelivered("the target answered 403")

    async def fail():
        raise Unavailable("the store is down")

    with monkeypatch.context() as patched:
        before_the_roll_back(rig, patched, fail)
        with pytest.raises(Unavailable):
            await rig.rotate(kid)
    done = await rig.process({}).resume(kid, rig.pending.entries[kid])
    assert (done.arrival, rig.works(), rig.pending.entries) == (Arrival.UNDONE, True, {})


def before_the_roll_back(rig, monkeypatch, do):
    """Do something before the second change of a key: the first one was its rotation."""
    change, changes = rig.keys.change, []

    async def changed(*given):
        changes.append(given)
        if len(changes) == 2:
            await do()
        return await change(*given)

    monkeypatch.setattr(rig.keys, "change", changed)


async def test_a_process_that_looks_while_a_refusal_is_undone(rig, monkeypatch):
    """Another process that knows the entry delivers no secret that is about to end."""
    kid = await rig.issue()
    rig.failure = Undelivered("the target answered 403")
    looks = []

    async def look():
        rig.failure = None
        looks.append(await rig.rotation.resume(kid, json.dumps(begun)))

    before_the_roll_back(rig, monkeypatch, look)
    begin, begun = rig.pending.begin, {}

    async def remember(kid, entry):
        begun.update(json.loads(entry))
        return await begin(kid, entry)

    monkeypatch.setattr(rig.pending, "begin", remember)
    done = await rig.rotate(kid)
    assert (done.arrival, len(rig.has), rig.works()) == (Arrival.UNDONE, 1, True)
    assert len(looks) == 1


async def test_the_process_ends_before_the_roll_back(rig, monkeypatch):
    """The next look rolls back: the target has refused the secret, so no holder has it."""
    kid = await rig.issue()
    rig.failure = Undelivered("the target answered 403")

    async def fail():
        raise Unavailable("the store is down")

    before_the_roll_back(rig, monkeypatch, fail)
    with pytest.raises(Unavailable):
        await rig.rotate(kid)
    rig.restart()
    rig.failure = None
    await rig.resume()
    assert (len(rig.has), rig.works(), rig.pending.entries) == (1, True, {})
    assert sum(one.is_live(rig.clock.wall_ms()) for one in rig.store.records[kid].secrets) == 1


async def test_the_same_command_continues_a_delivery(rig):
    """A second rotation to the same target makes no third secret."""
    kid = await rig.issue()
    rig.failure = Unavailable("no response")
    await rig.rotate(kid)
    rig.failure = None
    done = await rig.rotate(kid)
    assert (done.arrival, len(rig.store.records[kid].secrets)) == (Arrival.DELIVERED, 2)


@pytest.mark.parametrize("other", ["tries", "delivers", "ends", "rotates"])
async def test_another_process_was_faster(rig, monkeypatch, other):
    """The command says what has become of the delivery that another process took meanwhile."""
    kid = await rig.issue()
    rig.failure = Unavailable("no response")
    await rig.rotate(kid)
    compare_and_set = rig.pending.compare_and_set

    async def be_late(*given):
        monkeypatch.setattr(rig.pending, "compare_and_set", compare_and_set)
        if other == "ends":
            await rig.keys.retire(kid, "new", rig.author())
        if other in {"delivers", "rotates"}:
            rig.failure = None
        await rig.resume()
        if other == "rotates":
            await rig.keys.retire(kid, "old", rig.author())
            await rig.keys.rotate(kid, 0, rig.author())
        return await compare_and_set(*given)

    monkeypatch.setattr(rig.pending, "compare_and_set", be_late)
    done = await rig.rotate(kid)
    if other in {"ends", "rotates"}:
        assert done == Refused(f"one of the two secrets of {kid} was ended")
        return
    tries = (Arrival.PENDING, "another process tries it")
    assert (done.arrival, done.why) == (tries if other == "tries" else (Arrival.DELIVERED, ""))
    assert done.record == rig.store.records[kid]
    assert rig.works()


async def roll_back_in_try(rig, monkeypatch, kid):
    """Have a person roll back before the target takes the secret."""
    deliver = rig.deliver

    async def late(parcel):
        by = rig.author()
        await rig.keys.change(kid, lambda record, now: roll_back(record, by, now))
        await deliver(parcel)

    monkeypatch.setattr(rig, "deliver", late)


@pytest.mark.parametrize("resumes", [False, True])
async def test_a_roll_back_during_a_try(rig, monkeypatch, caplog, resumes):
    """The target has taken a secret that was ended. The command and the log say so."""
    kid = await rig.issue()
    if resumes:
        await rig.rotation.begin(rig.store.records[kid], "vault", DAY, rig.author())
    await roll_back_in_try(rig, monkeypatch, kid)
    if resumes:
        await rig.automatic.look()
    else:
        done = await rig.rotate(kid)
        assert done == Refused(f"one of the two secrets of {kid} was ended")
    assert rig.pending.entries == {}
    assert rig.opens(rig.has[0])
    assert caplog.text.count(f"vault has a secret of {kid} that was ended") == 1


@pytest.mark.parametrize("is_leaked", [False, True])
async def test_another_process_delivers_during_a_try(rig, monkeypatch, is_leaked):
    """A try without an answer changes nothing of what the other process has settled."""
    kid = await (leaked(rig) if is_leaked else rig.issue())
    rig.failure, rig.takes = Unavailable("no response"), True
    await (rig.automatic.look() if is_leaked else rig.rotate(kid))
    rig.clock.advance(UNDECIDED_MS / 1000)
    other = rig.process({"vault": rig})
    deliver = rig.deliver

    async def late(parcel):
        monkeypatch.setattr(rig, "deliver", deliver)
        rig.failure = None
        await other.resume(kid, rig.pending.entries[kid])
        rig.failure = Unavailable("no response")
        await deliver(parcel)

    monkeypatch.setattr(rig, "deliver", late)
    await rig.resume()
    assert rig.pending.entries == {}
    assert Action.HOLD not in rig.actions
    rig.clock.advance(DAY / 1000)
    assert (rig.works(), rig.opens(rig.has[0])) == (True, False)


async def test_a_late_look_delivers_no_concluded_secret(rig):
    """The process has read the entry before another one concluded it, so it does not try."""
    kid = await rig.issue()
    rig.failure = Unavailable("no response")
    await rig.rotate(kid)
    await rig.resume()
    late = rig.pending.entries[kid]
    assert json.loads(late)["trial"] == "shared"
    rig.failure = None
    await rig.resume()
    tries = len(rig.has)
    done = await rig.rotation.resume(kid, late)
    assert (done.arrival, len(rig.has)) == (Arrival.DELIVERED, tries)


async def test_another_target_waits(rig):
    """A delivery to one target is not continued at another one."""
    kid = await rig.issue()
    rig.failure = Unavailable("no response")
    await rig.rotate(kid)
    rig.restart(other=rig)
    refused = await rig.rotation.rotate(kid, "other", DAY, rig.author())
    assert isinstance(refused, Refused)
    assert "to vault is pending" in refused.why


async def undecided(rig, *, takes=True):
    """Rotate a key, let 24 hours pass without an answer, and return its kid."""
    kid = await rig.issue()
    rig.failure, rig.takes = Unavailable("no response"), takes
    await rig.rotate(kid)
    rig.clock.advance(UNDECIDED_MS / 1000)
    return kid


@pytest.mark.parametrize("takes", [False, True], ids=["it did not arrive", "it arrived"])
async def test_an_undecided_delivery(rig, takes):
    """After 24 hours without an answer both secrets work without an end, and one entry says so."""
    kid = await undecided(rig, takes=takes)
    old, actions = rig.has[0], [event.action for _, _, event in rig.store.audit]
    for _ in range(3):
        await rig.resume()
        rig.restart()
    entries = [event for _, _, event in rig.store.audit][len(actions) :]
    assert [(one.action, one.detail) for one in entries] == [
        (Action.HOLD, {"secret": "2", "target": "vault", "retires_at": None})
    ]
    assert entries[0].note == "unknown for 24 h whether vault has it: no response"
    rig.clock.advance(2 * HELD_MS / 1000)
    assert (rig.works(), rig.opens(old), list(rig.pending.entries)) == (True, True, [kid])


async def test_an_undecided_delivery_arrives(rig):
    """The target takes the secret days later: then the overlap that was asked for begins."""
    await undecided(rig, takes=False)
    await rig.resume()
    rig.clock.advance(40 * DAY / 1000)
    rig.failure = None
    await rig.resume()
    assert (rig.works(), rig.opens(rig.has[0]), rig.pending.entries) == (True, True, {})
    rig.clock.advance(DAY / 1000)
    assert (rig.works(), rig.opens(rig.has[0])) == (True, False)


@pytest.mark.parametrize("chosen", ["old", "new", "rollback"])
async def test_a_person_decides(rig, chosen):
    """An undecided delivery ends when one of the two secrets is ended. The other one works on."""
    kid = await undecided(rig)
    await rig.resume()
    old, new = rig.has[0], rig.has[-1]
    if chosen == "rollback":
        by = rig.author()
        await rig.keys.change(kid, lambda record, now: roll_back(record, by, now))
    else:
        await rig.keys.retire(kid, chosen, rig.author())
    tries = len(rig.has)
    await rig.automatic.look()
    assert (rig.pending.entries, len(rig.has)) == ({}, tries)
    rig.clock.advance(2 * HELD_MS / 1000)
    assert (rig.opens(old), rig.opens(new)) == ((chosen != "old"), (chosen == "old"))


async def test_a_person_decides_after_30_days(rig):
    """The old secret ends later than it would have by itself: the delivery ends all the same."""
    kid = await undecided(rig)
    await rig.resume()
    rig.clock.advance(31 * DAY / 1000)
    await rig.keys.retire(kid, "old", rig.author())
    tries = len(rig.has)
    await rig.automatic.look()
    assert (rig.pending.entries, len(rig.has)) == ({}, tries)


async def test_an_undecided_delivery_is_tried_once_an_hour(rig):
    """A target that hangs for days must not hold up the deliveries of other keys."""
    await undecided(rig)
    tries = len(rig.has)
    for _ in range(3):
        await rig.automatic.look()
        rig.clock.advance(10)
    assert (len(rig.has), rig.automatic.pending, rig.automatic.undecided) == (tries + 1, 1, 1)
    rig.clock.advance(HOUR / 1000)
    await rig.automatic.look()
    assert len(rig.has) == tries + 2
    rig.failure = None
    rig.clock.advance(HOUR / 1000)
    await rig.automatic.look()
    assert (rig.pending.entries, rig.automatic.undecided) == ({}, 0)


async def test_an_overlap_that_ran_out(rig):
    """No process ran for longer than the old secret was held: the new one is still delivered."""
    kid = await rig.issue()
    rig.failure = Unavailable("no response")
    await rig.rotate(kid)
    rig.clock.advance(2 * HELD_MS / 1000)
    await rig.resume()
    assert list(rig.pending.entries) == [kid]
    rig.failure = None
    await rig.resume()
    assert (rig.works(), rig.pending.entries) == (True, {})


async def test_a_used_secret_has_arrived(rig):
    """A secret that the holder uses is not taken back, although the target never confirmed it."""
    kid = await rig.issue()
    rig.failure, rig.takes = Unavailable("no response"), True
    await rig.rotate(kid)
    rig.used.add((kid, "2"))
    rig.clock.advance(UNDECIDED_MS / 1000)
    await rig.resume()
    assert not rig.pending.entries
    rig.clock.advance(DAY / 1000)
    assert (rig.works(), rig.opens(rig.has[0])) == (True, False)


async def test_a_late_end_leaves_the_next_delivery(rig):
    """A process that was slow does not forget a delivery that began meanwhile."""
    kid = await rig.issue()
    rig.failure = Unavailable("no response")
    await rig.rotate(kid)
    [(_, late)] = (await rig.rotation.pending()).items()
    rig.failure = None
    await rig.resume()
    rig.clock.advance(DAY / 1000)
    rig.failure = Unavailable("no response")
    await rig.rotate(kid)
    assert isinstance(await rig.rotation.resume(kid, late), Refused)
    assert kid in rig.pending.entries


@pytest.mark.parametrize("overlap_ms", [None, HOUR])
async def test_a_key_with_two_secrets_is_not_rotated_by_a_report(rig, overlap_ms):
    """A key has at most two secrets, so a person decides, and `rotated` is not reported."""
    kid = await rig.issue()
    await rig.rotate(kid)
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    assert not await policy.begin(rig.store.records[kid], overlap_ms, rig.author())
    assert not rig.pending.entries


@pytest.mark.parametrize("garbled", [False, True])
async def test_a_leak_is_not_hidden_behind_a_longer_delivery(rig, garbled):
    """A rule has begun a rotation after which the old secret works for days: a person decides."""
    kid = await rig.issue()
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    record = rig.store.records[kid]
    assert await policy.begin(record, None, rig.author())
    if garbled:
        rig.pending.entries[kid] = "{}"
    assert not await policy.begin(record, HOUR, rig.author())
    rig.pending.entries.clear()
    assert await policy.begin(record, HOUR, rig.author())
    assert await policy.begin(record, HOUR, rig.author())  # the same report again
    assert await policy.begin(record, None, rig.author())


async def test_a_target_that_the_settings_lost(rig):
    """A pending delivery waits for its target."""
    kid = await rig.issue()
    rig.failure = Unavailable("no response")
    await rig.rotate(kid)
    rig.rotation = DeliveredRotation(
        *(rig.keys, KEYRING, rig.pending, {}),
        is_used=rig.is_used,
        clock=rig.clock,
        sleep=rig.sleep,
    )
    await rig.resume()
    assert kid in rig.pending.entries
    with pytest.raises(BadInput, match="no such name"):
        await rig.rotate(kid)


async def test_the_process_ends_before_the_rotation(rig):
    """The store knows the delivery and the key is as before. The next try does all of it."""
    kid = await rig.issue()
    record = rig.store.records[kid]
    await rig.rotation.begin(record, "vault", DAY, rig.author())
    rig.restart()
    await rig.resume()
    assert (len(rig.has), rig.works()) == (2, True)


async def test_the_process_ends_before_the_end(rig, monkeypatch):
    """A delivery whose end was not stored is repeated, and nothing else changes."""
    kid = await rig.issue()
    deliver = rig.deliver

    async def arrive(parcel):
        await deliver(parcel)
        rig.pending.is_down = True

    with monkeypatch.context() as patched:
        patched.setattr(rig, "deliver", arrive)
        with pytest.raises(Unavailable):
            await rig.rotate(kid)
    settled = rig.store.records[kid].secrets
    rig.pending.is_down = False
    rig.restart()
    await rig.resume()
    assert rig.store.records[kid].secrets == settled
    assert not rig.pending.entries
    assert rig.works()


@pytest.mark.parametrize("change", ["revoke", "retire", "rollback", "rotated"])
async def test_somebody_else_changes_the_key(rig, change):
    """A pending delivery ends when its secret works no more, and undoes nothing."""
    kid = await rig.issue()
    rig.failure = Unavailable("no response")
    await rig.rotate(kid)
    if change == "revoke":
        await rig.revoke(kid)
    elif change == "rotated":
        await rig.keys.rotate(kid, 0, rig.author())
    elif change == "retire":
        await rig.keys.retire(kid, "new", rig.author())
    else:
        by = rig.author()
        await rig.keys.change(kid, lambda record, now: roll_back(record, by, now))
    before = rig.store.records[kid]
    rig.failure = None
    await rig.resume()
    assert (rig.store.records[kid], rig.pending.entries) == (before, {})
    assert len(rig.has) == 1


async def test_a_key_that_is_gone(rig):
    """The delivery of a deleted key ends."""
    kid = await rig.issue()
    await rig.rotation.begin(rig.store.records[kid], "vault", DAY, rig.author())
    del rig.store.records[kid]
    with pytest.raises(NotFound):
        await rig.resume()
    assert not rig.pending.entries


async def test_the_entry_does_not_have_the_secret(rig):
    """The store remembers a seed. Without the pepper it says nothing."""
    kid = await rig.issue()
    rig.failure, rig.takes = Unavailable("no response"), True
    await rig.rotate(kid)
    assert rig.has[-1] not in rig.pending.entries[kid]


async def test_due_keys_are_rotated(rig):
    """A key that is due gets a new secret once; a key that is not due is left alone."""
    kid = await rig.issue()
    await rig.automatic.look()
    assert len(rig.has) == 1
    rig.clock.advance(30 * DAY / 1000)
    for _ in range(3):
        await rig.automatic.look()
        rig.clock.advance(HOUR / 1000)
    assert (len(rig.has), rig.works()) == (2, True)
    assert [event.actor for _, _, event in rig.store.audit][1:] == ["rotation@one"] * 2
    assert len(rig.store.records[kid].secrets) == 2


async def test_a_clock_that_was_ahead(rig):
    """After the wall clock was set back by a year, a key that becomes due is rotated."""
    rig.clock.jump_wall(365 * DAY)
    await rig.automatic.look()
    rig.clock.jump_wall(-365 * DAY)
    await rig.issue()
    rig.clock.advance(30 * DAY / 1000)
    await rig.automatic.look()
    assert (len(rig.has), rig.works()) == (2, True)


async def test_one_delivery_that_cannot_go_on_stops_no_other(rig, caplog):
    """Its pepper is missing here. Other deliveries go on, and due keys are rotated."""
    stuck, kid = await rig.issue(), await rig.issue()
    await rig.rotation.begin(rig.store.records[stuck], "vault", DAY, rig.author())
    entry = json.loads(rig.pending.entries[stuck])
    rig.pending.entries[stuck] = json.dumps(entry | {"pepper": "9"})
    rig.clock.advance(30 * DAY / 1000)
    await rig.automatic.look()
    assert len(rig.store.records[kid].secrets) == 2
    assert list(rig.pending.entries) == [stuck]
    await rig.automatic.look()
    assert caplog.text.count(f"the delivery of {stuck} does not go on: ") == 1


@pytest.mark.parametrize("name", ["overlap_ms", "began_at", "newest"])
@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "-1", "1e300"])
async def test_a_garbled_number_stops_no_other_delivery(rig, caplog, name, number):
    """The log names its key. Other deliveries go on."""
    stuck, kid = await rig.issue(), await rig.issue()
    for one in (stuck, kid):
        await rig.rotation.begin(rig.store.records[one], "vault", DAY, rig.author())
    entry = json.loads(rig.pending.entries[stuck])
    text = json.dumps(entry | {name: 0}).replace(f'"{name}": 0', f'"{name}": {number}')
    rig.pending.entries[stuck] = text
    await rig.automatic.look()
    assert len(rig.store.records[kid].secrets) == 2
    assert list(rig.pending.entries) == [stuck]
    assert f"the delivery of {stuck} does not go on: " in caplog.text


async def test_too_many_due_keys(rig):
    """If more keys are due than `per_hour`, none is rotated, and a person decides."""
    for _ in range(4):
        await rig.issue()
    rig.clock.advance(30 * DAY / 1000)
    await rig.automatic.look()
    assert (rig.automatic.held, len(rig.has)) == (4, 1)
    kid = next(iter(rig.store.records))
    await rig.rotate(kid)
    rig.clock.advance(HOUR / 1000)
    await rig.automatic.look()
    assert (rig.automatic.held, len(rig.has)) == (0, 5)


async def test_the_store_fails_after_too_many_keys_were_due(rig, monkeypatch):
    """No person has to decide once few keys are due, also if their rotation fails."""
    made = [await rig.issue() for _ in range(4)]
    rig.clock.advance(30 * DAY / 1000)
    await rig.automatic.look()
    assert rig.automatic.held == 4
    await rig.rotate(made[0])

    async def fail(*_given):
        raise Unavailable("the store is down")

    monkeypatch.setattr(rig, "take_places", fail)
    rig.clock.advance(HOUR / 1000)
    with pytest.raises(Unavailable):
        await rig.automatic.look()
    assert rig.automatic.held == 0


@pytest.mark.parametrize(("target", "reads"), [("vault", 1), ("", 0)])
async def test_all_keys_are_read_only_for_a_target(rig, target, reads):
    """Without a target in the policies no key can be rotated, so none is read."""
    await rig.issue()
    rig.clock.advance(30 * DAY / 1000)
    automatic = rig.automatic_by(RotationPolicies({}, RotationPolicy(30 * DAY, to=target)))
    await automatic.look()
    assert (rig.reads, len(rig.has), automatic.held) == (reads, 1 + reads, 0)


async def test_a_refused_key_is_left_alone_for_a_day(rig):
    """A target that refuses is not asked each hour: each try is a rotation and its undoing."""
    kid = await rig.issue()
    rig.clock.advance(30 * DAY / 1000)
    rig.failure = Undelivered("the target answered 403")
    for _ in range(23):
        await rig.automatic.look()
        rig.clock.advance(HOUR / 1000)
    assert len(rig.store.records[kid].secrets) == 2
    rig.clock.advance(HOUR / 1000)
    await rig.automatic.look()
    assert len(rig.store.records[kid].secrets) == 3
    assert rig.works()


async def test_pending_deliveries_are_tried_at_each_look(rig):
    """A rotation that a report or a rule has begun is done at the next look."""
    kid = await rig.issue()
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    assert await policy.begin(rig.store.records[kid], HOUR, rig.author())
    await rig.automatic.look()
    assert (len(rig.has), rig.works(), rig.automatic.pending) == (2, True, 1)
    none = PolicyRotation(rig.rotation, RotationPolicies(), rig.clock)
    assert not await none.begin(rig.store.records[kid], HOUR, rig.author())


async def test_a_leaked_secret_ends_though_the_delivery_is_undecided(rig):
    """Strangers know it. So it ends after its overlap and a day, and the new secret works on."""
    kid = await rig.issue()
    rig.failure, rig.takes = Unavailable("no response"), True
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    assert await policy.begin(rig.store.records[kid], HOUR, rig.author())
    await rig.automatic.look()
    assert (rig.opens(rig.has[0]), rig.works()) == (True, True)
    rig.clock.advance((DAY + HOUR) / 1000 - 1)
    rig.restart()
    await rig.automatic.look()
    assert (rig.opens(rig.has[0]), rig.automatic.undecided) == (True, 1)
    rig.clock.advance(2)
    await rig.automatic.look()
    assert (rig.opens(rig.has[0]), rig.works()) == (False, True)
    rig.failure = None
    rig.clock.advance(HOUR / 1000)
    await rig.automatic.look()
    assert (rig.pending.entries, rig.works(), rig.opens(rig.has[0])) == ({}, True, False)


async def leaked(rig):
    """Have a leaked secret rotated, and return the kid of its key."""
    kid = await rig.issue()
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    assert await policy.begin(rig.store.records[kid], HOUR, rig.author())
    return kid


@pytest.mark.parametrize("refused_by_an_earlier_build", [False, True])
async def test_a_leaked_secret_ends_though_the_target_refuses_the_new_one(
    rig, refused_by_an_earlier_build
):
    """The rotation is not rolled back. The delivery is pending, and the leaked secret ends."""
    kid = await leaked(rig)
    rig.failure = Undelivered("the target answered 403")
    if refused_by_an_earlier_build:
        await rig.process({}).resume(kid, rig.pending.entries[kid])
        entry = json.loads(rig.pending.entries[kid])
        rig.pending.entries[kid] = json.dumps(entry | {"trial": "refused"})
    await rig.automatic.look()
    assert (rig.opens(rig.has[0]), rig.automatic.pending) == (True, 1)
    assert rig.rotation.counts[Arrival.UNDONE] == 0
    rig.clock.advance((DAY + HOUR) / 1000)
    await rig.automatic.look()
    assert (rig.opens(rig.has[0]), rig.automatic.undecided) == (False, 1)
    rig.failure = None
    rig.clock.advance(HOUR / 1000)
    await rig.automatic.look()
    assert (rig.pending.entries, rig.works()) == ({}, True)


@pytest.mark.parametrize("at", [DAY, DAY + HOUR])
async def test_an_undelivered_secret_after_a_leak_is_told_once(rig, at):
    """People hear after 24 hours that the holder may lose access, and when."""
    kid = await leaked(rig)
    rig.failure = Undelivered("the target answered 403")
    await rig.automatic.look()
    ends_at = rig.store.records[kid].secrets[0].retires_at
    rig.clock.advance(at / 1000)
    for _ in range(3):
        await rig.automatic.look()
        rig.clock.advance(HOUR / 1000)
        rig.restart()
    told = [event for _, _, event in rig.store.audit if event.action is Action.HOLD]
    detail = {"secret": "2", "target": "vault", "retires_at": ends_at}
    assert [(one.detail, one.note) for one in told] == [
        (detail, "unknown for 24 h whether vault has it: the target answered 403")
    ]
    assert rig.store.records[kid].secrets[0].retires_at == ends_at


async def test_somebody_rotates_a_leaked_secret_before_its_rotation(rig):
    """The leaked secret ends when the report promised, not after the overlap of the person."""
    kid = await leaked(rig)
    await rig.keys.rotate(kid, 30 * DAY, rig.author())
    secrets = rig.store.records[kid].secrets
    await rig.automatic.look()
    assert rig.pending.entries == {}
    assert len(rig.store.records[kid].secrets) == len(secrets)
    rig.clock.advance((DAY + HOUR) / 1000)
    assert not rig.opens(rig.has[0])


async def test_somebody_replaces_the_secret_before_its_rotation(rig):
    """The secret of the person stays: no third one is made, which nobody would deliver."""
    kid = await rig.issue()
    await rig.rotation.begin(rig.store.records[kid], "vault", DAY, rig.author())
    changed = await rig.keys.rotate(kid, 0, rig.author())
    await rig.automatic.look()
    assert rig.pending.entries == {}
    rig.clock.advance(2 * HELD_MS / 1000)
    assert rig.opens(changed.key_text)


def may_not_rotate():
    """Return the conditions of a caller that may not make the change."""

    def guard(_before, after):
        if after is not None:
            raise Forbidden("you may not rotate this key")

    return Conditions(guard)


async def test_a_caller_without_the_right_forgets_no_delivery(rig):
    """The rotation that a report has begun goes on after the refused command of somebody else."""
    kid = await leaked(rig)
    with pytest.raises(Forbidden):
        await rig.rotation.rotate(kid, "vault", DAY, rig.author(), may_not_rotate())
    await rig.automatic.look()
    assert (rig.works(), len(rig.has)) == (True, 2)
    rig.pending.entries.clear()
    other = await rig.issue()
    with pytest.raises(Forbidden):
        await rig.rotation.rotate(other, "vault", DAY, rig.author(), may_not_rotate())
    assert not rig.pending.entries


async def test_another_report_of_a_leaked_secret(rig):
    """The old secret ends as the first report promised, so no person is asked. The new one may not.

    Both hold until the old secret has ended, also after the new one has arrived.
    """
    kid = await leaked(rig)
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)

    async def report(secret):
        return await policy.begin(rig.store.records[kid], HOUR, rig.author(), secret=secret)

    rig.failure = Unavailable("no response")
    await rig.automatic.look()
    assert (await report("1"), await report("2")) == (True, False)
    rig.clock.advance(DAY / 1000)
    assert (await report("1"), await report("2")) == (True, False)
    rig.failure = None
    await rig.automatic.look()
    assert rig.pending.entries == {}
    assert (await report("1"), await report("2")) == (True, False)


async def test_a_report_of_a_secret_that_is_rotated_for_another_reason(rig):
    """The old secret works for days more, so a person decides."""
    kid = await rig.issue()
    await rig.rotate(kid, 2 * DAY)
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    assert not await policy.begin(rig.store.records[kid], HOUR, rig.author(), secret="1")


async def test_a_secret_is_reported_during_the_overlap_of_a_person(rig):
    """The secret ends in time by itself, so no person is asked. The history names it as leaked."""
    kid = await rig.issue()
    await rig.keys.rotate(kid, HOUR // 2, rig.author())
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    ends_at = rig.store.records[kid].secrets[0].retires_at
    by = rig.keys.author("leaks/github", "leaked")
    assert await policy.begin(rig.store.records[kid], HOUR, by, secret="1")
    told = rig.store.audit[-1][2]
    detail = {"secret": "1", "retires_at": ends_at}
    assert (told.action, told.actor, told.detail) == (Action.RETIRE, by.actor, detail)
    await assert_no_way_back(rig, kid)


async def test_the_overlap_changes_while_its_secret_is_reported(rig):
    """The reported secret has no end any more, so a person decides."""
    kid = await rig.issue()
    await rig.keys.rotate(kid, HOUR // 2, rig.author())
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    known = rig.store.records[kid]
    assert isinstance(await rig.rolling_back.roll_back(kid, rig.author()), Changed)
    assert not await policy.begin(known, HOUR, rig.author(), secret="1")
    del rig.store.records[kid]  # a secret of a deleted key works no more
    assert await policy.begin(known, HOUR, rig.author(), secret="1")


async def assert_no_way_back(rig, kid):
    """A roll-back is refused, and the first secret ends."""
    refused = await rig.rolling_back.roll_back(kid, rig.author())
    assert "reported as leaked" in refused.why
    rig.clock.advance((DAY + HOUR) / 1000)
    assert not rig.opens(rig.has[0])


async def leaked_by_a_report(rig):
    """Have a leaked secret rotated by the author of a report, and return the kid of its key."""
    kid = await rig.issue()
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    by = rig.keys.author("leaks/github", "leaked")
    assert await policy.begin(rig.store.records[kid], HOUR, by, secret="1")
    return kid


@pytest.mark.parametrize("overlap_ms", [30 * DAY, HOUR])
async def test_somebody_rotates_a_leaked_secret_and_rolls_back(rig, overlap_ms):
    """The roll-back is refused, also if the overlap of the person ends in time by itself."""
    kid = await leaked_by_a_report(rig)
    await rig.keys.rotate(kid, overlap_ms, rig.author())
    await rig.automatic.look()
    assert rig.pending.entries == {}
    await assert_no_way_back(rig, kid)


async def test_a_leaked_secret_is_rotated_and_rolled_back_before_its_rotation(rig):
    """The secret works alone again at the next look, so the rotation of the report begins again."""
    kid = await leaked_by_a_report(rig)
    await rig.keys.rotate(kid, DAY, rig.author())
    by = rig.author()
    await rig.keys.change(kid, lambda record, now: roll_back(record, by, now))
    rig.failure = Unavailable("no response")
    await rig.automatic.look()
    assert rig.automatic.pending == 1
    assert [one.id for one in rig.store.records[kid].secrets] == ["1", "2", "3"]
    rig.failure = None
    await rig.automatic.look()
    assert (rig.pending.entries, rig.works(), len(rig.has)) == ({}, True, 2)
    await assert_no_way_back(rig, kid)
    assert rig.works()


async def test_a_leaked_key_is_revoked_after_a_roll_back(rig):
    """A revoked key gets no secret, and its delivery ends."""
    kid = await leaked_by_a_report(rig)
    await rig.keys.rotate(kid, DAY, rig.author())
    by = rig.author()
    await rig.keys.change(kid, lambda record, now: roll_back(record, by, now))
    await rig.revoke(kid)
    await rig.automatic.look()
    assert (rig.pending.entries, len(rig.store.records[kid].secrets)) == ({}, 2)


async def test_a_report_arrives_while_a_person_rolls_back(rig, monkeypatch):
    """The roll-back has read the history before the report: it is refused."""
    kid = await rig.issue()
    await rig.keys.rotate(kid, HOUR // 2, rig.author())
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    change = rig.keys.change

    async def be_late(*given):
        monkeypatch.setattr(rig.keys, "change", change)
        by = rig.keys.author("leaks/github", "leaked")
        assert await policy.begin(rig.store.records[kid], HOUR, by, secret="1")
        return await change(*given)

    monkeypatch.setattr(rig.keys, "change", be_late)
    refused = await rig.rolling_back.roll_back(kid, rig.author())
    assert "changed meanwhile" in refused.why
    await assert_no_way_back(rig, kid)


async def test_a_missing_target_is_logged_once(rig, caplog):
    """A process looks every 10 s. Its log and its counts have no line for each look."""
    kid = await rig.issue()
    await rig.rotation.begin(rig.store.records[kid], "vault", DAY, rig.author())
    other = rig.process({})
    for _ in range(3):
        await other.resume(kid, rig.pending.entries[kid])
    assert caplog.text.count("the settings have no target vault") == 1
    assert other.counts == dict.fromkeys(Arrival, 0)


async def test_a_problem_is_logged_when_it_changes(rig, caplog):
    """The same answer again is not logged again; another one is, and the same after a success."""
    kid = await rig.issue()
    for problem in ("no response", "no response", "a timeout"):
        rig.failure = Unavailable(problem)
        await rig.rotate(kid)
    assert (caplog.text.count("no response"), caplog.text.count("a timeout")) == (1, 1)
    rig.failure = None
    await rig.resume()
    rig.clock.advance(DAY / 1000)
    rig.failure = Unavailable("a timeout")
    await rig.rotate(kid)
    assert caplog.text.count("a timeout") == 2


async def test_a_refusal_is_logged_for_each_rotation(rig, caplog):
    """The first rotation was undone, so the same answer to the next one is news."""
    kid = await rig.issue()
    rig.failure = Undelivered("the target answered 403")
    for number in (1, 2):
        assert (await rig.rotate(kid)).arrival is Arrival.UNDONE
        assert caplog.text.count("the target answered 403") == number


async def test_a_leaked_key_is_disabled_and_enabled(rig):
    """Its secret still ends when the report promised."""
    kid = await leaked(rig)
    rig.failure = Undelivered("the target answered 403")
    await rig.keys.disable(kid, rig.author())
    await rig.automatic.look()
    await rig.keys.enable(kid, rig.author())
    await rig.automatic.look()
    rig.clock.advance((DAY + HOUR) / 1000)
    assert not rig.opens(rig.has[0])


async def test_a_new_secret_leaks_while_its_delivery_is_undecided(rig):
    """The delivery that has begun ends the secret before it, not this one: a person decides."""
    kid = await rig.issue()
    rig.failure, rig.takes = Unavailable("no response"), True
    policy = PolicyRotation(rig.rotation, POLICIES, rig.clock)
    for _ in range(2):  # before it is rotated, another report of the same secret changes nothing
        assert await policy.begin(rig.store.records[kid], HOUR, rig.author())
    await rig.automatic.look()
    rig.clock.advance((DAY + HOUR) / 1000 + 1)
    rig.restart()
    await rig.automatic.look()
    assert (rig.opens(rig.has[0]), rig.works(), rig.automatic.undecided) == (False, True, 1)
    assert not await policy.begin(rig.store.records[kid], HOUR, rig.author())
