"""Sealed records: a writer of the store without the pepper brings no key back."""

import contextlib
from dataclasses import replace

import pytest

from authz.core import seals as module
from authz.core.audit import Action
from authz.core.changes import planned
from authz.core.errors import BadSeal, Unreadable
from authz.core.events import Event
from authz.core.keys.keyring import Keyring
from authz.core.limits.limit import parse_limits
from authz.core.records import Status
from authz.core.seals import Seal
from authz.storage.keys import StoredKeys
from authz.storage.latest_meta import LatestMeta
from authz.storage.listing import StoredIndex
from authz.storage.meta import entries
from tests.support.fakes import make_keyring, make_pepper
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.sealing import fields_of, load, sealed, seals
from tests.support.storage.sidecar import Sidecar, administration

RING = make_keyring()


@contextlib.asynccontextmanager
async def world(valkey, ring=RING):
    """A new store with sealed records: a running sidecar and administration."""
    endpoint = sealed(valkey.endpoint, ring)
    async with administration(endpoint, ring) as admin, Sidecar(endpoint, keyring=ring) as sidecar:
        await sidecar.trusted()
        yield admin, sidecar


def put(valkey, kid, fields):
    """Write exactly these fields, as somebody with access to the store can."""
    valkey.admin.delete(stored.key(kid))
    valkey.admin.hset(stored.key(kid), mapping=fields)


async def issued(admin, **more):
    """Issue a key with a value in most fields, and disable it."""
    record = await admin.issue(
        name="a name",
        scopes=frozenset({"models:generate"}),
        metadata={"team": "core"},
        limits=parse_limits("limits", ["20/s"]),
        **more,
    )
    return await admin.disable(record.kid)


def mutants(right, other):
    """Yield records that differ from the right one in one field. other: of another key."""
    for name, text in right.items():
        for changed in {"", f"{text}0", other[name], "active", text[1:]} - {text}:
            yield name, right | {name: changed}
        yield name, {one: value for one, value in right.items() if one != name}
    yield "new", right | {"new": "field"}
    yield "", right | {"": ""}


async def allowed(valkey, admin, sidecar):
    """Return the fields of which an alteration is not found, by sidecar and administration."""
    record, other = await issued(admin), await admin.issue(client_id="other", life_ms=10**9)
    right, found = fields_of(valkey, record.kid), set()
    for name, mutant in mutants(right, fields_of(valkey, other.kid)):
        put(valkey, record.kid, mutant)
        before = sidecar.probe.events[Event.RECORD_BAD_SEAL]
        outcome = await load(sidecar, record.kid)
        counted = sidecar.probe.events[Event.RECORD_BAD_SEAL] - before
        if not (isinstance(outcome, BadSeal) and counted == 1):
            found.add(name)
        try:
            await admin.store.find(record.kid)
        except BadSeal:
            continue
        except Unreadable:
            pass
        found.add(name)
    put(valkey, record.kid, right)
    assert await load(sidecar, record.kid) == replace(record, unknown={})
    return found


async def test_any_field_that_is_altered(valkey):
    """An altered, removed or added field is found by the sidecar and by administration."""
    async with world(valkey) as (admin, sidecar):
        assert await allowed(valkey, admin, sidecar) == set()


@pytest.mark.parametrize("name", ["status", "secrets", "expires_at", "change_id"])
async def test_a_seal_that_leaves_out_a_field_would_be_noticed(valkey, monkeypatch, name):
    """The test above fails for a seal that does not cover one of the fields."""
    whole = module._digest

    def partial(kid, fields):
        return whole(kid, {one: text for one, text in fields.items() if one != name})

    monkeypatch.setattr(module, "_digest", partial)
    async with world(valkey) as (admin, sidecar):
        assert await allowed(valkey, admin, sidecar) == {name}


async def test_a_revoked_key_does_not_come_back(valkey, caplog):
    """`HSET status active` on a revoked key gives 503 and a log line, also on a new sidecar."""
    async with world(valkey) as (admin, _):
        record = await admin.revoke((await admin.issue()).kid)
        valkey.admin.hset(stored.key(record.kid), "status", "active")
        async with Sidecar(sealed(valkey.endpoint)) as restarted:
            with pytest.raises(Unreadable, match="changed without the pepper"):
                await restarted.find(record.kid)
    assert f"record {record.kid}: its seal is wrong" in caplog.text


