"""Anomalies: unusual hours, their risk, and the ranking of the keys that have some."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from authz.core.usage.anomalies.features import Feature, Reason

STRONGEST: Final = 10.0  # that counts for the order
TOGETHER: Final = 2  # features of a high risk


class Risk(StrEnum):
    """How unusual a key is."""

    ELEVATED = "elevated"  # one feature
    HIGH = "high"  # two features or more


class Anomaly(NamedTuple):
    """An unusual hour of a key, counted since the epoch. reasons: at least one."""

    kid: str
    hour: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """The anomalies of one key in a span. reasons: by feature the strongest.

    first, last: their hours since the epoch.
    """

    kid: str
    first: int
    last: int
    reasons: Mapping[Feature, Reason]

    @property
    def risk(self) -> Risk:
        """The risk: high if several features are unusual."""
        return Risk.HIGH if len(self.reasons) >= TOGETHER else Risk.ELEVATED

    @property
    def score(self) -> float:
        """The sum of the strengths, each at most 10. 1 is a single feature at its bound."""
        return sum(min(reason.strength, STRONGEST) for reason in self.reasons.values())


def ranking(anomalies: Iterable[Anomaly]) -> list[Ranked]:
    """Return the keys with anomalies: those with most features first, then by their score."""
    found: dict[str, list[Anomaly]] = {}
    for one in anomalies:
        found.setdefault(one.kid, []).append(one)
    keys = [_ranked(kid, several) for kid, several in found.items()]
    return sorted(keys, key=lambda one: (-len(one.reasons), -one.score, one.kid))


def encoded(reasons: Iterable[Reason]) -> str:
    """Return reasons as text that `decoded` reads back; numbers have six digits."""
    rows = [[one.feature, *(float(f"{number:.6g}") for number in one[1:])] for one in reasons]
    return json.dumps(rows, separators=(",", ":"))


def decoded(text: str) -> tuple[Reason, ...]:
    """Return the reasons of a text. Raises ValueError for text that `encoded` did not make."""
    try:
        rows: Any = json.loads(text)
        found = tuple(Reason(Feature(name), *map(_number, rest)) for name, *rest in rows)
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise ValueError("not the reasons of an anomaly") from None
    if not found:
        raise ValueError("an anomaly without reasons")
    return found


def _number(value: Any) -> float:
    number = float(value)
    if not 0 <= number < 2.0**63:
        raise ValueError("out of range")
    return number


def _ranked(kid: str, several: list[Anomaly]) -> Ranked:
    reasons: dict[Feature, Reason] = {}
    for one in several:
        for reason in one.reasons:
            known = reasons.get(reason.feature)
            if known is None or reason.strength > known.strength:
                reasons[reason.feature] = reason
    hours = [one.hour for one in several]
    return Ranked(kid, min(hours), max(hours), reasons)
