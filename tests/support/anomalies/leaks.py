"""Networks of synthetic keys by hour: servers, autoscaled servers and many users, some leaked.

A server moves once in two weeks, an autoscaled one once in three days, and 2 % of many users change
each hour. A leak lasts for 12 hours, in 1 to 20 other networks, with 2 to 50 % of the requests.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

HOURS: Final = 504
LEARNING: Final = 336
LASTS: Final = 12
SERVERS: Final = ("server", "autoscaled")
_MOVES: Final = {"server": 1 / 336, "autoscaled": 1 / 72}


@dataclass(frozen=True, slots=True)
class Key:
    """A key. leak: the first hour of it. hours: requests by network, a number below 2^24."""

    kind: str
    leak: int | None
    hours: Sequence[Mapping[int, int]]


def keys(number: int, seed: int) -> list[Key]:
    """Return synthetic keys. The same seed gives the same keys."""
    draw = Random(seed)
    return [_key(draw) for _ in range(number)]


def network(number: int) -> str:
    """Return a public network of IPv4 for a number below 2^24."""
    return f"{11 + number % 89}.{number >> 8 & 255}.{number >> 16 & 255}.0/24"


def _key(draw: Random) -> Key:
    kind = draw.choice([*SERVERS, "many users"])
    sizes = {"server": (1, 4), "autoscaled": (2, 6), "many users": (100, 2000)}
    pool = [_any(draw) for _ in range(draw.randint(*sizes[kind]))]
    leak = draw.randrange(LEARNING, 480) if draw.random() < 1 / 3 else None
    thief = [_any(draw) for _ in range(draw.choice([1, 1, 3, 20]))]
    share, rate = draw.choice([0.02, 0.1, 0.5]), draw.choice([5, 50, 200])
    hours = []
    for hour in range(HOURS):
        is_server = kind in _MOVES
        moves = int(draw.random() < _MOVES[kind]) if is_server else max(1, len(pool) // 50)
        for _ in range(moves):
            pool[draw.randrange(len(pool))] = _any(draw)
        callers = draw.choices(pool, k=rate)
        if leak is not None and leak <= hour < leak + LASTS:
            callers += draw.choices(thief, k=max(1, int(rate * share)))
        hours.append(Counter(callers))
    return Key(kind, leak, hours)


def _any(draw: Random) -> int:
    return draw.randrange(1 << 24)


@dataclass(frozen=True, slots=True)
class Score:
    """The result of a detector. found, there: leaks by kind. false_alarms: a key and week."""

    found: dict[str, int]
    there: dict[str, int]
    false_alarms: float

    @property
    def recall(self) -> float:
        """The share of the leaks that were found."""
        return sum(self.found.values()) / sum(self.there.values())


def score(sample: Sequence[Key], alarms: Callable[[Key], Sequence[int]]) -> Score:
    """Return the score of a detector, which returns the hours of its alarms.

    Alarms less than a day apart are one. An alarm within 2 hours after a leak finds it.
    """
    kinds = (*SERVERS, "many users")
    found, there, false = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0), 0
    for key in sample:
        leak, last = key.leak, -HOURS
        hours = [hour for hour in alarms(key) if hour >= LEARNING]
        in_leak = [leak is not None and leak <= hour < leak + LASTS + 2 for hour in hours]
        if leak is not None:
            there[key.kind] += 1
            found[key.kind] += any(in_leak)
        for hour, is_right in zip(hours, in_leak, strict=True):
            if not is_right and hour - last > 24:
                last, false = hour, false + 1
    weeks = (HOURS - LEARNING) / 168
    return Score(found, there, false / (len(sample) * weeks))
