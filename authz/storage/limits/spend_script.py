"""The interface of lua/spend.lua: its arguments, its reply, and its stored leases."""

import math
import re
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from authz.core.limits.amounts import Amounts, Cost, units_of
from authz.core.limits.charge import Charge, Lease, SpendReply, SpendRequest
from authz.core.limits.charge_once import RetryName
from authz.core.limits.counters import BudgetCounter, BurstCounter, PeriodCounter, WindowCounter
from authz.core.limits.key_limits import LimitGroup, Owner
from authz.core.limits.reserved import charged_once_text, parse_reserved, reserved_text, taken_from
from authz.storage import schema
from authz.storage.linked_script import StoreFunction
from authz.storage.scripts import script

SPEND: Final = script("spend")
SPEND_FUNCTION: Final = StoreFunction("spend", SPEND)
KINDS: Final = {
    WindowCounter: 1,
    PeriodCounter: 2,
    BudgetCounter: 2,
    BurstCounter: 3,
}  # first byte of each counter
MAX_HOLDER: Final = 100  # bytes of a holder's name
# For so long after the last retry the meter can settle a request: usage may be two hours late.
SETTLED_WITHIN_MS: Final = 3 * 3_600_000

_COUNTER: Final = Struct(">BBQIQQ")
_LEASE: Final = Struct(">7s5sHIB")  # granted at (us), requests, life (ms), cost, length of name
_HOLDER: Final = Struct(">HIB")
_UNPRINTABLE: Final = re.compile(rb"[^!-~]")
# The holder; tokens, micro-dollars, and bytes if they are not 1.
_AMOUNTS: Final = re.compile(r"(.*);([0-9]{1,10});([0-9]{1,10})(?:;b([0-9]{1,10}))?", re.ASCII)


def arguments(
    charge: Charge,
    ask: SpendRequest,
    holder: bytes = b"",
    names: schema.Names = schema.DEFAULT,
) -> tuple[str | bytes, ...]:
    """Return the arguments after the script's hash or the function's name.

    holder: see `holder_name`. The holder is left out unless `ask` wants a lease or returns units.
    """
    wanted, lease, back, granted_at, once = ask
    has_lease = lease > 0 or back > 0
    keys, counters = _encoded(charge, names, has_lease=has_lease)
    if once is not None:
        keys, counters = _with_memory(keys, counters, charge, once, names)
    lease_end = _holder(charge, holder) if has_lease else b""
    return (*keys, str(wanted), str(back), str(granted_at), str(lease), lease_end, *counters)


def spend_reply(charge: Charge, reply: list[Any], once: RetryName | None = None) -> SpendReply:
    """Return the decoded reply: one remaining amount and one wait for each counter of the charge.

    The script omits the waits if no request has to wait: then they are 0. It omits both if it
    counted nothing: then both are empty. once: as the request said.
    """
    granted, now, *rows = reply
    attempt, reserved = 1, None
    if once is not None and rows:
        attempt, text, *rows = rows
        reserved = _reserved(text, once)
    count = len(charge.counters) if rows else 0
    waits = tuple(rows[count:]) or (0,) * count
    return SpendReply(granted, now, tuple(rows[:count]), waits, attempt > 1, reserved)


def _reserved(text: bytes | str, once: RetryName) -> str:
    """Return the text for the usage record. Empty if it is not valid: the estimate then stays."""
    found = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    reserved = charged_once_text(found, once.id)
    try:
        parse_reserved(reserved)
    except ValueError:
        return ""
    return reserved


def holder_name(instance: str) -> bytes:
    """Return a sidecar's name for the script: printable ASCII, at most MAX_HOLDER bytes.

    Every other character, also a space, becomes `?`.
    """
    return _UNPRINTABLE.sub(b"?", instance.encode("ascii", "replace"))[:MAX_HOLDER]


def leases(stored: bytes, now: int) -> list[Lease]:
    """Return the leases that are valid at `now` (ms since the epoch).

    stored: the hash field's bytes, may be empty. Entries that have ended, are garbled or are cut
    off at the end are left out.
    """
    found, at = [], 0
    while at + _LEASE.size < len(stored):
        granted_at, requests, life, cost, length = _LEASE.unpack_from(stored, at)
        at += _LEASE.size + length
        name = stored[at - length : at]
        until = int.from_bytes(granted_at) // 1000 + life
        if now < until <= now + life and len(name) == length and not _UNPRINTABLE.search(name):
            holder, amounts = _unpacked(name.decode("ascii"), cost)
            found.append(Lease(holder, int.from_bytes(requests), amounts, until))
    return found


def _unpacked(name: str, units: int) -> tuple[str, Cost]:
    """Return the holder's name and the cost of each request from the name in a stored lease."""
    match = _AMOUNTS.fullmatch(name)
    if match is None:
        return name, units
    return match[1], Amounts(units, *(int(number or 1) for number in match.groups()[1:]))


@lru_cache(maxsize=10_000)
def _encoded(
    charge: Charge, names: schema.Names, *, has_lease: bool
) -> tuple[tuple[str, ...], tuple[str | bytes, ...]]:
    """Return the number of hashes (as text) with their names, and the arguments of their counters.

    Cached, because charges repeat. No request of them is charged once.
    """
    keys = [hash_of(group, names) for group, _ in charge.groups]
    starts, words = "0", list[str | bytes]()
    for number, (group, _) in enumerate(charge.groups, 1):
        if group.former_id:
            starts = str(number)
            keys.append(_hash(group.owner, group.former_id, names))
    words += (starts, "0")
    for _, counters in charge.groups:
        packed = (_COUNTER.pack(KINDS[type(c)], *c[1:]) for c in counters)
        words += (b"".join(packed), *(c.field for c in counters))
        if has_lease:
            words.append(schema.LEASES)
    return (str(len(keys)), *keys), tuple(words)


def _with_memory(
    keys: tuple[str, ...],
    counters: tuple[str | bytes, ...],
    charge: Charge,
    once: RetryName,
    names: schema.Names,
) -> tuple[tuple[str, ...], tuple[str | bytes, ...]]:
    """Return the same for a request that is charged once."""
    keys = (str(len(keys)), *keys[1:], names.once(once.id))
    kept = once.within_ms + (SETTLED_WITHIN_MS if charge.reserved else 0)
    texts = [
        reserved_text([taken_from(group, counter)]) if isinstance(counter, BudgetCounter) else ""
        for group, of_group in charge.groups
        for counter in of_group
    ]
    return keys, (counters[0], str(once.within_ms), *counters[2:], str(kept), *texts)


@lru_cache(maxsize=10_000)
def _holder(charge: Charge, name: bytes) -> bytes:
    cost = charge.cost
    if isinstance(cost, Amounts):  # only shown to people, so earlier versions show it as a name
        name += b";%d;%d" % (cost.tokens, cost.usd or 0)
        name += b";b%d" % cost.bytes_out if cost.bytes_out != 1 else b""
    life = math.ceil(charge.lease_seconds * 1000)
    return _HOLDER.pack(life, units_of(cost), len(name)) + name


def hash_of(group: LimitGroup, names: schema.Names = schema.DEFAULT) -> str:
    """Return the name of the hash with the counters of a key, project or tenant."""
    return _hash(group.owner, group.counter_id, names)


def _hash(owner: Owner, counter_id: str, names: schema.Names) -> str:
    return names.limit(counter_id if owner is Owner.KEY else f"{owner}:{counter_id}")
