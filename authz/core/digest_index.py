"""DigestIndex: a compact set of the digests of imported keys. It proves that a digest is absent.

It keeps the first 8 bytes of each digest. A digest is an HMAC under the pepper, so it is uniform,
and nobody without the pepper can choose it. An absent digest looks present with a probability of
n / 2**64, which costs one lookup and nothing else.

The prefixes lie in 4096 sorted arrays, by their first 12 bits. With a million digests an array has
244 entries. Adding one moves at most these, so no call takes long. A hash table would have to be
copied when it grows.

The checksum is the sum of the first 6 bytes of each digest as big-endian integers, modulo 2**48. It
does not depend on the order, and a Lua script in the store can keep it up exactly.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

_SHARD_BITS: Final = 12
_SHIFT: Final = 64 - _SHARD_BITS
CHECKSUM_MODULUS: Final = 1 << 48


class DigestIndex:
    """A set of digests, each at least 8 bytes long. `checksum`: see the module."""

    def __init__(self) -> None:
        self._shards = _empty()
        self._count = 0
        self.checksum = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, digest: bytes) -> bool:
        prefix = int.from_bytes(digest[:8])
        shard = self._shards[prefix >> _SHIFT]
        at = bisect_left(shard, prefix)
        return at < len(shard) and shard[at] == prefix

    def add(self, digests: Iterable[bytes]) -> None:
        """Add digests. One that is present changes nothing."""
        for digest in digests:
            prefix = int.from_bytes(digest[:8])
            shard = self._shards[prefix >> _SHIFT]
            at = bisect_left(shard, prefix)
            if at == len(shard) or shard[at] != prefix:
                shard.insert(at, prefix)
                self._count += 1
                self.checksum = (self.checksum + (prefix >> 16)) % CHECKSUM_MODULUS

    def remove(self, digests: Iterable[bytes]) -> None:
        """Remove digests. One that is absent changes nothing."""
        for digest in digests:
            prefix = int.from_bytes(digest[:8])
            shard = self._shards[prefix >> _SHIFT]
            at = bisect_left(shard, prefix)
            if at < len(shard) and shard[at] == prefix:
                del shard[at]
                self._count -= 1
                self.checksum = (self.checksum - (prefix >> 16)) % CHECKSUM_MODULUS

    def clear(self) -> None:
        """Remove all digests."""
        self._shards = _empty()
        self._count = self.checksum = 0


def _empty() -> list["array[int]"]:
    return [array("Q") for _ in range(1 << _SHARD_BITS)]
