"""ImportIndex, and requests with text that is not one of our keys while it is confirmed."""

import asyncio

import pytest

from authz.core.decision import Allow, Deny, Reason
from authz.core.digest_index import DigestIndex
from authz.core.events import Event
from authz.flows.import_index import ImportIndex
from tests.support.flows.imported import FOREIGN, NEWEST, OLDER, RECORD, ImportedRig

OTHER = bytes(32)


def checksum(*digests):
    """The checksum that the store keeps for these digests."""
    index = DigestIndex()
    index.add(digests)
    return index.checksum


def confirmed(*digests, max_digests=100):
    """An index that holds these digests and was confirmed."""
    index = ImportIndex(max_digests)
    index.change(digests)
    assert index.confirm(len(digests), checksum(*digests))
    return index


def stranger(number):
    """Text that could be an imported key and is none."""
    return f"stranger-{number:032}"


def test_an_index_excludes_nothing_before_it_is_confirmed():
    """An index that is loading says of no digest that it is absent."""
    index = ImportIndex(100)
    index.change([NEWEST])
    assert not index.excludes([OTHER])
    assert index.confirm(1, checksum(NEWEST))
    assert index.excludes([OTHER])
    assert not index.excludes([OTHER, NEWEST])


@pytest.mark.parametrize(
    ("count", "held"), [(2, (NEWEST,)), (1, (NEWEST, OLDER)), (1, (OTHER,)), (0, (NEWEST,))]
)
def test_a_count_or_checksum_that_differs(count, held):
    """The index asks for a reload and excludes nothing until it is confirmed again."""
    index = confirmed(NEWEST)
    index.change([digest for digest in held if digest != NEWEST], [NEWEST])
    index.change(held)
    assert not index.confirm(count, checksum(NEWEST, OLDER, *held))
    assert not index.excludes([b"\x01" * 32])

    index.restart()
    index.change([NEWEST])
    assert index.confirm(1, checksum(NEWEST))


def test_changes_are_followed():
    """A digest that is added is not excluded any more, and one that is removed is."""
    index = confirmed(NEWEST)
    index.change([OTHER], [NEWEST])
    assert not index.excludes([OTHER])
    assert index.excludes([NEWEST])
    assert index.confirm(1, checksum(OTHER))


def test_above_the_bound():
    """Above the bound the index holds nothing, excludes nothing, and asks for no reload."""
    index = confirmed(NEWEST, max_digests=1)
    index.change([OTHER])
    assert len(index) == 0
    assert index.confirm(2, checksum(NEWEST, OTHER))
    assert not index.excludes([OLDER])

    assert not index.confirm(1, checksum(NEWEST))  # below it again: load anew
    index.restart()
    index.change([NEWEST])
    assert index.confirm(1, checksum(NEWEST))
    assert index.excludes([OTHER])


async def test_strangers_cost_no_lookup():
    """Text that the index excludes is an unknown key: at once, and without a lookup."""
    rig = ImportedRig(rate=1, index=confirmed(NEWEST))
    for number in range(1000):
        assert rig.begin(stranger(number)) == Deny(Reason.UNKNOWN_KEY)
    assert not rig.aliases.pending
    assert rig.probe.events[Event.ALIAS_NEGATIVE_HIT] == 1000

    assert await rig.decide(FOREIGN) == Allow(RECORD)


async def test_keys_in_the_index_are_always_looked_up():
    """The budget for lookups does not apply to digests that the index holds."""
    texts = [f"imported-{number:032}" for number in range(50)]
    newest = [next(rig_key.digests())[1] for rig_key in map(ImportedRig.parse, texts)]
    rig = ImportedRig(rate=1, index=confirmed(*newest))
    made = [rig.begin(text) for text in texts]
    while len(rig.aliases.pending) < len(texts):
        await asyncio.sleep(0)
    assert rig.probe.events[Event.ALIAS_LOOKUP_LIMITED] == 0
    rig.aliases.answer_all()
    assert set(await asyncio.gather(*made)) == {Deny(Reason.UNKNOWN_KEY)}


async def test_an_untrusted_link():
    """Without trust the index proves nothing: a new import may not have been reported."""
    rig = ImportedRig(index=confirmed(NEWEST))
    rig.keys.trust(0)
    assert await rig.decide(stranger(1)) == Deny(Reason.UNAVAILABLE)


async def test_a_flush_restarts_the_index():
    """After a flush changes may be missing, so strangers are looked up again."""
    index = confirmed(NEWEST)
    rig = ImportedRig(index=index)
    rig.keys.flush()
    assert not index.is_confirmed
    assert await rig.decide(stranger(1)) == Deny(Reason.UNKNOWN_KEY)
    assert sum(rig.aliases.lookups.values()) == 1


async def test_without_the_index_strangers_leave_lookups_to_other_addresses():
    """One address that floods does not use up the lookups of the others."""
    rig = ImportedRig(rate=16)
    for second in range(3):
        for number in range(100):
            rig.begin(stranger(1000 * second + number), "198.51.100.1")
        await asyncio.sleep(0)
        rig.clock.advance(1)
        rig.aliases.answer_all()
    for number in range(100):
        rig.begin(stranger(9000 + number), "198.51.100.1")
    await asyncio.sleep(0)
    rig.aliases.answer_all()
    assert await rig.decide(FOREIGN, "192.0.2.1") == Allow(RECORD)
