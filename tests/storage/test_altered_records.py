"""Compact records that somebody without the pepper alters: no sidecar uses any of them."""

import contextlib
import json
from ipaddress import ip_network

import pytest

from authz.core import changes
from authz.core import seals as module
from authz.core.changes import Author
from authz.core.errors import Unreadable
from authz.core.events import Event
from authz.core.keys.keyring import Keyring
from authz.core.limits.limit import parse_limits
from authz.core.new_keys import KeySpec
from authz.core.records import KeyRecord
from authz.core.seals import Seal
from authz.storage import compact, encoding, field_codec, schema
from authz.storage.field_codec import FieldCodec, as_bytes
from authz.storage.meta import form_of
from tests.support.fakes import NOW, make_keyring, make_pepper, make_record
from tests.support.mutating import mutate
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.altering import (
    altered_bytes,
    altered_fields,
    mixed,
    packed,
    rearranged,
)
from tests.support.storage.sealing import fields_of, load, sealed
from tests.support.storage.sidecar import Registered, Sidecar, administration

RING = make_keyring()
FIELDS = encoding.encode(make_record())
MARK, MAC = "bit 0 of byte 8", "bit 0 of byte 40"
FINDINGS = (Event.RECORD_BAD_SEAL, Event.RECORD_UNREADABLE)
FULL = KeySpec(
    client_id="acme-web",
    env="live",
    life_ms=10**9,
    name="a name",
    project_id="web",
    tenant_id="acme",
    scopes=frozenset({"models:generate"}),
    allowed_cidrs=(ip_network("10.0.0.0/8"),),
    allowed_hosts=("api.example.com",),
    metadata={"team": "core"},
    outage_grace=1000,
    plan="free",
    limits=parse_limits("limits", ["20/s"]),
)


def disabled(record, change_id):
    """Return a change of a disabled key whose id is not as ours are."""
    return changes.enable(record, Author(change_id, "ops"), NOW + 1)


@contextlib.asynccontextmanager
async def world(valkey, ring=RING):
    """A new store of compact, sealed records: administration and a running sidecar."""
    endpoint = sealed(valkey.endpoint, ring)
    async with administration(endpoint, ring) as admin, Sidecar(endpoint, keyring=ring) as sidecar:
        valkey.admin.hset(stored.META, schema.META_COMPACT, schema.ALL_COMPACT)
        await sidecar.trusted()
        yield admin, sidecar


async def issued(admin):
    """Issue a key with a value in most fields, and disable it. Return its record."""
    life = admin.lifecycle
    record = (await life.issue(FULL, life.author("test"))).record
    return await admin.disable(record.kid)


def raw(valkey, kid):
    """Return the bytes of a compact record."""
    return as_bytes(valkey.admin.get(stored.key(kid)))


def findings(sidecar):
    """Return how many records the sidecar counted that may not be used."""
    return sum(sidecar.probe.events[event] for event in FINDINGS)


async def is_used(valkey, sidecar, kid, text):
    """Return whether the sidecar uses a record with these bytes, or refuses it in silence."""
    valkey.admin.set(stored.key(kid), text)
    before = findings(sidecar)
    outcome = await load(sidecar, kid)
    return not (isinstance(outcome, Unreadable) and findings(sidecar) == before + 1)


async def used(valkey, sidecar, record, mutants):
    """Return the names of the mutants that a sidecar uses. At the end the right record is back."""
    right, found = raw(valkey, record.kid), set()
    for name, mutant in mutants:
        assert mutant != right, name
        if await is_used(valkey, sidecar, record.kid, mutant):
            found.add(name)
    valkey.admin.set(stored.key(record.kid), right)
    assert isinstance(await load(sidecar, record.kid), KeyRecord)
    return found


async def used_fields(valkey):
    """Return the fields of which an altered value is used. Each field is altered once at least."""
    async with world(valkey) as (admin, sidecar):
        record, other = await issued(admin), await admin.issue(client_id="other")
        right = fields_of(valkey, record.kid)
        mutants = list(packed(altered_fields(right, fields_of(valkey, other.kid))))
        assert {name for name, _ in mutants} == {*right, "new"}
        return await used(valkey, sidecar, record, mutants)


async def test_every_field(valkey):
    """No record with another value of any field is used, its version and its seal included."""
    assert await used_fields(valkey) == set()


@pytest.mark.parametrize("name", [*FIELDS, "change_id", "new"])
async def test_a_seal_without_a_field_would_be_noticed(valkey, monkeypatch, name):
    """The test above fails for a seal that does not cover one of the fields.

    The kid and the schema of a record are compared, too, so it is refused all the same.
    """
    whole = module._digest

    def partial(kid, fields):
        return whole(kid, {one: text for one, text in fields.items() if one != name})

    monkeypatch.setattr(module, "_digest", partial)
    assert await used_fields(valkey) == {name} - {"kid", "schema"}


async def test_a_seal_without_the_version_would_be_noticed(valkey, monkeypatch):
    """The same for a seal that does not cover the version, which lies outside of the fields."""
    mutate(monkeypatch, module.RecordSeals, "_macs", "digest + str(first + at).encode()", "digest")
    mutate(monkeypatch, module.RecordSeals, "check", " + _bytes(version)", "")
    assert await used_fields(valkey) == {"version"}


async def test_a_record_without_a_seal_would_be_noticed(valkey, monkeypatch):
    """The same for a check that takes a missing seal for a right one."""
    mutate(monkeypatch, module.RecordSeals, "check", "return Seal.ABSENT", "return Seal.VALID")
    assert await used_fields(valkey) == {"seal"}


