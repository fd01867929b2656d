"""Strangers in the registry of sidecars: their entries confirm no change and break no command."""

import json
import time
from dataclasses import replace

import pytest

from authz.core.keys.keyring import Keyring
from authz.core.seals import SEAL
from authz.flows.confirmation import acknowledged
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredTrail
from authz.storage.registry import StoredSidecars
from tests.support.fakes import make_keyring, make_pepper
from tests.support.real import RealClock, eventually
from tests.support.storage import stored
from tests.support.storage.sealing import sealed
from tests.support.storage.sidecar import Registered, administration

NAME = "web-1"


def entry_of(valkey, name=NAME):
    """Return the stored entry of a sidecar."""
    return json.loads(valkey.admin.get(stored.sidecar(name)))


def write(valkey, entry, name=NAME):
    """Write an entry as a stranger can."""
    text = entry if isinstance(entry, str) else json.dumps(entry)
    valkey.admin.set(stored.sidecar(name), text, px=90_000_000)
    valkey.admin.zadd(stored.SIDECARS, {name: time.time() * 1000})


async def found(endpoint, expected=0):
    """Return the registry by instance."""
    async with replace(endpoint, sidecars=expected).client() as client:
        _, heard = await StoredSidecars(client).find()
        return {each.sidecar.instance: each for each in heard}


async def stopped(valkey, endpoint, name=NAME):
    """Run a sidecar until it has applied all, and stop it as SIGSTOP would."""
    async with Registered(endpoint, name, grace_ms=60_000) as sidecar:
        await sidecar.trusted()
        await eventually(lambda: entry_of(valkey, name)["applied"] is not None)


async def confirmed(endpoint, record, expected=0, seconds=0.0):
    """Return the confirmation of the change that made a record."""
    async with replace(endpoint, sidecars=expected).client() as client:
        await StoredKeys(client).verify(make_keyring().fingerprints)
        registry, trail = StoredSidecars(client), StoredTrail(client)
        return await acknowledged(registry, trail, record, seconds, RealClock())


async def test_an_entry_is_sealed_and_confirms(valkey):
    """The entry of a running sidecar is good, and confirms a change."""
    endpoint = sealed(valkey.endpoint)
    async with administration(endpoint) as admin, Registered(endpoint) as sidecar:
        await sidecar.trusted()
        revoked = await admin.revoke((await admin.issue()).kid)
        outcome = await confirmed(endpoint, revoked, seconds=60)
        assert (outcome.confirmed, outcome.is_complete) == (1, True)
        assert (await found(endpoint))[NAME].doubt == ""


@pytest.mark.parametrize("name", ["applied", "lease_ms", "grace_ms", "instance", "seen", SEAL])
async def test_a_changed_member_confirms_nothing(valkey, name):
    """A stopped sidecar whose entry says that it has applied the change stays outstanding."""
    endpoint = sealed(valkey.endpoint)
    async with administration(endpoint) as admin:
        record = await admin.issue()
        await stopped(valkey, endpoint)
        revoked = await admin.revoke(record.kid)
        entry = entry_of(valkey)
        changed = "" if name == SEAL else f"{entry[name]}0" if name == "instance" else 9
        write(valkey, entry | {name: changed})
        outcome = await confirmed(endpoint, revoked)
    assert (outcome.confirmed, outcome.is_complete) == (0, False)
    (outstanding,) = outcome.outstanding
    assert outstanding.instance == NAME
    assert outstanding.doubt


async def test_an_entry_of_a_stranger(valkey):
    """An entry without a seal in a marked store, and one under another pepper, prove nothing."""
    endpoint = sealed(valkey.endpoint)
    other = Keyring("ak", [make_pepper("2")])
    async with administration(endpoint) as admin:
        record = await admin.issue()
        await stopped(valkey, endpoint)
        entry = entry_of(valkey)
        del entry[SEAL]
        for forged, doubt in [
            (entry, "has no seal"),
            (other.entry_seals.sealed(entry), "another pepper"),
            (entry | {SEAL: "1:AAAA"}, "wrong seal"),
        ]:
            write(valkey, forged | {"applied": 10**6})
            outcome = await confirmed(endpoint, record)
            assert outcome.confirmed == 0
            assert doubt in outcome.outstanding[0].doubt


async def test_an_entry_of_an_earlier_version_counts_until_the_store_is_marked(valkey):
    """Sidecars of before have no seals; their entries are good while the store is not marked."""
    async with administration(valkey.endpoint):
        await stopped(valkey, valkey.endpoint)
        assert (await found(sealed(valkey.endpoint)))[NAME].doubt == ""
        valkey.admin.hset(stored.META, "sealed", "1")
        assert "no seal" in (await found(sealed(valkey.endpoint)))[NAME].doubt


