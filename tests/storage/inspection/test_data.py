"""The checks of our data in a real store."""

import redis

from authz.core.finding import Level
from authz.core.limits.charge import SpendRequest, charge_for
from authz.storage.inspection import data
from authz.storage.limits.spend_script import SPEND, arguments
from tests.spending.plans import make_terms
from tests.support.fakes import make_keyring
from tests.support.real import RealClock, eventually
from tests.support.storage import stored
from tests.support.storage.inspection import report
from tests.support.storage.sidecar import Registered


async def test_a_store_that_was_never_initialised(valkey):
    """A store without authz:meta fails with the remedy."""
    identity = (await report(valkey.endpoint))["identity"]
    advice = "run `authz init`, or `authz restore FILE` if it had keys"
    assert (identity.level, identity.advice) == (Level.FAIL, advice)


async def test_a_store_of_other_peppers(valkey, admin):
    """A different pepper of the same version fails; a pepper that we lack is a warning."""
    other = make_keyring("ak", "2").fingerprints["2"]
    found = await report(valkey.endpoint, fingerprints={"1": other})
    assert found["identity"].level is Level.FAIL
    valkey.admin.hset(stored.META, "pepper:2", other)
    found = await report(valkey.endpoint)
    assert found["identity"].level is Level.WARN
    assert "pepper 2" in found["identity"].found


async def test_a_store_that_lost_its_data(valkey, admin):
    """An emptied store fails with the last change that a sidecar saw, and the remedy."""
    await admin.issue()
    async with Registered(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        valkey.admin.flushall()
        await eventually(lambda: valkey.admin.zcard(stored.SIDECARS))
        identity = (await report(valkey.endpoint))["identity"]
    assert (identity.level, identity.found) == (
        Level.FAIL,
        "the store's data is gone: it was at change 1",
    )
    assert "authz restore FILE" in identity.advice


async def test_a_garbled_number_of_changes(valkey, admin):
    """Without a number of changes nobody can change a key: that fails."""
    await admin.issue()
    valkey.admin.set(stored.SEQ, "x" * 1000)
    changes = (await report(valkey.endpoint))["changes"]
    assert (changes.level, stored.SEQ in changes.found) == (Level.FAIL, True)
    assert len(changes.found) < 120


async def test_records_that_cannot_be_read(valkey, admin):
    """Unreadable records are counted, and the first one's error is shown."""
    kids = [(await admin.issue()).kid for _ in range(3)]
    valkey.admin.hset(stored.key(kids[1]), "scopes", "  ")
    finding = (await report(valkey.endpoint))["records"]
    assert finding.level is Level.FAIL
    assert finding.found.startswith(f"1 of a sample of 3 cannot be read: record {kids[1]}: ")


async def test_only_a_sample_of_the_records_is_read(valkey, admin, monkeypatch):
    """At most SAMPLE records are read."""
    for _ in range(5):
        await admin.issue()
    monkeypatch.setattr(data, "SAMPLE", 2)
    assert (await report(valkey.endpoint))["records"].found == (
        "5 keys; all of a sample of 2 can be read"
    )


async def test_limits_that_cannot_be_counted(valkey, admin):
    """A garbled counter and a counter that is not a hash are both found."""
    kids = [(await admin.issue()).kid for _ in range(4)]
    now, raw = RealClock().wall_ms(), redis.Redis(port=valkey.port)
    for kid in kids[:2]:
        terms = make_terms("10/s", "20/min,burst=3", "30/month", kid=kid)
        valkey.admin.eval(SPEND, *arguments(charge_for(terms, 1, now), SpendRequest(1)))
    assert (await report(valkey.endpoint))["limits"].level is Level.OK

    for field, value in (("second s unit", "rubbish"), ("second s unit older", "rubbish!")):
        before = raw.dump(stored.limit(kids[0]))
        valkey.admin.hset(stored.limit(kids[0]), field, value)
        found = (await report(valkey.endpoint))["limits"]
        assert found.level is Level.FAIL
        assert found.found == f"1 of a sample of 4 counters cannot be read: {kids[0]}"
        raw.restore(stored.limit(kids[0]), 0, before, replace=True)

    raw.close()
    valkey.admin.set(stored.limit(kids[3]), "text")
    assert kids[3] in (await report(valkey.endpoint))["limits"].found
