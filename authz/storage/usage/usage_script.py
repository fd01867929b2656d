"""The interface of lua/commit_usage.lua: its arguments and its reply."""

import json
from collections.abc import Mapping, Sequence
from struct import Struct, pack
from typing import Any, Final

from authz.core.budgets.learned import Distribution
from authz.core.usage.commit import KEPT_DENIALS, Commit, KeyUsage, Sight
from authz.core.usage.counts import LARGEST, MINUTES_PER_DAY, month_of
from authz.storage import schema
from authz.storage.limits.spend_script import hash_of
from authz.storage.linked_script import StoreFunction
from authz.storage.scripts import script

COMMIT: Final = script(
    *("rankings", "packed_counts", "hash_counts", "callers", "key_usage", "commit_usage")
)
COMMIT_FUNCTION: Final = StoreFunction("commit_usage", COMMIT)
CALLERS: Final = "s"
SECONDS_PER_HOUR: Final = 3600
# As KEY and COMMITTED of lua/key_usage.lua: the numbers after the texts of a key, and a row.
_KEY: Final = Struct(">IQQBI")
_ROW: Final = Struct(">IHB")
_FRESH, _MORE = 1, 2
COUNTED, KNOWN, LATE, FOREIGN, CLOSED = range(5)


def arguments(
    names: schema.Names,
    commit: Commit,
    digests: Sequence[bytes],
    kept: Mapping[str, int],
    arrived_ms: int,
    *,
    proof: Mapping[str, str] | None = None,
) -> tuple[str | bytes, ...]:
    """Return the arguments after the script's hash or the function's name.

    kept: seconds for which rows are kept by the value of their Level, and callers by CALLERS.
    arrived_ms: the arrival of the oldest batch, in ms since the epoch by the store's clock.
    proof: fields of authz:meta that the store has to have with these values.
    """
    return (
        *("1", names.usage, names.meta, str(arrived_ms), json.dumps(dict(kept))),
        *encoded(commit, names, proof),
        *digests,
    )


def encoded(
    commit: Commit, names: schema.Names, proof: Mapping[str, str] | None = None
) -> tuple[str, bytes]:
    """Return the commit as JSON, lists in the order that the script unpacks, and its keys, packed.

    A route is its position in `routes`, from 1 on; 0: none. proof: as in `arguments`.
    """
    routes = sorted(_routes(commit))
    number = {"": 0} | {route: at for at, route in enumerate(routes, 1)}
    rest = {kid: _more(usage) for kid, usage in commit.keys.items()}
    content = {
        "until_ms": commit.until_ms,
        "store": dict(proof or {}),
        "routes": routes,
        "more": {kid: more for kid, more in rest.items() if more},
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
    keys = [_key(kid, each, number, rest[kid]) for kid, each in commit.keys.items()]
    return json.dumps(content, separators=(",", ":")), b"".join(keys)


def _distribution(found: Distribution) -> list[Any]:
    return [min(found.total, LARGEST), sorted(found.steps.items())]


def _routes(commit: Commit) -> set[str]:
    found = {route for _, route, _ in commit.totals}
    for usage in commit.keys.values():
        found.update(route for _, route in usage.rows)
    return found - {""}


def _key(kid: str, usage: KeyUsage, number: Mapping[str, int], more: list[Any]) -> bytes:
    """Return the usage of a key as `add_keys` of lua/key_usage.lua takes it.

    more: what `_more` returns. Texts end with a NUL, which none of them has: they are words of
    checked lines. Numbers are big-endian.
    """
    secret, sight, requests = _latest(usage)
    rows = b"".join(
        _ROW.pack(minute, number[route], len(row)) + pack(f">{len(row)}q", *_bounded(row))
        for (minute, route), row in usage.rows.items()
    )
    is_fresh = _callers(usage) == [_callers_of(sight)]
    texts = (kid, usage.about, secret, sight.network, sight.agent, "")
    flags = is_fresh * _FRESH + bool(more) * _MORE
    numbers = _KEY.pack(usage.about_minute, sight.at, requests, flags, len(rows))
    return "\0".join(texts).encode() + numbers + rows


def _latest(usage: KeyUsage) -> tuple[str, Sight, int]:
    """Return the secret of the latest use ("" if it is unknown), the use, and its requests."""
    latest = usage.latest or Sight(0, "", "")
    for secret, (sight, requests) in usage.secrets.items():
        if sight is latest:
            return secret, sight, requests
    return "", latest, 0


def _more(usage: KeyUsage) -> list[Any]:
    """Return the facts that most keys do not have in most commits; empty if there are none."""
    latest = _latest(usage)
    uses = [
        [secret, sight.at, sight.network, sight.agent, requests]
        for secret, (sight, requests) in usage.secrets.items()
        if secret != latest[0]
    ]
    callers = _callers(usage)
    if callers == [_callers_of(latest[1])]:
        callers = []
    denials = sorted(usage.latest_denials, reverse=True)[:KEPT_DENIALS]
    found = [_denials(usage.denials), denials, callers, uses]
    return found if any(found) else []


def _callers(usage: KeyUsage) -> list[list[Any]]:
    """Return lists of hour, networks and families of user agents; hours without any are no part."""
    hours = [
        [hour, sorted(networks), sorted(usage.agents.get(hour, ()))]
        for hour, networks in usage.networks.items()
    ]
    return [each for each in hours if each[1] or each[2]]


def _callers_of(sight: Sight) -> list[Any]:
    return [sight.at // SECONDS_PER_HOUR, [sight.network], [sight.agent]]


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