async def test_readers_with_one_of_two_peppers(valkey):
    """While the pepper changes, a sidecar with both is confirmed by readers with either."""
    one, two = make_pepper("1"), make_pepper("2")
    both = Keyring("ak", [one, two])
    endpoint = sealed(valkey.endpoint, both)
    async with administration(endpoint, both), Registered(endpoint, keyring=both) as sidecar:
        await sidecar.trusted()
        for ring in (Keyring("ak", [one]), Keyring("ak", [two])):
            assert (await found(sealed(valkey.endpoint, ring)))[NAME].doubt == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease_ms", 10**19),
        ("lease_ms", 10**14),
        ("lease_ms", -1),
        ("grace_ms", 10**14),
        ("started_at", 10**19),
        ("seen", 10**15 + 1),
        ("instance", "\x1b[2J"),
        ("trusted", "yes"),
    ],
)
async def test_absurd_values_confirm_nothing_and_break_nothing(valkey, name, value):
    """Values that no sidecar has are found without seals, too."""
    async with administration(valkey.endpoint) as admin:
        record = await admin.issue()
        await stopped(valkey, valkey.endpoint)
        write(valkey, entry_of(valkey) | {name: value})
        outcome = await confirmed(valkey.endpoint, record)
    assert (outcome.confirmed, outcome.is_complete) == (0, False)
    assert outcome.outstanding[0].may_allow_until < (time.time() + 2 * 86_400) * 1000


async def test_a_removed_entry(valkey):
    """An entry that is gone while the index has the sidecar is outstanding."""
    endpoint = sealed(valkey.endpoint)
    async with administration(endpoint) as admin:
        record = await admin.issue()
        await stopped(valkey, endpoint)
        valkey.admin.delete(stored.sidecar(NAME))
        outcome = await confirmed(endpoint, record)
        assert outcome.outstanding[0].doubt == "its entry was removed"
        valkey.admin.zadd(stored.SIDECARS, {NAME: 1})  # so old that nothing of it can be served
        assert await found(endpoint) == {}


async def test_a_sidecar_that_was_removed_from_index_and_entries(valkey):
    """The store does not show it; `fleet.sidecars` does."""
    endpoint = sealed(valkey.endpoint)
    async with administration(endpoint) as admin, Registered(endpoint, "web-2") as sidecar:
        await sidecar.trusted()
        record = await admin.issue()
        await stopped(valkey, endpoint)
        valkey.admin.delete(stored.sidecar(NAME))
        valkey.admin.zrem(stored.SIDECARS, NAME)
        revoked = await admin.revoke(record.kid)
        assert (await confirmed(endpoint, revoked, seconds=60)).is_complete
        outcome = await confirmed(endpoint, revoked, expected=2, seconds=0.1)
    assert not outcome.is_complete
    assert [one.instance for one in outcome.outstanding] == ["(sidecar 2)"]


async def test_a_running_sidecar_notices_its_removal(valkey, caplog):
    """A sidecar that was removed writes its entry again, and says that somebody removed it."""
    endpoint = sealed(valkey.endpoint)
    async with administration(endpoint), Registered(endpoint) as sidecar:
        await sidecar.trusted()
        assert "was removed from the registry" not in caplog.text
        valkey.admin.zrem(stored.SIDECARS, NAME)
        await eventually(lambda: "was removed from the registry" in caplog.text)
        await eventually(lambda: valkey.admin.zscore(stored.SIDECARS, NAME) is not None)


async def test_garbage_in_the_index(valkey):
    """Members that are no names, and more members than sidecars can be, are shown safely."""
    endpoint = sealed(valkey.endpoint)
    async with administration(endpoint):
        now = time.time() * 1000
        valkey.admin.zadd(stored.SIDECARS, {b"\xff\xfe": now, "\x1b[2J": now, "x" * 400: now})
        assert set(await found(endpoint)) == {"(garbled)"}


async def test_the_sequence_of_a_stranger_is_not_believed(valkey):
    """A forged `seen` does not raise the highest change that sidecars have seen."""
    endpoint = sealed(valkey.endpoint)
    async with administration(endpoint) as admin:
        record = await admin.issue()
        await stopped(valkey, endpoint)
        write(valkey, entry_of(valkey) | {"seen": 10**14})
        async with endpoint.client() as client:
            assert await StoredKeys(client).highest_seen() <= record.version