async def used_bytes(valkey, change_id=""):
    """Return the names of the altered texts that are used. change_id: of the last change."""
    async with world(valkey) as (admin, sidecar):
        record, other = await issued(admin), await admin.issue(client_id="other")
        if change_id:
            await admin.store.apply(disabled(record, change_id))
        right, foreign = raw(valkey, record.kid), raw(valkey, other.kid)
        mutants = [*altered_bytes(right), *rearranged(right), *mixed(right, foreign)]
        return await used(valkey, sidecar, record, mutants)


@pytest.mark.parametrize("change_id", ["", "an id of another program"])
async def test_every_byte(valkey, change_id):
    """No record with a changed bit, a cut, another end or other fields is used."""
    assert await used_bytes(valkey, change_id) == set()


LAX = (
    (compact, "_unpacked", " or text[0] != FORM", "", "bit 1 of byte 0"),
    (compact, "_unpacked", "raw_id(change_id) or change_mark(change_id) != marked", "False", MARK),
    (
        module,
        "_is_right",
        "_text(mac).encode()",
        "_text(mac).encode()[:21]+_bytes(given)[21:]",
        MAC,
    ),
    (module, "_is_right", "_text(mac).encode()", "_bytes(given)", MAC),
    (field_codec, "_values", "at > len(text) or ", "", "beyond the end"),
    (field_codec, "_values", "number < last", "False", "last 5"),
    (field_codec, "_values", "number != UNNUMBERED", "False", "twice 5"),
    (field_codec, "read_length", "not byte or byte > _LOW", "byte > _LOW", "long length 2"),
    (FieldCodec, "read", "content_text == field.default", "False", "added 4"),
    (FieldCodec, "read", " or name in self._named", "", "a known field by name"),
)


@pytest.mark.parametrize("lax", LAX, ids=lambda lax: lax[-1])
async def test_a_lax_reader_would_be_noticed(valkey, monkeypatch, lax):
    """The test above fails for a reader that leaves out one of its checks."""
    *change, noticed = lax
    mutate(monkeypatch, *change)
    found = await used_bytes(valkey, "an id of another program")
    assert [one for one in found if one.startswith(noticed)]


async def test_what_others_sealed(valkey):
    """A record of another kid, and of stores with other peppers, is not used for a key."""
    async with world(valkey) as (admin, sidecar):
        record, other = await issued(admin), await admin.issue()
        fields, foreign = fields_of(valkey, record.kid), fields_of(valkey, other.kid)
        mutants = {"another kid": foreign, "with our kid": foreign | {"kid": record.kid}}
        for version in "12":
            theirs = Keyring("ak", [make_pepper(version, b"z" * 32)]).record_seals
            mutants[f"pepper {version}"] = fields | {"seal": theirs.seal(record.kid, fields)}
            assert theirs.check(record.kid, mutants[f"pepper {version}"]) is Seal.VALID
        texts = [(name, compact.pack(found)) for name, found in mutants.items()]
        assert await used(valkey, sidecar, record, texts) == set()


async def test_other_values_of_the_store(valkey):
    """A sealed registry entry, sealed applied fields, an alias and a number are no record."""
    async with world(valkey) as (admin, sidecar):
        record, other = await issued(admin), await admin.issue()
        async with Registered(sealed(valkey.endpoint)) as registered:
            await registered.trusted()
            await eventually(lambda: valkey.admin.exists(stored.sidecar("web-1")))
            entry = as_bytes(valkey.admin.get(stored.sidecar("web-1")))
        applied = json.dumps(RING.applied_seals.sealed(record.kid, {"scopes": "*"})).encode()
        texts = {
            "entry": entry,
            "applied": applied,
            "alias": other.kid.encode(),
            "number": b"17",
            "audit": json.dumps(valkey.admin.xrevrange(stored.AUDIT, count=1)[0][1]).encode(),
        }
        assert await used(valkey, sidecar, record, texts.items()) == set()


@pytest.mark.parametrize("form", ["", schema.SOME_COMPACT, schema.ALL_COMPACT])
@pytest.mark.parametrize("kind", ["list", "set", "zset", "stream", "hash"])
async def test_another_type(valkey, kind, form, caplog):
    """A value of another type is refused, counted and logged by the kid, with any mark."""
    async with world(valkey) as (admin, sidecar):
        record = await issued(admin)
        name, text = stored.key(record.kid), raw(valkey, record.kid)
        valkey.admin.delete(name)
        {
            "list": lambda: valkey.admin.rpush(name, text),
            "set": lambda: valkey.admin.sadd(name, text),
            "zset": lambda: valkey.admin.zadd(name, {text: 1}),
            "stream": lambda: valkey.admin.xadd(name, {"record": text}),
            "hash": lambda: valkey.admin.hset(name, mapping={"record": text}),
        }[kind]()
        valkey.admin.hset(stored.META, schema.META_COMPACT, form)
        await eventually(lambda: sidecar.feed.meta.form == form_of(form))
        outcome = await load(sidecar, record.kid)
        assert isinstance(outcome, Unreadable)
        assert findings(sidecar) == 1
    assert f"record {record.kid}" in caplog.text


async def test_a_hash_beside_compact_records(valkey):
    """A hash with all fields and the right seal is the same record; with any other it is none."""
    async with world(valkey) as (admin, sidecar):
        record, other = await issued(admin), await admin.issue(client_id="other")
        right, found = fields_of(valkey, record.kid), set()
        mutants = altered_fields(right, fields_of(valkey, other.kid))
        for name, fields in [("", right), *mutants]:
            valkey.admin.delete(stored.key(record.kid))
            valkey.admin.hset(stored.key(record.kid), mapping=fields)
            if isinstance(await load(sidecar, record.kid), KeyRecord):
                found.add(name)
        assert found == {""}
