"""Replay: judge the hours of a file, such as one of `authz usage export --format jsonl`.

A line is a JSON object with `kid` and `hour` (RFC 3339), and either `unit` and `quantity`, as the
export writes them, or any of `requests`, `denied`, `errors`, `networks` and `agents`. The two last
ones are arrays of text. Lines of the same key and hour add up. Routes do not matter.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from json import JSONDecodeError
from typing import Any, Final

from authz.core.errors import BadInput
from authz.core.keys.text import KID_PATTERN
from authz.core.strict_json import STRICT_JSON
from authz.core.usage.anomalies.features import Feature, Gap
from authz.core.usage.anomalies.habits import fresh
from authz.core.usage.anomalies.judging import Hour, callers, judge
from authz.core.usage.anomalies.ranking import Anomaly
from authz.core.usage.anomalies.sightings import Sightings

MAX_HOURS: Final = 5_000_000  # of all keys
MAX_NAMES: Final = 1000  # in one line
MAX_NAME: Final = 64  # characters
MOST: Final = 2**53 - 1
LONGEST: Final = 10 * 366 * 24  # hours of one key, from its first to its last
REQUESTS: Final = ("ok", "client_error", "server_error", "denied", "aborted")
_HOUR: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:00:00Z", re.ASCII)
_ERRORS: Final = ("errors", "client_error", "server_error")


@dataclass(slots=True)
class _Hour:
    numbers: dict[str, int] = field(default_factory=dict)
    networks: set[str] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)

    @property
    def requests(self) -> int:
        found = self.numbers.get("requests")
        return sum(self.numbers.get(name, 0) for name in REQUESTS) if found is None else found


@dataclass(slots=True)
class Replayed:
    """The result. keys, hours: how many were judged. gaps: hours by feature and cause."""

    anomalies: list[Anomaly] = field(default_factory=list)
    keys: int = 0
    hours: int = 0
    gaps: dict[tuple[Feature, Gap], int] = field(default_factory=dict)


class Replay:
    """The hours of a file."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[int, _Hour]] = {}
        self._hours = 0

    def add(self, number: int, line: str) -> None:
        """Add a line. number: its place in the file. Raises BadInput if it is not as above."""
        try:
            self._add(STRICT_JSON.decode(line))
        except JSONDecodeError:
            raise BadInput("--replay", f"line {number}: not a JSON object") from None
        except (ValueError, RecursionError) as cause:
            problem = f"line {number}: {cause or 'not usage'}"
            raise BadInput("--replay", problem) from None

    def judged(self) -> Replayed:
        """Judge every hour of every key from its first to its last one, in order."""
        done = Replayed(keys=len(self._keys))
        for kid, hours in self._keys.items():
            self._judge(kid, hours, done)
        return done

    def _add(self, row: Any) -> None:
        if not isinstance(row, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004  as for every other form
        kid, hour = row.get("kid"), row.get("hour")
        if not (isinstance(kid, str) and KID_PATTERN.fullmatch(kid)):
            raise ValueError("no kid of 16 letters and digits")
        if not (isinstance(hour, str) and _HOUR.fullmatch(hour)):
            raise ValueError("no hour such as 2026-11-29T14:00:00Z")
        number = int(datetime.fromisoformat(hour).timestamp()) // 3600
        if number < 0:
            raise ValueError("an hour before 1970")
        of_key = self._keys.setdefault(kid, {})
        if number not in of_key:
            self._hours += 1
            if self._hours > MAX_HOURS:
                raise ValueError(f"more than {MAX_HOURS} hours of keys")
            of_key[number] = _Hour()
        _fill(of_key[number], row)

    def _judge(self, kid: str, hours: dict[int, _Hour], done: Replayed) -> None:
        first, last = min(hours), max(hours)
        if last - first > LONGEST:
            raise BadInput("--replay", f"the hours of {kid} are more than ten years apart")
        habits, networks, agents = fresh(first), Sightings(), Sightings()
        nothing = _Hour()
        for number in range(first, last + 1):
            found = hours.get(number, nothing)
            networks.see(number, sorted(found.networks))
            agents.see(number, sorted(found.agents))
            hour = Hour(
                max(0, found.requests),
                *_parts(found),
                callers(networks, number, Feature.NETWORKS),
                callers(agents, number, Feature.AGENTS),
            )
            reasons, gaps = judge(habits, number, hour)
            done.hours += 1
            for case in gaps.items():
                done.gaps[case] = done.gaps.get(case, 0) + 1
            if reasons:
                done.anomalies.append(Anomaly(kid, number, tuple(reasons)))


def _parts(found: _Hour) -> tuple[int, int]:
    """Return how many were denied, and how many failed; together at most the requests."""
    requests = max(0, found.requests)
    denied = min(requests, max(0, found.numbers.get("denied", 0)))
    errors = sum(found.numbers.get(name, 0) for name in _ERRORS)
    return denied, min(requests - denied, max(0, errors))


def _fill(hour: _Hour, row: dict[str, Any]) -> None:
    if "unit" in row:
        _count(hour, str(row["unit"]), row.get("quantity"))
        return
    for name in ("requests", *REQUESTS, "errors"):
        if name in row:
            _count(hour, name, row[name])
    for name, names in (("networks", hour.networks), ("agents", hour.agents)):
        given = row.get(name, [])
        if not isinstance(given, list) or len(given) > MAX_NAMES:
            raise ValueError(f"{name} is not an array of at most {MAX_NAMES} texts")
        if not all(isinstance(one, str) and 0 < len(one) <= MAX_NAME for one in given):
            raise ValueError(f"{name} has something else than text of 1 to {MAX_NAME} characters")
        names.update(given)


def _count(hour: _Hour, name: str, number: object) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or not -MOST <= number <= MOST:
        raise ValueError(f"{name} is not an integer")
    hour.numbers[name] = hour.numbers.get(name, 0) + number
