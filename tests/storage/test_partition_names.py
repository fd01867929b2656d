"""Names and identity of the partitions of a store. No server."""

import pytest

from authz.core.errors import Foreign
from authz.core.partitions import COUNTS, tag
from authz.storage import meta
from authz.storage.cluster import slot_of
from authz.storage.endpoint import Endpoint
from authz.storage.schema import DEFAULT, Names
from tests.support.fakes import make_keyring

PEPPERS = make_keyring().fingerprints


def texts(names):
    """All names that are attributes."""
    return [text for text in vars(names).values() if isinstance(text, str) and ":" in text]


def test_one_partition_has_the_names_of_every_version_so_far():
    """A setting of 1 changes no name."""
    assert vars(Names(partition=0, partitions=1)) == vars(DEFAULT)
    assert DEFAULT.meta == "authz:meta"
    assert Endpoint.parse("redis://a").partitions() == (Endpoint.parse("redis://a"),)


@pytest.mark.parametrize("clustered", [False, True])
def test_all_names_of_a_partition_share_a_slot(clustered):
    """The meta has the tag on a single store, too."""
    for partition in range(8):
        names = Names("staging", is_clustered=clustered, partition=partition, partitions=8)
        assert {slot_of(name) for name in [*texts(names), names.key("k"), names.client("c")]} == {
            slot_of(f"{{{tag(partition, 8)}}}")
        }


def test_no_name_belongs_to_two_partitions():
    """No partition shares a name with one of a store with another number of partitions."""
    found = [
        text
        for count in COUNTS
        for partition in range(count)
        for text in {*texts(Names(partition=partition, partitions=count))}
        if " " not in text
    ]
    assert len(found) == len(set(found))


def test_each_partition_of_a_cluster_has_its_own_slot():
    """Each endpoint looks for the owner of its own slot, and says its partition."""
    found = Endpoint.parse("redis+cluster://a:1,b:2", partitions=8).partitions()
    assert [str(one) for one in found[:2]] == [
        "redis+cluster://a:1,b:2, partition 0",
        "redis+cluster://a:1,b:2, partition 1",
    ]
    assert {one.address for one in found} == {"redis+cluster://a:1,b:2"}
    assert [one.cluster._slot for one in found] == [slot_of(one.names.meta) for one in found]
    assert found[3].undivided().names.meta == "authz:{0}:meta"
    assert found[3].undivided().cluster._slot == slot_of("{0}")


EIGHT = Names(partition=3, partitions=8)
OURS = meta.entries(PEPPERS, names=EIGHT)


def test_the_meta_of_our_partition():
    """The meta names the number and the partition; with one partition it names none."""
    assert meta.verify(OURS, PEPPERS, EIGHT) == PEPPERS
    assert OURS["partitions"] == "8"
    assert OURS["partition"] == "3"
    assert "partitions" not in meta.entries(PEPPERS)


@pytest.mark.parametrize(
    ("found", "names", "problem"),
    [
        (OURS, DEFAULT, "number of partitions is 8, redis.partitions is 1"),
        (OURS, Names(partition=3, partitions=48), "partitions is 8, redis.partitions is 48"),
        (meta.entries(PEPPERS), EIGHT, "number of partitions is 1, redis.partitions is 8"),
        (OURS | {"partitions": "\x1b[2J"}, EIGHT, "partitions is unknown, redis.partitions is 8"),
        (OURS | {"partitions": "8" * 99}, EIGHT, "partitions is unknown, redis.partitions is 8"),
        (OURS, Names(partition=4, partitions=8), "is that of partition 3, not of 4"),
        (OURS | {"partition": "x"}, EIGHT, "is that of partition unknown, not of 3"),
    ],
)
def test_another_partition_is_refused(found, names, problem):
    """The refusal is one line with both numbers."""
    with pytest.raises(Foreign, match=problem) as refusal:
        meta.verify(found, PEPPERS, names)
    assert str(refusal.value).isprintable()
