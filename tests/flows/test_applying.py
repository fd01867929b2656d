"""Files of keys are applied: no change, no lost update, new keys, conflicts, pruning."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.merging import Applied, fields_of
from authz.core.records import RevocationReason, Status
from authz.core.selector import Selector
from authz.flows.applying import Declared
from tests.support.changes import author
from tests.support.fakes import NOW, make_record
from tests.support.flows.applying import World

NAMES = ("plan", "name", "project_id")


def declared(record, **overrides):
    """The declaration of a stored key, as an export makes it, with some fields edited."""
    edited = replace(record, **overrides)
    return Declared("key", record.kid, "", record.version, edited)


def fresh(ref="new", **overrides):
    """The declaration of a new key."""
    return Declared("key", None, ref, None, make_record(kid="", **overrides))


class Person:
    """Somebody with a file of one key of their own. seen: its fields when file and store agreed."""

    def __init__(self, record):
        self.export(record)

    def export(self, record):
        """Take a fresh copy of the key."""
        self.file = declared(record)
        self.seen = {name: getattr(record, name) for name in NAMES}

    def edit(self, name, value):
        """Change a field in the file."""
        self.file = replace(self.file, record=replace(self.file.record, **{name: value}))


async def apply_as(person, world, kid):
    """Apply a person's file. Check that nothing is undone that the person never saw."""
    before = world.store.records[kid]
    problems, records = await world.apply([person.file])
    after = world.store.records[kid]
    if problems:
        assert after == before
        return
    for field in NAMES:
        mine, old = getattr(person.file.record, field), getattr(before, field)
        if old != person.seen[field]:
            assert getattr(after, field) == old
        elif mine != person.seen[field]:
            assert getattr(after, field) == mine
    assert records == {kid: after}
    person.export(after)  # the file is brought up to date


VALUES = st.sampled_from("abcd")
ACTS = st.one_of(
    st.tuples(st.just("edit"), st.integers(0, 1), st.sampled_from(NAMES), VALUES),
    st.tuples(st.just("cli"), st.just(0), st.sampled_from(NAMES), VALUES),
    st.tuples(st.sampled_from(["apply", "export", "turn"]), st.integers(0, 1), *[st.none()] * 2),
)


@settings(max_examples=1000)
@given(acts=st.lists(ACTS, max_size=14))
async def test_no_update_is_lost(acts):
    """Two people with files of their own, and commands: nobody undoes a change that they never saw.

    A field that changed in the store since a person's file was made is never altered by an apply of
    that file. A field that the person changed is set, or the whole apply is a conflict.
    """
    world = World()
    kid = world.issue(plan="a", name="a", project_id="a")
    people = [Person(world.store.records[kid]) for _ in range(2)]
    for act, who, name, value in acts:
        person, before = people[who], world.store.records[kid]
        if act == "edit":
            person.edit(name, value)
        elif act == "cli":
            await world.lifecycle.update(kid, {name: value}, author())
        elif act == "turn":
            turn = world.lifecycle.enable if before.status is Status.DISABLED else None
            await (turn or world.lifecycle.disable)(kid, author())
        elif act == "export":
            person.export(before)
        else:
            await apply_as(person, world, kid)


@settings(max_examples=50)
@given(values=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6))
async def test_apply_twice_changes_once(values):
    """A file that was applied has no changes, also after an export."""
    world = World()
    kid = world.issue(plan="a", name="a", project_id="a")
    file = declared(world.store.records[kid], **dict(values))
    assert (await world.apply([file]))[0] == []
    seq = world.store.seq
    assert (await world.apply([file]))[0] == []
    assert (await world.apply([declared(world.store.records[kid])]))[0] == []
    assert world.store.seq == seq
    assert fields_of(world.store.records[kid]) == file.fields


async def test_a_file_without_versions_uses_the_last_apply():
    """Without versions a field of the file counts as changed since the last apply of it."""
    world = World()
    kid = world.issue(plan="a", name="a")
    file = replace(declared(world.store.records[kid]), version=None)
    assert await world.apply([file]) == ([], {kid: world.store.records[kid]})
    edited = replace(file, record=replace(file.record, plan="b"))
    await world.lifecycle.update(kid, {"name": "by hand"}, author())
    assert (await world.apply([edited]))[0] == []
    assert (world.store.records[kid].plan, world.store.records[kid].name) == ("b", "by hand")
    await world.lifecycle.update(kid, {"plan": "c"}, author())
    both = replace(file, record=replace(file.record, plan="d"))
    (problem,) = (await world.apply([both]))[0]
    assert "plan: the file has 'd', the store 'c'" in problem
    assert (await world.apply([both], overwrites=True))[0] == []
    assert (world.store.records[kid].plan, world.store.records[kid].name) == ("d", "a")


