"""`authz usage anomalies`: the keys whose use is unusual."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click

from authz.cli.administration import with_usage
from authz.cli.columns import columns
from authz.cli.counted import counted
from authz.cli.invocation import Invocation, common
from authz.cli.options import path_such_as
from authz.cli.times import ago_ms
from authz.cli.usage_top import limited
from authz.core.errors import BadInput
from authz.core.times import rfc3339
from authz.core.usage.anomalies.features import Feature, Gap, Reason
from authz.core.usage.anomalies.ports import UnusualKeys
from authz.core.usage.anomalies.ranking import Ranked, ranking
from authz.core.usage.anomalies.replay import Replay
from authz.core.usage.question import HOUR_MS
from authz.process.clock import SystemClock
from authz.wiring.session import UsageSession

MAX_LINE: Final = 1 << 20  # characters
_SHARES: Final = frozenset({Feature.DENIED, Feature.ERRORS})
_CAUSES: Final = {
    Gap.HISTORY: "too little history",
    Gap.MANY: "many callers",
    Gap.PRIVATE: "private addresses only",
    Gap.NO_FACTS: "no addresses",
}


@click.command()
@click.option(
    "--since",
    metavar="TIME",
    help="RFC 3339 or age, at most 35d. Default: a day before the last judged hour.",
)
@click.option(
    "--limit",
    metavar="N",
    default="50",
    callback=limited,
    show_default=True,
    help="Keys, at most 500.",
)
@click.option(
    "--replay",
    metavar="FILE",
    callback=path_such_as("usage.jsonl"),
    help="Judge the hours of this file instead. `-` is stdin. No store is needed.",
)
@common
@click.pass_obj
def anomalies(invocation: Invocation, *, since: str | None, limit: int, replay: str | None) -> None:
    """Show the keys whose use is unusual, those with most reasons first.

    `authz admin` compares each closed hour of a key with the earlier hours of the same key: the
    requests with the usual ones at that time of the day and week, the networks and user agents with
    those of the week before, and the shares of denied and failed requests. RISK is high if several
    are unusual. A reason is a hint, not a proof.

    The last lines say what was not judged, and why. --replay judges a file that `authz usage export
    --format jsonl` wrote. Export the units ok, client_error, server_error, denied and aborted.

    \b
    Examples:
      authz usage anomalies
      authz usage anomalies --since 7d --limit 500 --json
      authz usage anomalies --replay usage.jsonl
    """
    if replay is not None:
        if since is not None:
            raise BadInput("--since", "does not go with --replay, which judges the whole file")
        _answer_replay(invocation, replay, limit)
        return
    now = SystemClock().wall_ms()
    begin = None if since is None else ago_ms("--since", since, now)

    async def work(session: UsageSession) -> UnusualKeys:
        return await session.reports.unusual(begin, limit)

    try:
        found = with_usage(invocation, work)
    except BadInput as cause:
        if cause.field in {"since", "since_time"}:
            raise BadInput("--since", cause.problem) from None
        raise
    document = {"keys": [_row(*one) for one in found.keys], "key_count": found.count}
    lines = _table(found.keys, found.count)
    if found.judged is not None:
        judged = found.judged
        document["judged"] = {
            "hour": rfc3339(judged.hour * HOUR_MS),
            "keys": judged.keys,
            "anomalies": judged.anomalies,
            "not_judged": _gaps(judged.gaps),
        }
        at = f"latest hour {rfc3339(judged.hour * HOUR_MS)}"
        lines += ["", f"{at}: {counted(judged.keys, 'key')} judged, {judged.anomalies} unusual"]
        lines += _not_judged(judged.gaps, "keys")
    invocation.answer(document, "\n".join(lines))


def _answer_replay(invocation: Invocation, file: str, limit: int) -> None:
    replay = Replay()
    with _opened(file) as source:
        for number, line in enumerate(_bounded(source), 1):
            if line.strip():
                replay.add(number, line)
    done = replay.judged()
    ranked = ranking(done.anomalies)
    keys = [(one, None) for one in ranked[:limit]]
    document = {
        "keys": [_row(*one) for one in keys],
        "key_count": len(ranked),
        "replay": {"keys": done.keys, "hours": done.hours, "not_judged": _gaps(done.gaps)},
    }
    lines = _table(keys, len(ranked))
    lines += ["", f"{counted(done.hours, 'hour')} of {counted(done.keys, 'key')} judged"]
    lines += _not_judged(done.gaps, "hours")
    invocation.answer(document, "\n".join(lines))


@contextmanager
def _opened(file: str) -> Iterator[IO[str]]:
    """Open a file, or stdin for `-`. Raises BadInput if it cannot be read as UTF-8."""
    try:
        if file == "-":
            if sys.stdin is None:
                raise BadInput("--replay", "stdin is closed")
            yield sys.stdin
            return
        with Path(file).open(encoding="utf-8") as lines:
            yield lines
    except OSError as cause:
        raise BadInput("--replay", f"{file}: {cause.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput("--replay", f"{file}: not UTF-8") from None


def _bounded(lines: IO[str]) -> Iterator[str]:
    """Yield lines. Raises BadInput for one of more than MAX_LINE characters."""
    while line := lines.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise BadInput("--replay", f"a line has more than {MAX_LINE} characters")
        yield line


def _row(one: Ranked, client: str | None) -> dict[str, Any]:
    return {
        "kid": one.kid,
        "client_id": client,
        "risk": one.risk,
        "score": round(one.score, 3),
        "first_hour": rfc3339(one.first * HOUR_MS),
        "last_hour": rfc3339(one.last * HOUR_MS),
        "reasons": [
            {
                "feature": reason.feature,
                "observed": reason.observed,
                "expected": reason.expected,
                "strength": round(reason.strength, 3),
            }
            for reason in one.reasons.values()
        ],
    }


def _table(keys: Sequence[tuple[Ranked, str | None]], count: int) -> list[str]:
    if not keys:
        return ["no key is unusual"]
    rows = [
        (
            *(one.kid, client or "-", one.risk.value, f"{one.score:.1f}"),
            *(rfc3339(one.last * HOUR_MS)[:16], "; ".join(map(_reason, one.reasons.values()))),
        )
        for one, client in keys
    ]
    lines = columns([("KID", "CLIENT", "RISK", "SCORE", "LAST HOUR", "REASONS"), *rows])
    more = [f"and {count - len(keys)} more keys; see --limit"] if count > len(keys) else []
    return [lines, *more]


def _reason(reason: Reason) -> str:
    if reason.feature in _SHARES:
        numbers = f"{reason.observed:.0%} (usual {reason.expected:.0%})"
    else:
        numbers = f"{reason.observed:g} (usual {reason.expected:.3g})"
    return f"{reason.feature} {numbers}"


def _gaps(gaps: Mapping[tuple[Feature, Gap], int]) -> list[dict[str, Any]]:
    return [
        {"feature": feature, "cause": cause, "number": number}
        for (feature, cause), number in sorted(gaps.items())
    ]


def _not_judged(gaps: Mapping[tuple[Feature, Gap], int], unit: str) -> list[str]:
    return [
        f"not judged: {feature} of {number} {unit}: {_CAUSES[cause]}"
        for (feature, cause), number in sorted(gaps.items())
    ]