@pytest.mark.parametrize("status", ["active", "revoked"])
async def test_a_key_with_a_wrong_seal_can_be_revoked(valkey, status):
    """A revocation ends the key on a sidecar that has it cached; any other change is refused.

    Also if somebody without the pepper wrote that the key is revoked.
    """
    async with world(valkey) as (admin, sidecar):
        record = await admin.issue()
        assert await sidecar.find(record.kid) == record
        valkey.admin.hset(stored.key(record.kid), mapping={"status": status, "name": "x"})
        with pytest.raises(BadSeal):
            await admin.disable(record.kid)
        revoked = await admin.revoke(record.kid)
        await sidecar.caught_up(revoked.version)
        assert (await sidecar.find(record.kid)).status is Status.REVOKED
        assert RING.record_seals.check(record.kid, fields_of(valkey, record.kid)) is Seal.VALID


async def test_a_version_above_all_changes_counts_for_nothing(valkey):
    """A revocation of a record with a wrong seal does not move the numbers of the store."""
    async with world(valkey) as (admin, _):
        record = await admin.issue()
        valkey.admin.hset(stored.key(record.kid), "version", "999999999999999")
        with pytest.raises(BadSeal):
            await admin.revoke(record.kid)
        assert (await admin.issue()).version == record.version + 1


async def test_a_record_of_another_key_is_refused(valkey):
    """A sealed record under the name of another key is refused, with its kid rewritten or not."""
    async with world(valkey) as (admin, sidecar):
        good, revoked = await admin.issue(), await admin.revoke((await admin.issue()).kid)
        fields = fields_of(valkey, good.kid)
        for mutant in (fields, fields | {"kid": revoked.kid}):
            put(valkey, revoked.kid, mutant)
            assert isinstance(await load(sidecar, revoked.kid), BadSeal)


async def test_lists_name_a_record_with_a_wrong_seal(valkey):
    """A record with a wrong seal is an Unreadable among the records that are read together."""
    async with world(valkey) as (admin, _):
        good, bad = await admin.issue(), await admin.issue()
        valkey.admin.hset(stored.key(bad.kid), "client_id", "mallory")
        async with sealed(valkey.endpoint).client() as client:
            one, other = await StoredIndex(client).read([good.kid, bad.kid])
    assert one == good
    assert isinstance(other, BadSeal)


async def test_a_record_without_a_seal(valkey):
    """Until the store is marked a record without a seal is good; then it is refused."""
    async with administration(valkey.endpoint) as old:
        record = await old.issue()
    endpoint = sealed(valkey.endpoint)
    async with Sidecar(endpoint) as sidecar:
        await sidecar.trusted()
        assert await load(sidecar, record.kid) == record
        valkey.admin.hset(stored.META, "sealed", "1")
        await eventually(lambda: sidecar.feed.meta.is_sealed)
        assert isinstance(await load(sidecar, record.kid), BadSeal)
    async with endpoint.client() as client:
        keys = StoredKeys(client)
        await keys.verify(RING.fingerprints)
        with pytest.raises(BadSeal, match="no seal"):
            await keys.find(record.kid)


async def test_the_word_that_the_store_is_sealed_is_taken_away(valkey, caplog):
    """A running sidecar goes on to refuse; a new one does if its settings say so."""
    async with world(valkey) as (admin, sidecar):
        record = await admin.issue()
        valkey.admin.hdel(stored.META, "sealed")
        valkey.admin.hdel(stored.key(record.kid), "seal")
        await eventually(lambda: "no longer says" in caplog.text)
        assert isinstance(await load(sidecar, record.kid), BadSeal)
    for is_required in (False, True):
        async with Sidecar(sealed(valkey.endpoint, is_required=is_required)) as restarted:
            await restarted.trusted()
            assert isinstance(await load(restarted, record.kid), BadSeal) is is_required


def test_another_warning_does_not_hide_that_the_word_was_taken_away(caplog):
    """A writer of the store can add a prefix, too: its warning must not replace this one."""
    found = entries(RING.fingerprints, ["ak"])
    latest = LatestMeta(RING.fingerprints, lambda: True, ["ak"])
    latest.update(found | {"sealed": "1"})
    latest.update(found | {"prefix:zz": "1"})
    assert "keys with the prefix zz" in caplog.text
    assert "no longer says" in caplog.text


async def test_each_change_seals(valkey):
    """Issue, update, rotation, disabling, enabling, reset and revocation leave a right seal."""
    async with world(valkey) as (admin, sidecar):
        flow, author = admin.lifecycle, admin.lifecycle.author
        kid = (await admin.issue()).kid
        changes = [
            lambda: flow.update(kid, {"name": "other"}, author("test")),
            lambda: flow.rotate(kid, 60_000, author("test")),
            lambda: flow.disable(kid, author("test")),
            lambda: flow.enable(kid, author("test")),
            lambda: flow.reset_limits(kid, author("test")),
            lambda: admin.revoke(kid),
        ]
        for change in changes:
            await change()
            fields = fields_of(valkey, kid)
            assert RING.record_seals.check(kid, fields) is Seal.VALID
            assert (await load(sidecar, kid)).version == int(fields["version"])


