"""Tombstones: what stays of a deleted key, so that no import and no backup brings it back.

A tombstone is a whole number of 64 bits, made from the kid or from the digest of an imported key by
SHA-256. It lies in one of BUCKETS sets. A set of up to 512 whole numbers takes 8 bytes for each
(`set-max-intset-entries` of the server). So a tombstone costs at most 40 bytes from 8,000 to
1,000,000 deleted keys. Two different keys have the same tombstone with a chance of 2**-64.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

BUCKETS: Final = 2048
_MEMBER: Final = re.compile(r"-?[1-9][0-9]{0,18}|0", re.ASCII)  # a whole number of 64 bits, or near


class Tombstone(NamedTuple):
    """The place of a tombstone: the number of its set, and the member."""

    bucket: int
    member: int


def of_kid(kid: str) -> Tombstone:
    """Return the tombstone of a kid."""
    return _place(b"kid:" + kid.encode())


def of_digest(digest: bytes) -> Tombstone:
    """Return the tombstone of the digest of an imported key."""
    return _place(b"digest:" + digest)


def of(kid: str, digests: Sequence[bytes]) -> list[Tombstone]:
    """Return the tombstones of a key: of its kid, then of each digest."""
    return [of_kid(kid), *map(of_digest, digests)]


def of_members(bucket: int, members: Iterable[str]) -> list[Tombstone]:
    """Return the tombstones among the members of a set, sorted. Other members stand for no key."""
    numbers = (int(member) for member in members if _MEMBER.fullmatch(member))
    return [Tombstone(bucket, number) for number in sorted(numbers)]


def _place(name: bytes) -> Tombstone:
    found = sha256(name).digest()
    bucket = int.from_bytes(found[:2]) % BUCKETS
    return Tombstone(bucket, int.from_bytes(found[2:10], signed=True))
