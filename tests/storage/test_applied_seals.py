"""Seals of what files last declared: entries that the store's writers altered, and resealing."""

import json

import pytest

from authz.core.errors import BadSeal
from authz.core.keys.keyring import Keyring
from authz.core.merging import Applied
from authz.core.seals import Seal
from authz.storage import applied as module
from authz.storage.applied import StoredApplied
from authz.storage.keys import StoredKeys
from authz.storage.resealing import Resealing
from authz.storage.schema import DEFAULT
from authz.storage.seals import seals_of
from tests.support.fakes import KID, make_keyring, make_pepper
from tests.support.storage import stored
from tests.support.storage.sealing import sealed
from tests.support.storage.sidecar import administration

RING = make_keyring()
OTHER_KID = "0" * 16
MINE = Applied(3, {"name": "shop", "scopes": ["a:b"], "metadata": {"b": "é", "a": "1"}}, "acme")


async def save(endpoint, *kids):
    """Store MINE for these kids, by a client with or without seals."""
    async with endpoint.client() as client:
        await StoredApplied(client).save(dict.fromkeys(kids, MINE))


async def load(endpoint):
    """Return what a client reads."""
    async with endpoint.client() as client:
        return await StoredApplied(client).load()


async def reseal(endpoint, ring=RING, **options):
    """Run `authz reseal` and return its result."""
    async with sealed(endpoint, ring).client() as client:
        await StoredKeys(client).verify(ring.fingerprints)
        return await Resealing(client, seals_of(client)).run(**options)


def results(valkey, ring=RING):
    """Return the result of checking each entry, by kid."""
    found = valkey.admin.hgetall(DEFAULT.applied)
    return {kid: ring.applied_seals.check(kid, json.loads(text)) for kid, text in found.items()}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 4},
        {"ref": "other"},
        {"fields": {}},
        {"fields": dict(MINE.fields) | {"name": "other"}},
        {"more": 1},
        {"seal": "1:"},
        {"seal": "1:é"},
    ],
)
async def test_an_altered_entry(valkey, change):
    """A change of any member is refused, also where seals are not required."""
    await save(sealed(valkey.endpoint), KID)
    assert await load(sealed(valkey.endpoint, is_required=True)) == {KID: MINE}
    members = json.loads(valkey.admin.hget(DEFAULT.applied, KID))
    valkey.admin.hset(DEFAULT.applied, KID, json.dumps(members | change))
    with pytest.raises(BadSeal, match=f"{KID}: its seal is wrong"):
        await load(sealed(valkey.endpoint))


async def test_an_entry_of_another_key(valkey):
    """An entry counts for its own kid alone."""
    await save(sealed(valkey.endpoint), KID)
    valkey.admin.hset(DEFAULT.applied, OTHER_KID, valkey.admin.hget(DEFAULT.applied, KID))
    with pytest.raises(BadSeal, match=f"{OTHER_KID}: its seal is wrong"):
        await load(sealed(valkey.endpoint))


@pytest.mark.parametrize("seal", ["", None, 1, []])
async def test_an_entry_without_a_seal(valkey, seal):
    """An entry without a seal is good until seals are required; a seal that is no text is none."""
    await save(valkey.endpoint, KID)
    members = json.loads(valkey.admin.hget(DEFAULT.applied, KID))
    valkey.admin.hset(DEFAULT.applied, KID, json.dumps(members | {"seal": seal}))
    assert await load(sealed(valkey.endpoint)) == {KID: MINE}
    with pytest.raises(BadSeal, match=f"{KID}: it has no seal"):
        await load(sealed(valkey.endpoint, is_required=True))


async def test_peppers(valkey):
    """The newest pepper seals, each is accepted, and one that is not here is named."""
    old, both = make_keyring(), Keyring("ak", [make_pepper("1"), make_pepper("2")])
    newer = Keyring("ak", [make_pepper("2")])
    await save(sealed(valkey.endpoint, old), KID)
    await save(sealed(valkey.endpoint, both), OTHER_KID)
    assert results(valkey, both) == {KID: Seal.OLDER, OTHER_KID: Seal.VALID}
    assert (await load(sealed(valkey.endpoint, both, is_required=True))).keys() == {KID, OTHER_KID}
    with pytest.raises(BadSeal, match=f"{KID}: it is sealed with pepper 1, which is not here"):
        await load(sealed(valkey.endpoint, newer))


