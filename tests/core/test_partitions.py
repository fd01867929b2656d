"""Partitions: their tags, and the partition of a key, by the specification of a cluster."""

import binascii
import itertools
import string

import pytest

from authz.core.keys.text import new_kid
from authz.core.partitions import COUNTS, Partitions, tag

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SLOTS = 16384


def texts():
    """Texts of one to three base62 digits, the short ones first."""
    for length in (1, 2, 3):
        yield from map("".join, itertools.product(DIGITS, repeat=length))


@pytest.mark.parametrize("count", [count for count in COUNTS if count > 1])
def test_tags_lie_in_the_middle_of_equal_ranges_of_slots(count):
    """The tag of each partition is the first text whose slot is the middle of its range."""
    first: dict[int, str] = {}
    for text in texts():
        first.setdefault(binascii.crc_hqx(text.encode(), 0) % SLOTS, text)
    middles = [(2 * partition + 1) * SLOTS // (2 * count) for partition in range(count)]
    assert [tag(partition, count) for partition in range(count)] == [first[one] for one in middles]


def test_one_partition_has_the_tag_of_every_version_so_far():
    """With one partition the tag is 0."""
    assert tag(0, 1) == "0"


@pytest.mark.parametrize("count", [count for count in COUNTS if count > 1])
@pytest.mark.parametrize("nodes", [3, 6])
def test_partitions_spread_over_nodes_with_equal_ranges_of_slots(count, nodes):
    """Two nodes with equal shares of the slots differ by one partition at most."""
    share = -(-SLOTS // nodes)
    slots = [binascii.crc_hqx(tag(one, count).encode(), 0) % SLOTS for one in range(count)]
    loads = [sum(slot // share == node for slot in slots) for node in range(nodes)]
    assert max(loads) - min(loads) <= 1


@pytest.mark.parametrize("count", COUNTS)
def test_the_partition_of_a_kid(count):
    """The partition of a kid is its CRC16 modulo the number, and each partition has kids."""
    parts = Partitions(count)
    kids = [new_kid() for _ in range(50 * count)]
    assert {parts.of(kid) for kid in kids} == set(range(count))
    assert parts.of("123456789") == 0x31C3 % count  # the check value of CRC16/XMODEM


@pytest.mark.parametrize(
    ("owner", "text"),
    [
        (("acme",), "client:acme"),
        (("acme", "web"), "project:web"),
        (("acme", "web", "north"), "tenant:north"),
        (("acme", "", "north"), "tenant:north"),
    ],
)
def test_the_home_of_a_key_is_that_of_its_largest_owner(owner, text):
    """Keys of a tenant are together, those of a project, and those of a client."""
    for count in COUNTS:
        assert Partitions(count).home(*owner) == binascii.crc_hqx(text.encode(), 0) % count
