"""The schema of a store with moved keys: a version that knows none refuses the store."""

import pytest

from authz.core.errors import Foreign
from authz.storage import meta, schema
from authz.storage.latest_meta import LatestMeta
from tests.support.storage.partitioned import parts_of

OURS = {"1": "fingerprint"}


@pytest.mark.parametrize(
    ("found", "moved", "is_right"),
    [("1", False, True), ("2", True, True), ("1", True, False), ("2", False, False)],
)
def test_the_schema_says_whether_keys_may_be_moved(found, moved, is_right):
    """The schema is 2 with the field `moved`, else 1. Whatever lacks one of both is refused."""
    stored = meta.entries(OURS) | {schema.META_SCHEMA: found}
    stored |= {schema.META_MOVED: "1"} if moved else {}
    latest = LatestMeta(OURS, lambda: True)
    assert latest.may_have_moved
    if not is_right:
        with pytest.raises(Foreign, match="schema"):
            latest.update(stored)
        return
    latest.update(stored)
    assert latest.may_have_moved is moved


async def test_setting_up_again_keeps_the_schema(valkey):
    """A pepper that is added to a store with moved keys leaves its schema; the store is ours."""
    async with parts_of(valkey) as parts:
        store, client = parts.stores[2], parts.clients[2]
        await store.initialise(OURS)
        await store.verify(OURS)
        assert not store.may_have_moved
        name = schema.names_of(client).meta
        await client.hset(name, mapping={schema.META_MOVED: "1", schema.META_SCHEMA: "2"})
        assert await store.initialise(OURS | {"2": "other"})
        assert not await store.initialise(OURS | {"2": "other"})
        await store.verify(OURS)
        assert store.may_have_moved
        assert (await client.hgetall(name))[schema.META_SCHEMA] == "2"
