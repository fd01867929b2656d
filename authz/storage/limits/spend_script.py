"""The words of lua/spend.lua: how it is asked, what it answers, and who holds leases by it."""

import math
import re
from functools import lru_cache
from importlib.resources import files
from struct import Struct
from typing import Final

from authz.core.limits.charge import Charge, Lease, SpendReply, SpendRequest
from authz.core.limits.counters import BurstCounter, PeriodCounter, WindowCounter
from authz.core.limits.key_limits import LimitGroup, Owner
from authz.storage import schema

SPEND: Final = (files("authz.storage") / "lua" / "spend.lua").read_text()
KINDS: Final = {
    WindowCounter: 1,
    PeriodCounter: 2,
    BurstCounter: 3,
}  # the first byte of each counter
MAX_HOLDER: Final = 100  # bytes of a name

_COUNTER: Final = Struct(">BBQIQQ")
_LEASE: Final = Struct(">7s5sHIB")  # granted at, in us; requests; life in ms; cost; length of name
_HOLDER: Final = Struct(">HIB")
_UNPRINTABLE: Final = re.compile(rb"[^!-~]")


def arguments(charge: Charge, ask: SpendRequest, holder: bytes = b"") -> tuple[str | bytes, ...]:
    """What EVALSHA gets after the script. holder: who asks for the lease; see `holder_name`."""
    wanted, lease, back, granted_at = ask
    holds = lease > 0 or back > 0
    keys, counters = _encoded(charge, holds=holds)
    whose = _holder(charge, holder) if holds else b""
    return (*keys, str(wanted), str(back), str(granted_at), str(lease), whose, *counters)


def receipt(charge: Charge, reply: list[int]) -> SpendReply:
    """What it answered. Of waits it says nothing when there are none."""
    granted, now, *rows = reply
    count = len(charge.counters) if rows else 0
    return SpendReply(granted, now, tuple(rows[:count]), tuple(rows[count:]) or (0,) * count)


def holder_name(instance: str) -> bytes:
    """A sidecar's name as the script gets it: printable ASCII, and not too long."""
    return _UNPRINTABLE.sub(b"?", instance.encode("ascii", "replace"))[:MAX_HOLDER]


def leases(stored: bytes, now: int) -> list[Lease]:
    """What is held at `now`, in ms. What nobody of ours can have written is left out."""
    found, at = [], 0
    while at + _LEASE.size < len(stored):
        granted_at, requests, life, cost, length = _LEASE.unpack_from(stored, at)
        at += _LEASE.size + length
        name = stored[at - length : at]
        until = int.from_bytes(granted_at) // 1000 + life
        if now < until <= now + life and len(name) == length and not _UNPRINTABLE.search(name):
            found.append(Lease(name.decode("ascii"), int.from_bytes(requests), cost, until))
    return found


@lru_cache(maxsize=10_000)
def _encoded(charge: Charge, *, holds: bool) -> tuple[tuple[str, ...], tuple[str | bytes, ...]]:
    """The number of hashes and these, and what is said of the counters of each."""
    keys = [hash_of(account) for account, _ in charge.groups]
    words: list[str | bytes] = []
    for _, counters in charge.groups:
        packed = (_COUNTER.pack(KINDS[type(c)], *c[1:]) for c in counters)
        words += (b"".join(packed), *(c.field for c in counters))
        if holds:
            words.append(schema.LEASES)
    return (str(len(keys)), *keys), tuple(words)


@lru_cache(maxsize=10_000)
def _holder(charge: Charge, name: bytes) -> bytes:
    return _HOLDER.pack(math.ceil(charge.lease_seconds * 1000), charge.cost, len(name)) + name


def hash_of(account: LimitGroup) -> str:
    """Where the counters of an account are."""
    if account.owner is Owner.KEY:
        return schema.limit(account.id)
    return schema.limit(f"{account.owner}:{account.id}")
