"""The interface of lua/commit_usage.lua: its arguments and its reply."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from authz.core.budgets.learned import Distribution
from authz.core.usage.commit import KEPT_DENIALS, Commit, KeyUsage
from authz.core.usage.counts import LARGEST, MINUTES_PER_DAY, month_of
from authz.storage import schema
from authz.storage.limits.spend_script import hash_of
from authz.storage.linked_script import StoreFunction
from authz.storage.scripts import script

COMMIT: Final = script("rankings", "commit_usage")
COMMIT_FUNCTION: Final = StoreFunction("commit_usage", COMMIT)
CALLERS: Final = "s"
HOURS_PER_DAY: Final = 24
COUNTED, KNOWN, LATE, FOREIGN, CLOSED = range(5)


def arguments(
    names: schema.Names,
    commit: Commit,
    digests: Sequence[bytes],
    kept: Mapping[str, int],
    arrived_ms: int,
) -> tuple[str | bytes, ...]:
    """Return the arguments after the script's hash or the function's name.

    kept: seconds for which rows are kept by the value of their Level, and callers by CALLERS.
    arrived_ms: the arrival of the oldest batch, in
    ms since the epoch by the store's clock.
    """
    return (
        *("1", names.usage, names.meta, str(arrived_ms), json.dumps(dict(kept))),
        encoded(commit, names),
        *digests,
    )


def encoded(commit: Commit, names: schema.Names) -> str:
    """Return the commit as JSON: lists in the order that the script unpacks.

    A route is its position in `routes`, from 1 on; 0: none.
    """
    routes = sorted(_routes(commit))
    number = {"": 0} | {route: at for at, route in enumerate(routes, 1)}
    content = {
        "until_ms": commit.until_ms,
        "routes": routes,
        "keys": [_key(kid, usage, number) for kid, usage in commit.keys.items()],
        "totals": [
            [minute, month_of(minute), number[route], code, _bounded(row)]
            for (minute, route, code), row in commit.totals.items()
        ],
        "denials": _denials(commit.denials),
        "processes": [
            [
                process,
                commit.highest.get(process, 0),
                commit.repeated.get(process, 0),
                sorted(commit.seen.get(process, {}).items()),
            ]
            for process in dict.fromkeys([*commit.seen, *commit.repeated])
        ],
        "sums": {
            "entries": commit.entries,
            "misdated": commit.misdated,
            "repeated": sum(commit.repeated.values()),
        },
        "models": [
            [kid, day, model, _bounded(row)] for (kid, day, model), row in commit.models.items()
        ],
        "settlements": [
            [hash_of(budget.group, names), budget.counter, budget.ends_ms, used, taken]
            for budget, (used, taken) in commit.settlements.items()
        ],
        "once": [
            [
                names.once(name),
                at + 1,
                *(hash_of(budget.group, names), budget.counter, budget.ends_ms),
                *settlement,
            ]
            for (name, at), budget, settlement in commit.once
        ],
        "learned": [
            [f"{route} {model}", _distribution(of.units), _distribution(of.usd)]
            for (route, model), of in commit.learned.items()
        ],
    }
    return json.dumps(content, separators=(",", ":"))


def _distribution(found: Distribution) -> list[Any]:
    return [min(found.total, LARGEST), sorted(found.steps.items())]


def _routes(commit: Commit) -> set[str]:
    found = {route for _, route, _ in commit.totals}
    for usage in commit.keys.values():
        found.update(route for _, route in usage.rows)
    return found - {""}


def _key(kid: str, usage: KeyUsage, number: Mapping[str, int]) -> list[Any]:
    latest = usage.latest
    is_of_secret = any(sight is latest for sight, _ in usage.secrets.values())
    return [
        kid,
        usage.about,
        usage.about_minute,
        latest.at if latest else 0,
        [latest.at, latest.network, latest.agent] if latest and not is_of_secret else 0,
        [
            [secret, sight.at, sight.network, sight.agent, requests]
            for secret, (sight, requests) in usage.secrets.items()
        ],
        [
            [minute, month_of(minute), number[route], _bounded(row)]
            for (minute, route), row in usage.rows.items()
        ],
        _denials(usage.denials),
        [[day, sorted(networks)] for day, networks in _by_day(usage.networks).items()],
        sorted(usage.latest_denials, reverse=True)[:KEPT_DENIALS],
        [
            [hour, sorted(networks), sorted(usage.agents.get(hour, ()))]
            for hour, networks in usage.networks.items()
        ],
    ]


def _by_day(hours: Mapping[int, set[str]]) -> dict[int, set[str]]:
    days: dict[int, set[str]] = {}
    for hour, names in hours.items():
        if names:
            days.setdefault(hour // HOURS_PER_DAY, set()).update(names)
    return days


def _denials(denials: Mapping[tuple[int, str], int]) -> list[list[Any]]:
    """Add up the denials of each day and reason. Return lists of day, reason and number.

    denials: counts by minute and reason. Minutes and days are counted since the epoch.
    """
    days: dict[tuple[int, str], int] = {}
    for (minute, reason), count in denials.items():
        case = (minute // MINUTES_PER_DAY, reason)
        days[case] = days.get(case, 0) + count
    return [[*case, count] for case, count in days.items()]


def _bounded(row: list[int]) -> list[int]:
    return row if max(row) <= LARGEST else [min(number, LARGEST) for number in row]
