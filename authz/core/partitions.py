"""Partitions: the parts into which the data of one installation is divided on a cluster.

A store with several partitions is several stores of today, side by side. Each has names of its own:
their hash tag is that of the partition, so all names of a partition lie in one slot.

A key, the pool of its project and that of its tenant lie in one partition, its home. So one script
counts all of its limits in one step. The home follows from the tenant, the project or the client,
and the kid is made so that it leads to the same partition: the kid alone is enough to find a key.
Kids that were made while the store had one partition lead anywhere: flows/partitioned/places.py.
"""

import binascii
from typing import Final, Protocol

from authz.core.keys import base62

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


MOVES: Final = (
    "this would move the key to another partition of the store, where its kid does not lead; "
    "issue a new key, and revoke this one"
)
_DRAWN: Final = 3  # the last characters of a kid, which are chosen to fit
_TAILS: Final = 62**_DRAWN
_STEP: Final = 145_007  # prime to 62, and no short cycle: each text of _DRAWN digits comes once


class Owned(Protocol):
    """A key, or the fields of one. Project and tenant may be empty."""

    @property
    def client_id(self) -> str:
        """The client."""

    @property
    def project_id(self) -> str:
        """The project."""

    @property
    def tenant_id(self) -> str:
        """The tenant."""


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

        `of` gives the same for each kid of such a key, unless the key is moved.
        """
        owner = f"client:{client}"
        if tenant:
            owner = f"tenant:{tenant}"
        elif project:
            owner = f"project:{project}"
        return self.of(owner)

    def home_of(self, key: Owned) -> int:
        """Return the home of this key."""
        return self.home(key.client_id, key.project_id, key.tenant_id)

    def fitting(self, kid: str, key: Owned) -> str:
        """Return a kid that leads to the home of `key`.

        It differs from `kid` in the last 3 digits at most, and the same kid always gives the same
        one. With one partition it is `kid` itself. It takes `count` tries on average.
        """
        if self.count == 1:
            return kid
        home, start = self.home_of(key), kid[:-_DRAWN]
        state, number = binascii.crc_hqx(start.encode(), 0), base62.decode(kid[-_DRAWN:])
        tails = ((number + at * _STEP) % _TAILS for at in range(_TAILS))
        digits = (base62.encode(tail, _DRAWN) for tail in tails)
        return start + next(
            tail for tail in digits if binascii.crc_hqx(tail.encode(), state) % self.count == home
        )

    def problem_of_move(self, before: Owned, after: Owned) -> str:
        """Return why the key cannot become another owner's, or "" if it can."""
        if self.count == 1 or self.home_of(before) == self.home_of(after):
            return ""
        return MOVES


ONE: Final = Partitions(1)
