"""The report about a leaked key, as Markdown for a post-mortem. It has no secret."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from authz.console.pages.api_client import Answer
from authz.console.pages.formats import counted, moment, number, time_text, word
from authz.flows.rolling_back import LEAKS

STEPS: Final = (
    "Revoke the key, and wait until every sidecar has confirmed.",
    "Issue a new key to the holder, through a channel that the leak does not reach.",
    "Remove the text from the place where it leaked, also from its history and caches.",
    "Read the requests since the leak: networks, routes, programs that the holder does not know.",
    "Look for other keys of the same holder: authz scan --git PATH.",
    "Tell the holder, and those whose data was read, as your rules require.",
)
"""The steps of an operator after a leak, in order."""

HOLDER: Final = (
    "Look whether the holder has the new secret: authz keys show names a pending delivery."
)
"""The second step if a report has rotated the key."""

_BOTH: Final = 2  # secrets of a key that was rotated
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&@:=-])")


def report(
    key: Mapping[str, Any], use: Answer, usage: Answer, history: Answer, now: datetime
) -> str:
    """Return the report. Texts of the record are escaped, so that they stay text in Markdown."""
    return "\n".join(_lines(key, use, usage, history, now)) + "\n"


def _lines(
    key: Mapping[str, Any], use: Answer, usage: Answer, history: Answer, now: datetime
) -> Iterator[str]:
    kid = key["name"].removeprefix("keys/")
    yield f"# Leaked key {kid}"
    yield ""
    yield f"As of {now:%Y-%m-%d %H:%M:%S} UTC."
    yield ""
    yield "## The key"
    yield ""
    for label, value in _facts(key):
        yield f"- {label}: {escaped(value)}"
    yield ""
    yield "## Use"
    yield ""
    yield from _use(use, usage)
    yield ""
    yield "## Changes"
    yield ""
    yield from _changes(history)
    yield ""
    yield "## To do"
    yield ""
    for is_done, step in steps(key, history, now):
        yield f"- [{'x' if is_done else ' '}] {step}"


def steps(key: Mapping[str, Any], history: Answer, now: datetime) -> list[tuple[bool, str]]:
    """Return the steps for this key, each with whether it is known to be done.

    If a report has rotated the key, its earlier secret ends, and nobody has to revoke the key.
    """
    is_revoked = key["status"] == "STATUS_REVOKED"
    reported = None if is_revoked else _reported_secret(key, history)
    if reported is None:
        return [(is_revoked and at == 0, step) for at, step in enumerate(STEPS)]
    end = moment(reported["retireTime"])
    verb = "ended on" if end <= now else "ends by"
    first = (
        f"A report has rotated the key: the reported secret {reported['secretId']} {verb} "
        f"{time_text(reported['retireTime'])} UTC. The key itself need not be revoked."
    )
    return [(end <= now, first), (False, HOLDER), *((False, step) for step in STEPS[2:])]


def _reported_secret(key: Mapping[str, Any], history: Answer) -> Mapping[str, Any] | None:
    """Return the secret that the report of a leak ends; None if no report made the newest one."""
    secrets = key.get("secrets", ())
    if len(secrets) < _BOTH or "retireTime" not in secrets[-2] or not history.is_ok:
        return None
    for entry in history.data.get("entries", ()):
        made = entry.get("detail", {}).get("secret")
        if entry.get("action") == "ACTION_ROTATE" and made == secrets[-1]["secretId"]:
            return secrets[-2] if entry.get("actor", "").startswith(LEAKS) else None
    return None


def _facts(key: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Client", key.get("clientId", "")
    for label, path in (("Name", "displayName"), ("Tenant", "tenantId"), ("Project", "projectId")):
        if key.get(path):
            yield label, key[path]
    yield "Status", word(key["status"], "STATUS")
    if key.get("revokeTime"):
        yield "Revoked", f"{time_text(key['revokeTime'])} UTC"
    yield "Created", f"{time_text(key.get('createTime'))} UTC"
    yield "Scopes", ", ".join(key.get("scopes", ())) or "none"


def _use(use: Answer, usage: Answer) -> Iterator[str]:
    latest = use.data.get("latestUse", {}).get("latest") if use.is_ok else None
    if latest:
        yield (
            f"- Last used {time_text(latest.get('useTime'))} UTC"
            f" from {escaped(latest.get('network') or 'an unknown network')}"
            f" by {escaped(latest.get('userAgent') or 'an unknown program')}"
        )
    else:
        yield "- No use is known." if use.is_ok else "- The last use could not be read."
    if not usage.is_ok:
        yield "- Usage could not be read."
        return
    for row in usage.data["report"].get("rows", ()):
        counts = row.get("counts", {})
        yield (
            f"- {time_text(row['startTime'])[:10]}: {counted(counts.get('requests'), 'request')},"
            f" {number(counts.get('denied'))} denied"
        )


def _changes(history: Answer) -> Iterator[str]:
    if not history.is_ok:
        yield "- The history could not be read."
        return
    for entry in history.data.get("entries", ()):
        note = f": {escaped(entry['note'])}" if entry.get("note") else ""
        action = word(entry.get("action"), "ACTION") or "change"
        yield f"- {time_text(entry['changeTime'])} UTC {action} by {escaped(entry['actor'])}{note}"


def escaped(text: str) -> str:
    """Return a text as Markdown shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
