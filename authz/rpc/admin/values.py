"""Values of messages and their counterparts of the core: times, durations, names, words, JSON."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from authz.core import fields
from authz.core.errors import BadInput
from authz.core.fields import MAX_DURATION_MS, shown

MAX_TIME_S: Final = 253_402_300_799  # the last second of the year 9999
MAX_WAIT_MS: Final = 60_000
KEYS: Final = "keys/"
LIMITS: Final = "/limits"
USAGE: Final = "/usage"
LATEST_USE: Final = "/latestUse"
SINKS: Final = "eventSinks/"
SIGNING_KEYS: Final = "signingKeys/"
_NANOS: Final = 1_000_000_000

_Word = TypeVar("_Word", bound=StrEnum)


def timestamp(ms: int) -> Timestamp:
    """Return a time in milliseconds since the epoch as a message.

    Times before the epoch give the epoch, later ones at most the end of 9999.
    """
    seconds, rest = divmod(max(ms, 0), 1000)
    if seconds > MAX_TIME_S:
        seconds, rest = MAX_TIME_S, 999
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


def rfc3339(ms: int) -> str:
    """Return a time in milliseconds since the epoch as a text such as `2026-12-01T00:00:00Z`."""
    return str(timestamp(ms).ToJsonString())


def time_ms(field: str, given: Timestamp) -> int:
    """Return milliseconds since the epoch, cut off. Raises BadInput outside of 1970 to 9999."""
    if not (0 <= given.seconds <= MAX_TIME_S and 0 <= given.nanos < _NANOS):
        raise BadInput(field, "a time from 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z")
    return int(given.seconds) * 1000 + given.nanos // 1_000_000


def duration(ms: int) -> Duration:
    """Return milliseconds, not negative, as a message."""
    seconds, rest = divmod(ms, 1000)
    return Duration(seconds=seconds, nanos=rest * 1_000_000)


def duration_ms(field: str, given: Duration, most: int = MAX_DURATION_MS) -> int:
    """Return milliseconds, cut off. Raises BadInput below 0 and above `most` (100 years)."""
    ms = int(given.seconds) * 1000 + given.nanos // 1_000_000
    if not (0 <= given.nanos < _NANOS and 0 <= ms <= most):
        raise BadInput(field, f"a duration from 0s to {most // 1000}s")
    return ms


def wait_seconds(given: Duration) -> float:
    """Return `wait_time` in seconds; 0 if it is not set. Raises BadInput below 0 and above 60 s."""
    return duration_ms("wait_time", given, MAX_WAIT_MS) / 1000


def kid_of(field: str, name: str) -> str:
    """Return the kid of a name such as `keys/7Hk2mQ9xT4bVzR1c`.

    Raises BadInput for another text, which is not shown: it may be a whole key.
    """
    if not name.startswith(KEYS):
        raise BadInput(field, "not the name of a key, such as keys/7Hk2mQ9xT4bVzR1c")
    return fields.kid(field, name.removeprefix(KEYS))


def kid_of_part(name: str, part: str) -> str:
    """Return the kid of a name such as `keys/7Hk2mQ9xT4bVzR1c/limits`.

    part: the end of the name, such as LIMITS. Raises BadInput for another text.
    """
    if not name.endswith(part):
        raise BadInput("name", f"not such a name as keys/7Hk2mQ9xT4bVzR1c{part}")
    return kid_of("name", name.removesuffix(part))


def id_of(field: str, name: str, start: str, example: str) -> str:
    """Return the id of a name such as `eventSinks/siem`. start: `eventSinks/`.

    Raises BadInput for a name with another start, without an id, or with a longer path.
    """
    found = name.removeprefix(start)
    if not name.startswith(start) or not found or "/" in found:
        raise BadInput(field, f"{shown(name)}: a name such as {start}{example}")
    return found


def name_of(kid: str) -> str:
    """Return the name of a key: `keys/` and the kid."""
    return f"{KEYS}{kid}"


def version_of(etag: str) -> int | None:
    """Return the version of an etag; None for an empty one. Raises BadInput for another text.

    HTTP puts an etag into quotes (RFC 9110, section 8.8.3); they may stay.
    """
    bare = etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag
    if not etag:
        return None
    if not (bare.isascii() and bare.isdecimal() and len(bare) <= 15):  # noqa: PLR2004
        raise BadInput("etag", f"{shown(etag)}: the etag of a key, such as 12")
    return int(bare)


def note_of(note: str) -> str:
    """Return the note of a change, as it is. It may be empty.

    Raises BadInput unless it is one printable line of at most 256 characters.
    """
    return fields.line("note", note)


def number_of(word: StrEnum | None, prefix: str, numbers: dict[str, int]) -> int:
    """Return the number of the enum value with this prefix and word; 0 for None or unknown."""
    return 0 if word is None else numbers.get(f"{prefix}_{word.value.upper()}", 0)


def word_of(kind: type[_Word], number: int, prefix: str, names: dict[int, str]) -> _Word | None:
    """Return the word of an enum value `PREFIX_WORD`; None for 0. Raises KeyError if unknown.

    names: of the enum values, by number.
    """
    return kind(names[number].removeprefix(f"{prefix}_").lower()) if number else None


def struct_of(members: Mapping[str, Any]) -> Struct:
    """Return JSON members as a message."""
    found = Struct()
    found.update(dict(members))
    return found


def members_of(given: Struct) -> dict[str, Any]:
    """Return the members of a message as JSON values. A whole number is an int.

    Raises ValueError for a number that is not finite.
    """
    return {name: _plain(value) for name, value in MessageToDict(given).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
