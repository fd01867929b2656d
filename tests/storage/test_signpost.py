"""A sidecar, a meter and `authz admin` name both numbers of partitions if they differ."""

from dataclasses import replace

import pytest

from authz.core.errors import Foreign
from authz.process.clock import SystemClock
from authz.storage import schema
from authz.storage.meta import NOT_INITIALISED
from authz.storage.meta_watch import MetaWatch
from authz.storage.signpost import refuse_other_count
from tests.support.fakes import make_keyring
from tests.support.metered_partitions import initialised
from tests.support.real import eventually
from tests.support.storage.sidecar import Sidecar
from tests.support.usage_counting import link_of

DIFFERENT = [(8, 48), (48, 8), (1, 8)]


def other(valkey, stored, wanted):
    """Set up a store, and return the endpoint of a part of it that expects another number."""
    initialised(valkey, stored)
    return replace(valkey.endpoint, count=wanted).partitions()[3]


@pytest.mark.parametrize(("stored", "wanted"), DIFFERENT)
async def test_a_sidecar(valkey, stored, wanted):
    """A sidecar trusts nothing, and its reason has both numbers."""
    problem = f"the store's number of partitions is {stored}, redis.partitions is {wanted}"
    async with Sidecar(other(valkey, stored, wanted)) as sidecar:
        await eventually(lambda: problem in sidecar.reason)
        assert not sidecar.is_trusted


@pytest.mark.parametrize(("stored", "wanted"), DIFFERENT)
async def test_a_meter(valkey, stored, wanted):
    """A meter counts nothing, and its reason has both numbers."""
    problem = f"the store's number of partitions is {stored}, redis.partitions is {wanted}"
    async with link_of(other(valkey, stored, wanted)) as link:
        await eventually(lambda: problem in link.reason)


@pytest.mark.parametrize(("stored", "wanted"), DIFFERENT)
async def test_administration(valkey, stored, wanted):
    """`authz admin` uses no partition, and its reason has both numbers."""
    where = other(valkey, stored, wanted)
    async with where.client() as client:
        watch = MetaWatch(client, SystemClock(), make_keyring().fingerprints, (), where)
        await watch.look()
    assert (
        watch.reason
        == f"the store's number of partitions is {stored}, redis.partitions is {wanted}"
    )
    assert not watch.is_current


async def test_a_store_that_was_never_set_up(valkey):
    """There is no other number: the reason says what to run."""
    where = replace(valkey.endpoint, count=8).partitions()[3]
    async with Sidecar(where) as sidecar, link_of(where) as link:
        await eventually(lambda: NOT_INITIALISED in sidecar.reason)
        await eventually(lambda: "no authz:meta" in link.reason)


async def test_a_user_that_may_read_fields_alone(own_valkey):
    """A meter's user may read fields of authz:meta, and no more of it."""
    where = other(own_valkey, 8, 48)
    rules = ("on", ">secret", "+hello", "+auth", "+client", "+hmget", "%R~authz:meta")
    own_valkey.admin.execute_command("ACL", "SETUSER", "fields", "reset", *rules)
    limited = replace(own_valkey.login("fields", "secret"), count=48, partition=where.partition)
    with pytest.raises(Foreign, match="number of partitions is 8"):
        await refuse_other_count(limited)


async def test_a_store_that_is_about_to_have_our_number(valkey):
    """A part for the partitions of a move begins before the move has ended."""
    where = other(valkey, 1, 8)
    valkey.admin.hset(valkey.endpoint.names.meta, schema.META_RESHARDING, "8")
    await refuse_other_count(where)
    with pytest.raises(Foreign):
        await refuse_other_count(replace(where, count=48))