async def test_an_earlier_version_changes_a_sealed_record(valkey):
    """The record then counts as unsealed, not as altered; the next change seals it again."""
    async with world(valkey) as (admin, sidecar), administration(valkey.endpoint) as old:
        record = await admin.issue()
        valkey.admin.hdel(stored.META, "sealed")  # the store is not marked yet
        async with Sidecar(sealed(valkey.endpoint)) as fresh:
            await fresh.trusted()
            disabled = await old.disable(record.kid)
            assert "seal" in fields_of(valkey, record.kid)
            assert await load(fresh, record.kid) == disabled
            assert isinstance(await load(sidecar, record.kid), BadSeal)  # it saw the mark
            other = sealed(valkey.endpoint)
            async with administration(other) as new:
                await new.lifecycle.enable(record.kid, new.lifecycle.author("test"))
    fields = fields_of(valkey, record.kid)
    assert RING.record_seals.check(record.kid, fields) is Seal.VALID


async def test_unknown_fields_are_kept_and_sealed(valkey):
    """A change keeps the fields of a newer version, and its seal covers them."""
    async with world(valkey) as (admin, sidecar):
        kid = (await admin.issue()).kid
        fields = fields_of(valkey, kid) | {"colour": "blue"}
        put(valkey, kid, fields | {"seal": RING.record_seals.seal(kid, fields)})
        await admin.disable(kid)
        assert fields_of(valkey, kid)["colour"] == "blue"
        assert (await load(sidecar, kid)).status is Status.DISABLED
        valkey.admin.hset(stored.key(kid), "colour", "red")
        assert isinstance(await load(sidecar, kid), BadSeal)


async def test_a_repeated_change_keeps_its_seal(valkey):
    """A change that is sent twice is made once, and the seal stays right."""
    async with world(valkey) as (admin, sidecar):
        record = await admin.issue()
        change = planned(
            record, replace(record, name="x"), Action.UPDATE, admin.lifecycle.author("t"), 1
        )
        first = await admin.store.apply(change)
        assert await admin.store.apply(change) == first
        assert (await load(sidecar, record.kid)).name == "x"


async def test_rotation_of_the_pepper(valkey):
    """A record that is sealed with the older pepper is good; without the pepper it is refused."""
    one, two = make_pepper("1"), make_pepper("2")
    both, newer = Keyring("ak", [one, two]), Keyring("ak", [two])
    async with world(valkey) as (admin, _):
        record = await admin.issue()
        endpoint = sealed(valkey.endpoint, both)
        async with (
            administration(endpoint, both) as admin_of_both,
            Sidecar(endpoint, keyring=both) as sidecar,
        ):
            await sidecar.trusted()
            assert await load(sidecar, record.kid) == record
            await admin_of_both.disable(record.kid)
            assert (await load(sidecar, record.kid)).status is Status.DISABLED
        assert fields_of(valkey, record.kid)["seal"].startswith("2:")
        with pytest.raises(BadSeal, match="sealed with pepper 2, which is not here"):
            await admin.store.find(record.kid)
    assert newer.record_seals.check(record.kid, fields_of(valkey, record.kid)) is Seal.VALID
    assert both.record_seals.check(record.kid, fields_of(valkey, record.kid)) is Seal.VALID


async def test_a_seal_under_an_unknown_pepper_is_shown_escaped():
    """The pepper version of a forged seal reaches no message unless it is a letter or a digit."""
    fields = {"version": "1", "seal": "\x1b[2J:1:x"}
    with pytest.raises(BadSeal, match=r"pepper \?, which"):
        seals(RING).check("k" * 16, fields)


async def test_garbled_records_stay_unreadable(valkey):
    """A record with a right seal that cannot be decoded is Unreadable, and counted as such."""
    async with world(valkey) as (admin, sidecar):
        kid = (await admin.issue()).kid
        fields = fields_of(valkey, kid) | {"schema": "9"}
        put(valkey, kid, fields | {"seal": RING.record_seals.seal(kid, fields)})
        outcome = await load(sidecar, kid)
    assert isinstance(outcome, Unreadable)
    assert not isinstance(outcome, BadSeal)
    assert sidecar.probe.events[Event.RECORD_UNREADABLE] == 1


async def test_a_record_of_this_version_has_no_unknown_fields(valkey):
    """The fields that the script adds are known."""
    async with world(valkey) as (admin, _):
        record = await admin.issue()
        assert (await admin.store.find(record.kid)).unknown == {}
