"""Entries and commits of made-up keys, for the benchmarks of usage."""

import random
import string
import time

from authz.core.usage.commit import Commit, KeyUsage, Sight
from tests.support.metering import batch

BATCH = 150  # entries of 32 KiB
FOLDED = 30  # minutes, whose rows are long enough to be folded
ROW_BYTES = 11  # of a minute
LETTERS = string.ascii_letters + string.digits
ROUTES = ("/v1/models/{model}:generate", "/v1/files/{file}", "search", "batch")


def kid_of(number: int) -> str:
    """Return the kid of a key. Its last character decides at how many bytes the key is folded."""
    return f"{number:015d}{LETTERS[number % len(LETTERS)]}"


def owners_of(number: int) -> str:
    """Return the owners of a key, as an entry has them."""
    return f"client-{number % 1000} search acme pro live"


def entry(number: int, kid: int, ended: int, rnd: random.Random) -> bytes:
    """Return an entry as Envoy writes it."""
    milliseconds = rnd.randrange(200)
    return (
        f"3 00112233445566ff{number:012x} {kid_of(kid)} s1 ok {ROUTES[kid % 4]} {owners_of(kid)}"
        f" 1 DownstreamEnd 200 - - {milliseconds} {rnd.randrange(5000)}"
        f" {rnd.randrange(50_000)} 203.0.{kid % 200}.{rnd.randrange(1, 5)} {ended - milliseconds} 1"
        " via_upstream POST models python-requests/2.32"
    ).encode()


def batches(entries: int, keys: int, seed: int = 1) -> list[bytes]:
    """Return messages of Envoy with so many entries of so many keys, which end now."""
    rnd, now = random.Random(seed), time.time_ns() // 1_000_000
    lines = [entry(n + 1, rnd.randrange(keys), now, rnd) for n in range(entries)]
    return [batch(*lines[at : at + BATCH]) for at in range(0, entries, BATCH)]


def history(numbers: range, ends: int, rnd: random.Random, *, is_open: bool) -> Commit:
    """Return a commit of the minutes before `ends`: FOLDED ones, or as many as may be open."""
    commit = Commit()
    for each in numbers:
        kid = kid_of(each)
        minutes = rnd.randrange((200 + ord(kid[-1])) // ROW_BYTES) if is_open else FOLDED
        usage = commit.keys[kid] = KeyUsage()
        usage.about, usage.about_minute = owners_of(each), ends - FOLDED
        usage.latest = Sight((ends - 1) * 60, f"203.0.{each % 200}.0/24", "python-requests")
        usage.secrets["s1"] = (usage.latest, 6 * minutes)
        for minute in range(ends - minutes, ends):
            row = [6, rnd.randrange(30_000), rnd.randrange(300_000), rnd.randrange(1200)]
            usage.rows[minute, ROUTES[each % 4]] = row
    return commit
