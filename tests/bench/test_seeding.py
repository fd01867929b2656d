"""Seeded keys are, byte by byte, those that the product issues."""

from dataclasses import replace

from authz.core.partitions import Partitions
from authz.core.seals import Seal
from authz.core.trail.rows import Proof
from authz.storage import compact, schema
from authz.storage.batches import StoredBatches
from authz.storage.field_codec import as_bytes
from authz.storage.index_members import kid_of
from tests.bench.seeding import KEYS_A_CLIENT, change_of, seed
from tests.support.fakes import make_keyring
from tests.support.storage import stored
from tests.support.storage.sealing import sealed

RING = make_keyring()
COUNT = 120  # changes of one, two and three digits


def content(valkey):
    """Return the store's content but for the time at which it took a change."""
    admin = valkey.admin
    names = sorted(name for name in admin.keys("authz:*") if name not in {stored.LOG, stored.META})
    found = {name: as_bytes(admin.get(name)) for name in names if admin.type(name) == "string"}
    ordered = [name for name in names if admin.type(name) == "zset"]
    found |= {name: admin.zrange(name, 0, -1, withscores=True) for name in ordered}
    log = [(row, {**fields, "at": ""}) for row, fields in admin.xrange(stored.LOG)]
    return found, log, admin.xrange(stored.AUDIT)


async def test_seeded_keys_are_those_of_the_product(own_valkey):
    """Two stores with the same keys, one by the script and one seeded, have the same content."""
    admin = own_valkey.admin
    admin.hset(stored.META, schema.META_COMPACT, schema.ALL_COMPACT)
    seed(own_valkey.port, RING, range(COUNT))
    seeded = content(own_valkey)
    kids = list(map(kid_of, admin.zrange(stored.KEYS, 0, -1)))
    assert len(set(kids)) == COUNT
    assert admin.zcard(stored.client("client-0000003")) == KEYS_A_CLIENT
    changes = []
    for number, kid in enumerate(kids):
        found = compact.unpack(kid, as_bytes(admin.get(stored.key(kid))))
        assert RING.record_seals.check(kid, found) is Seal.VALID
        made = change_of(RING, number, kid)
        [secret] = made.record.secrets
        digest = bytes.fromhex(found["secrets"].split('"digest": "')[1][:64])
        record = replace(made.record, secrets=(replace(secret, digest=digest),))
        changes.append(replace(made, record=record, id=found["change_id"]))
    for _, fields in stored.audit_rows(admin):
        assert RING.trail_keys.check(fields) is Proof.VALID
    own_valkey.admin.flushall()
    admin.hset(stored.META, schema.META_COMPACT, schema.ALL_COMPACT)
    endpoint = replace(sealed(own_valkey.endpoint, RING), marks=lambda: RING.trail_keys)
    async with endpoint.client() as client:
        assert await StoredBatches(client).apply_all(changes) == list(range(1, COUNT + 1))
    assert content(own_valkey) == seeded


async def test_seeded_keys_of_a_partition(own_valkey):
    """Seeded keys lie in the home of their tenant, and changes of the partition begin with 1."""
    names = schema.Names(partition=3, partitions=8)
    seed(own_valkey.port, RING, range(COUNT, 2 * COUNT), names)
    admin = own_valkey.admin
    assert admin.get(names.seq) == str(COUNT)
    assert {name[: name.index("}")] for name in admin.keys("*")} == {"authz:{6KV"}
    kids = list(map(kid_of, admin.zrange(names.keys, 0, -1)))
    assert len(set(kids)) == COUNT
    partitions = Partitions(8)
    for number, kid in enumerate(kids, start=1):
        found = compact.unpack(kid, as_bytes(admin.get(names.key(kid))))
        assert RING.record_seals.check(kid, found) is Seal.VALID
        assert found["version"] == str(number)
        assert partitions.home(found["client_id"], tenant=found["tenant_id"]) == 3
        assert partitions.of(kid) == 3
