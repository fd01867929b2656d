"""Claims of imported keys: two imports at the same moment put a key into one partition alone.

An alias is unique within its partition. So whoever imports a key first claims its digests for its
home, in the partition of each digest. A claim ends by itself, so an import that was killed blocks
nobody for long.
"""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

CLAIM_SECONDS: Final = 120
"""A claim ends by itself after this time."""
WRITE_SECONDS: Final = 60.0
"""An import writes a key at most this long after its claims, so no claim ends before that."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A digest of an imported key, and the partition that is about to have the key."""

    digest: bytes = field(repr=False)
    home: int

    def place(self, count: int) -> int:
        """Return the partition in which this claim is made, of `count`."""
        return binascii.crc_hqx(self.digest, 0) % count


class ClaimStore(Protocol):
    """Holds claims, in one partition."""

    async def claim(self, claims: Sequence[Claim], seconds: int) -> list[int]:
        """Make each claim for so many seconds, unless another home has it.

        Return the home that has each digest, in order. Raises Unavailable if the store fails.
        """
        ...

    async def give_up(self, claims: Sequence[Claim]) -> None:
        """End those claims that are of their home. MUST NOT end one of another home.

        Raises Unavailable if the store fails.
        """
        ...
