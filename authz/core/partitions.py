"""Partitions: the parts into which the data of one installation is divided on a cluster.

A store with several partitions is several stores of today, side by side. Each has names of its own:
their hash tag is that of the partition, so all names of a partition lie in one slot.

A key, the pool of its project and that of its tenant lie in one partition, its home. So one script
counts all of its limits in one step. The home follows from the tenant, the project or the client,
and the kid is made so that it leads to the same partition: the kid alone is enough to find a key.
"""

import binascii
from typing import Final

COUNTS: Final = (1, 8, 48)
"""The numbers of partitions that an installation may have. 48 divides over 2, 3, 4, 6, 8, 12, 16
and 24 nodes."""

# The slot of the tag of partition p of P is the middle of the p-th of P equal ranges of slots:
# (2p + 1) * 16384 // 2P. It is the first such text of one to three base62 digits.
_TAGS: Final = {
    1: "0",
    8: "2VY 5j7 QJ 6KV bL 5H3 7F 5Y1",
    48: (
        "0nl 04s 1MU 2Jn Bh og 4ba 5lW 4Qy 6Fc 4x6 4U9 1oO 0ay 0Lv 3KM "
        "Sj 0H6 47k 4mt 5PZ 6Wa 4i4 6dy 0Lh 265 1oQ 2hj 22u Mc 5PD 5NS "
        "47u 6dg 4Z2 435 k9 8Je 0nr oy 5f 0j2 4Qg 4Op 56V 61m 4K0 Bxn"
    ),
}


def tag(partition: int, count: int) -> str:
    """Return the hash tag of a partition, without its braces.

    partition: from 0 to count - 1. count: one of COUNTS. Raises LookupError for others.
    """
    return _TAGS[count].split()[partition]


class Partitions:
    """Chooses the partition of a key. count: how many there are, one of COUNTS."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count

    def of(self, kid: str) -> int:
        """Return the partition of the key with this kid: CRC16 of the kid modulo `count`."""
        return binascii.crc_hqx(kid.encode(), 0) % self.count

    def home(self, client: str, project: str = "", tenant: str = "") -> int:
        """Return the partition of the keys of a tenant; without one of a project, else of a client.

        `of` gives the same for each kid of such a key.
        """
        owner = f"client:{client}"
        if tenant:
            owner = f"tenant:{tenant}"
        elif project:
            owner = f"project:{project}"
        return self.of(owner)