def test_a_seal_of_a_record_is_none_of_an_entry():
    """Each kind of seal has a key of its own."""
    pepper = make_pepper("1")
    keys = {pepper.record_key, pepper.entry_key, pepper.applied_key}
    assert len(keys) == 3


async def test_reseal_seals_entries_of_an_earlier_version(valkey, monkeypatch):
    """All get a seal before the mark is set; a dry run only counts; a second run has no work."""
    monkeypatch.setattr(module, "PAGE", 2)
    kids = [f"{number:016}" for number in range(5)]
    async with administration(valkey.endpoint):
        await save(valkey.endpoint, *kids)
        rehearsed = await reseal(valkey.endpoint, dry_run=True)
        assert (rehearsed.applied, rehearsed.applied_sealed) == (5, 5)
        assert set(results(valkey).values()) == {Seal.ABSENT}
        found = await reseal(valkey.endpoint)
        assert (found.applied, found.applied_sealed, found.refusals, found.marked) == (
            5,
            5,
            0,
            True,
        )
        assert set(results(valkey).values()) == {Seal.VALID}
        assert await load(sealed(valkey.endpoint, is_required=True)) == dict.fromkeys(kids, MINE)
        assert await load(valkey.endpoint) == dict.fromkeys(kids, MINE)
        assert (await reseal(valkey.endpoint)).applied_sealed == 0


async def test_reseal_leaves_wrong_seals_and_late_entries_alone(valkey):
    """Reseal names entries that somebody without the pepper may have written, and seals none."""
    async with administration(valkey.endpoint):
        await save(sealed(valkey.endpoint), KID)
        members = json.loads(valkey.admin.hget(DEFAULT.applied, KID)) | {"ref": "other"}
        valkey.admin.hset(DEFAULT.applied, KID, json.dumps(members))
        valkey.admin.hset(DEFAULT.applied, "\x1b[31m", "[]")
        found = await reseal(valkey.endpoint)
        assert (found.marked, found.refused, found.refusals) == (True, {}, 2)
        assert found.refused_applied.keys() == {KID, "?"}
        await save(valkey.endpoint, OTHER_KID)
        late = await reseal(valkey.endpoint)
        assert late.refused_applied.keys() == {KID, OTHER_KID, "?"}
        assert results_of(valkey, KID, OTHER_KID) == [Seal.WRONG, Seal.ABSENT]


def results_of(valkey, *kids):
    """Return the results of checking these entries."""
    texts = valkey.admin.hmget(DEFAULT.applied, kids)
    return [
        RING.applied_seals.check(kid, json.loads(text))
        for kid, text in zip(kids, texts, strict=True)
    ]


async def test_reseal_renews_seals_of_an_older_pepper(valkey):
    """After it, the older pepper is not needed any more."""
    both = Keyring("ak", [make_pepper("1"), make_pepper("2")])
    async with administration(sealed(valkey.endpoint, both), both):
        await save(sealed(valkey.endpoint), KID)
        assert (await reseal(valkey.endpoint, both)).applied_sealed == 1
    newer = Keyring("ak", [make_pepper("2")])
    assert await load(sealed(valkey.endpoint, newer, is_required=True)) == {KID: MINE}


async def test_an_earlier_version_applies_a_file_meanwhile(valkey, monkeypatch):
    """The mark is not set before what it wrote has a seal, too."""
    late = ["1" * 16, "2" * 16]
    original = StoredApplied.reseal

    async def then_save(self, *args, **options):
        found = await original(self, *args, **options)
        if late and not found[1]:  # all were sealed, and the mark comes next
            await save(valkey.endpoint, late.pop())
        return found

    monkeypatch.setattr(StoredApplied, "reseal", then_save)
    async with administration(valkey.endpoint):
        await save(valkey.endpoint, KID)
        found = await reseal(valkey.endpoint)
    assert (found.applied, found.marked, late) == (3, True, [])
    assert set(results(valkey).values()) == {Seal.VALID}
    assert valkey.admin.hget(stored.META, "sealed") == "1"
