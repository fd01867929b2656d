"""Reports of leaked keys, as values: their entries, the policy, and the result of each entry."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from urllib.parse import unquote

from authz.core.keys.text import without_secrets

MAX_ENTRIES: Final = 10_000  # more than fit into a report of GitHub
MAX_TOKEN: Final = 512  # characters
MAX_WHERE: Final = 500  # characters
MAX_PLACE: Final = 8192  # characters of a place before its keys are masked
HOUR_MS: Final = 3_600_000
MAX_ESCAPES: Final = 4  # how often the percent escapes of a place are removed
_HIDDEN: Final = "..."


class Response(StrEnum):
    """The treatment of a leaked key that still works."""

    REVOKE = "revoke"
    DISABLE = "disable"
    ROTATE = "rotate"  # its holder gets a new secret, and the reported one ends soon
    NOTIFY = "notify"


class Done(StrEnum):
    """The outcome for a leaked key."""

    REVOKED = "revoked"
    DISABLED = "disabled"
    ROTATED = "rotated"  # a new secret is on its way to the holder
    NOTED = "noted"  # by the policy, or because the key does not work any more
    HELD = "held"  # too many keys in an hour, no target, or an unreadable record


@dataclass(frozen=True, slots=True)
class Leak:
    """One entry of a report. where: a URL or another place, without secrets; may be empty."""

    token: str = field(repr=False)
    kind: str
    where: str
    source: str

    @property
    def token_hash(self) -> str:
        """The SHA-256 of the token, in hexadecimal digits."""
        return sha256(self.token.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of an entry. is_key: whether it was a key of this installation, working or not.

    A publishable key is none.

    done: None if it was no key.
    """

    leak: Leak
    is_key: bool
    done: Done | None = None


OPEN: Final = "open"
_STATES: Final = frozenset({"", OPEN, *Done})


@dataclass(frozen=True, slots=True)
class ReportProgress:
    """How far a report was carried out. is_over: whether every entry is settled.

    entry_states: for each entry, in order. It is "" if nothing was done, OPEN if the audit trail
    has the key as held and a repetition tries again, or else a Done.
    """

    is_over: bool = False
    entry_states: Sequence[str] = ()

    def of(self, count: int) -> Sequence[str]:
        """Return the states of a report with so many entries; each is "" if there are none."""
        return self.entry_states if len(self.entry_states) == count else [""] * count

    def text(self) -> str:
        """Return the states as text."""
        return json.dumps(list(self.entry_states))

    @classmethod
    def parse(cls, text: str) -> "ReportProgress":
        """Return the progress of a report that is not over. Other text than ours is no progress."""
        try:
            states: Any = json.loads(text)
        except (ValueError, RecursionError):
            return cls()
        is_ours = isinstance(states, list) and all(
            isinstance(state, str) and state in _STATES for state in states
        )
        return cls(entry_states=states) if is_ours else cls()


def parsed(body: bytes) -> list[Leak]:
    """Return the entries of a report, a JSON array.

    An entry is an object with `token` and perhaps `type`, `url` and `source`. Raises ValueError for
    another form, more than MAX_ENTRIES (10,000) entries, or a token of more than MAX_TOKEN (512)
    characters.
    """
    try:
        entries: Any = json.loads(body)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES:
        raise ValueError(f"not an array of 1 to {MAX_ENTRIES} entries")
    return [_leak(entry) for entry in entries]


def labels(findings: list[Finding]) -> bytes:
    """Return the answer to a report, as GitHub wants it: a label for the hash of each token."""
    rows = [
        {
            "token_hash": one.leak.token_hash,
            "token_type": one.leak.kind,
            "label": "true_positive" if one.is_key else "false_positive",
        }
        for one in findings
    ]
    return json.dumps(rows).encode()


def _leak(entry: Any) -> Leak:
    if not isinstance(entry, Mapping):
        raise ValueError("an entry is not an object")  # noqa: TRY004  as for every other form
    token = entry.get("token")
    if not isinstance(token, str) or not 1 <= len(token) <= MAX_TOKEN:
        raise ValueError(f"an entry has no token of 1 to {MAX_TOKEN} characters")
    return Leak(token, _line(entry, "type"), _line(entry, "url"), _line(entry, "source"))


def _line(entry: Mapping[str, Any], name: str) -> str:
    text = entry.get(name)
    if not isinstance(text, str):
        return ""
    text = _masked(text, entry["token"])[:MAX_WHERE]
    return "".join(one if one.isprintable() else "?" for one in text)


def _masked(text: str, token: str) -> str:
    """Return a text without the token and without keys, also where a URL has them in escapes.

    An escape may be escaped again. Of a text with more than MAX_ESCAPES (4) levels nothing is
    returned but "...". The same if it has more than MAX_PLACE (8,192) characters at any level:
    a cut in front of the masking could leave a piece of a key that is not found.
    """
    found = plain = text
    for level in range(MAX_ESCAPES + 1):
        unescaped = unquote(plain) if level else plain
        if level and unescaped == plain:
            return found
        if len(unescaped) > MAX_PLACE:
            return _HIDDEN
        plain = without_secrets(unescaped.replace(token, _HIDDEN))
        if plain != unescaped:
            found = plain
    return found if unquote(plain) == plain else _HIDDEN
