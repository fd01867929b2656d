"""Tombstones: their size in a real store, and the spread over their sets."""

from authz.storage import tombstones
from authz.storage.schema import DEFAULT

MANY = 30_000
MAX_BYTES = 40


def test_a_tombstone_is_small(own_valkey):
    """From 8,000 deleted keys on a tombstone takes at most 40 bytes, as the server counts them."""
    admin = own_valkey.admin
    before = admin.info("memory")["used_memory_dataset"]
    pipeline = admin.pipeline(transaction=False)
    for number in range(MANY):
        place = tombstones.of_kid(f"{number:016}")
        pipeline.sadd(DEFAULT.gone(place.bucket), place.member)
    pipeline.execute()
    assert admin.object("encoding", DEFAULT.gone(0)) == "intset"
    names = [DEFAULT.gone(bucket) for bucket in range(tombstones.BUCKETS)]
    pipeline = admin.pipeline(transaction=False)
    for name in names:
        pipeline.memory_usage(name)
    used = sum(filter(None, pipeline.execute()))
    assert used / MANY <= MAX_BYTES
    assert admin.info("memory")["used_memory_dataset"] - before <= 2 * MANY * MAX_BYTES


def test_kids_and_digests_differ():
    """A kid and a digest of the same bytes have different tombstones."""
    own, digest = tombstones.of("0" * 16, [b"0" * 16])
    assert own != digest
    assert own == tombstones.of_kid("0" * 16)
    assert 0 <= own.bucket < tombstones.BUCKETS
    assert -(1 << 63) <= own.member < 1 << 63