async def test_an_unknown_base_is_a_conflict():
    """A file that was never applied and has no versions, or a version of the future, conflicts."""
    world = World()
    kid = world.issue(plan="a")
    record = world.store.records[kid]
    for version in (None, 99):
        edited = replace(declared(record, plan="b"), version=version)
        assert (await world.apply([edited]))[0]
        assert (await world.apply([replace(declared(record), version=version)]))[0] == []


async def test_a_new_key_is_issued_once():
    """A ref without a kid becomes a key. Applied again, the same ref names that key."""
    world = World()
    assert await world.apply([fresh(plan="pro", status=Status.DISABLED)])
    ((kid, record),) = world.store.records.items()
    assert (record.plan, record.status) == ("pro", Status.DISABLED)
    assert (await world.apply([fresh(plan="free", status=Status.DISABLED)]))[0] == []
    assert world.store.records[kid].plan == "free"
    assert len(world.store.records) == 1
    with pytest.raises(BadInput, match="expires_at"):
        await world.apply([fresh("late", expires_at=NOW - 1)])


@pytest.mark.parametrize("status", [Status.CANARY, Status.REVOKED])
async def test_a_key_that_shall_not_work_is_not_issued_as_one_that_works(status):
    """A new key that is declared as a decoy or as revoked is a problem. No key becomes a decoy."""
    world = World()
    (problem,) = (await world.apply([fresh(status=status, scopes=frozenset({"*"}))]))[0]
    assert problem.startswith("status: ")
    assert world.store.records == {}
    record = world.store.records[world.issue()]
    (problem,) = (await world.apply([declared(record, status=Status.CANARY)]))[0]
    assert "canary" in problem


async def test_a_decoy_stays_one():
    """A declared decoy of the store is applied as any other key, without a change of its status."""
    world = World()
    kid = world.issue(is_canary=True)
    assert (await world.apply([declared(world.store.records[kid], name="old key")]))[0] == []
    after = world.store.records[kid]
    assert (after.name, after.status) == ("old key", Status.CANARY)


async def test_a_ref_leads_to_no_key_of_another_tenant():
    """A ref that a key of another tenant has is a conflict, and with a key of its own it is that.

    An administrator of one tenant can give any ref to its keys.
    """
    world = World()
    theirs = world.issue(tenant_id="north")
    world.applied.found[theirs] = Applied(world.store.seq, {}, "shop")
    (problem,) = (await world.apply([fresh("shop", tenant_id="south", plan="b")]))[0]
    assert f"ref shop is that of {theirs}" in problem
    mine = world.issue(tenant_id="south", name="", plan="a")
    record = world.store.records[mine]
    world.applied.found[mine] = Applied(record.version, fields_of(record), "shop")
    file = Declared("key", None, "shop", None, replace(record, plan="b"))
    assert (await world.apply([file]))[0] == []
    assert (world.store.records[mine].plan, len(world.store.records)) == ("b", 2)


async def test_problems_of_a_key():
    """A missing key, another environment and a revoked key cannot be applied."""
    world = World()
    kid = world.issue()
    record = world.store.records[kid]
    (problem,) = (await world.apply([declared(replace(record, kid="0" * 16))]))[0]
    assert "is not there" in problem
    (problem,) = (await world.apply([declared(record, env="test")]))[0]
    assert "environment" in problem
    await world.lifecycle.revoke(kid, RevocationReason.SUPERSEDED, author())
    gone = world.store.records[kid]
    assert (await world.apply([declared(gone, name="late")]))[0]
    assert (await world.apply([declared(gone)]))[0] == []


async def test_status_is_declared():
    """disabled, active and revoked are set as declared, after the other fields."""
    world = World()
    kid = world.issue()
    for status in (Status.DISABLED, Status.ACTIVE, Status.REVOKED):
        record = world.store.records[kid]
        assert (await world.apply([declared(record, status=status, name=status)]))[0] == []
        after = world.store.records[kid]
        assert (after.status, after.name) == (status, status)


async def test_prune_keeps_keys_that_the_file_could_not_know():
    """A key that is missing in the file is revoked; one that was issued since is a problem."""
    world = World()
    kept, gone, other = world.issue(), world.issue(), world.issue(client_id="other")
    as_of = world.store.seq
    late = world.issue()
    dead = world.issue()
    await world.lifecycle.revoke(dead, RevocationReason.SUPERSEDED, author())
    scope = Selector(client_id="acme-web")
    file = [declared(world.store.records[kept])]
    found = await world.applying.prunable(scope, file, as_of)
    assert {p.record.kid: bool(p.problem) for p in found} == {gone: False, late: True}
    assert other not in {p.record.kid for p in found}
