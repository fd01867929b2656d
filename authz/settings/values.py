"""Types of settings: one strict parser per type.

Each parser reads text, so that errors are the same for every source. An error shows the refused
value and a good value.
"""

import re
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from authz.core import fields, partitions
from authz.core.errors import BadInput
from authz.core.keys.text import IMPORTED_PREFIX_PATTERN, KID_PATTERN, PREFIX_PATTERN
from authz.core.limits.limit import Limit, OnOutage, parse_cost, parse_limits, parse_on_outage
from authz.core.listen_address import Address
from authz.core.methods import NAMED_METHOD
from authz.core.web_address import check_url
from authz.settings.parsers import Read, Refused

MAX_PATH: Final = 4096

_T = TypeVar("_T")
_Sized = TypeVar("_Sized", bound=Sized)


def _read_by(parse: Callable[[str], object]) -> Read:
    """Return a reader that parses one value as text. A BadInput of `parse` becomes a ValueError.

    Numbers and paths are turned into text first. A list, a section or null is a ValueError too.
    """

    def validate(value: object) -> object:
        if not isinstance(value, str | int | float | Path | Address):
            raise Refused.whole("not one value; put it in quotes")
        try:
            return parse(str(value))
        except BadInput as cause:
            raise ValueError(cause.problem) from None

    return Read(validate)


def seconds(least: str, most: str) -> Read:
    """Return a reader of durations from `least` to `most`, both included.

    It parses text such as "50ms" or "1d" to seconds as float, and raises ValueError for anything
    else.
    """
    low, high = fields.duration_ms("", least), fields.duration_ms("", most)

    def parse(text: str) -> float:
        amount = fields.duration_ms("", text)
        if not low <= amount <= high:
            raise BadInput("", f"{fields.shown(text)}: a duration from {least} to {most}")
        return amount / 1000

    return _read_by(parse)


def _shape(pattern: str, good: str, *, is_secret: bool = False) -> Read:
    """Return a reader of texts of a pattern. is_secret: a refusal does not show the text."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise BadInput("", good if is_secret else f"{fields.shown(text)}: {good}")
        return text

    return _read_by(parse)


def _path(text: str) -> Path:
    try:
        if 0 < len(text) <= MAX_PATH and text.isprintable():
            return Path(text).expanduser()
    except RuntimeError:  # the home of an unknown user
        pass
    raise BadInput("", f"{fields.shown(text)} is not a path, such as /etc/authz/pepper-1")


def _carrier(text: str) -> str:
    match = re.fullmatch(r"([a-z][a-z0-9-]{0,63})(?:: ?([a-z][a-z0-9-]{0,31}))?", text.lower())
    if match is None or not text.isascii():
        problem = "`header`, `header: Scheme` or `basic:username`, such as x-api-key"
        raise BadInput("", f"{fields.shown(text)}: {problem}")
    return f"{match[1]}:{match[2] or ''}"


def _partitions(text: str) -> int:
    if text not in map(str, partitions.COUNTS):
        raise BadInput("", f"{fields.shown(text)}: has to be 1, 8 or 48")
    return int(text)


def _store_url(text: str) -> str:
    if not re.fullmatch(
        r"(rediss?(\+cluster)?|unix)://[!-~]+", text
    ):  # not shown: it may contain a password
        raise BadInput(
            "", "not a redis://, rediss:// or unix:// URL, such as redis://127.0.0.1:6379/0"
        )
    return text


def filled(value: _Sized) -> _Sized:
    """Return the value. Raises ValueError if it is empty."""
    if not value:
        raise ValueError("text, one line" if isinstance(value, str) else "a list of at least one")
    return value


def distinct(entries: tuple[_T, ...]) -> tuple[_T, ...]:
    """Return the entries. Raises ValueError if two are the same, or have the same `version`."""
    # A repeated carrier would make every key ambiguous.
    if len({getattr(entry, "version", entry) for entry in entries}) < len(entries):
        raise ValueError("two of them are the same")
    return entries


def _template(text: str) -> str:
    from authz.core.templates import Template  # noqa: PLC0415  only routes need it

    Template.parse("", text)
    return text


def _scopes(text: str) -> str:
    from authz.core.templates import VARIABLE  # noqa: PLC0415  only routes need it

    fields.scopes("", VARIABLE.sub("x", text).split())
    return text


def _route_cost(text: str) -> int | str:
    """Parse a cost: return a number, or the name of a variable with its braces as text.

    Raises BadInput for anything else.
    """
    from authz.core.templates import VARIABLE  # noqa: PLC0415  only routes need it

    return text if VARIABLE.fullmatch(text) else parse_cost("", text)


def _pool_id(text: str) -> str:
    from authz.core.limits.key_limits import ANY  # noqa: PLC0415  only pools need it

    return text if text == ANY else fields.identifier("", text)


def _fillable(text: str) -> str:
    from authz.core.delivery import check_template  # noqa: PLC0415  only targets need it

    return check_template(text)


def _fillable_path(text: str) -> str:
    parts = _fillable(text).split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9._{}-]+", one) and one.strip(".") for one in parts):
        raise BadInput("", f"{fields.shown(text)}: a path such as authz/{{client}}/{{kid}}")
    return text


def _limits(value: object) -> object:
    if not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
        raise ValueError("a list of limits, such as [10/s, 1000000/month@15]")
    try:
        return parse_limits("", value)
    except BadInput as cause:
        raise ValueError(cause.problem) from None


def _level(text: str) -> str:
    level = text.upper()
    if level not in (levels := ("DEBUG", "INFO", "WARNING", "ERROR")):
        raise BadInput("", f"has to be {', '.join(map(repr, levels[:-1]))} or {levels[-1]!r}")
    return level


def _mode(value: object) -> int:
    # YAML reads 0660 as the number 432, so a number is not the mode that the user wrote.
    if not (isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value)):
        raise ValueError("a file mode is digits in quotes, such as '0660'")
    return int(value, 8)


def _networks(value: object) -> object:
    if not (isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)):
        raise ValueError("a list of networks, such as [10.1.0.0/16]")
    try:
        return fields.networks("", value)
    except BadInput as cause:
        raise ValueError(cause.problem) from None


Listen = Annotated[Address, _read_by(lambda text: Address.parse("", text))]
File = Annotated[Path, _read_by(_path)]
Carrier = Annotated[str, _read_by(_carrier)]
Mode = Annotated[int, Read(_mode)]
Line = Annotated[str, _read_by(lambda text: fields.line("", text))]
PartitionCount = Annotated[int, _read_by(_partitions)]
StoreUrl = Annotated[str, _read_by(_store_url)]
Fingerprint = Annotated[
    str, _shape("(?:[0-9a-f]{32})?", "32 hexadecimal digits, as `authz init --json` shows them")
]
PepperVersion = Annotated[str, _shape("[0-9A-Za-z]", "one of 0-9 A-Z a-z, such as 1")]
Prefix = Annotated[str, _shape(PREFIX_PATTERN.pattern, "2 to 12 of a-z 0-9, such as ak")]
ImportedPrefix = Annotated[
    str,
    _shape(IMPORTED_PREFIX_PATTERN.pattern, "2 to 32 of A-Z a-z 0-9 _ . ~ + / = -, such as sk-"),
]
Namespace = Annotated[
    str, _shape("([a-z0-9][a-z0-9-]{0,31})?", "1 to 32 of a-z 0-9 -, such as staging")
]
HeaderName = Annotated[str, _shape("[a-z][a-z0-9-]{0,63}", "lower case, such as x-auth-")]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], _read_by(_level)]
Template = Annotated[str, _read_by(_template)]
HostPattern = Annotated[str, _read_by(lambda text: fields.hosts("", [text])[0])]
Method = Annotated[str, _shape(NAMED_METHOD.pattern, "a method in upper case, such as POST")]
Scopes = Annotated[str, _read_by(_scopes)]
Several = Annotated[tuple[_T, ...], filled, distinct]
ServiceName = Annotated[str, _shape("[A-Za-z0-9._-]{1,128}", "a name, such as mymaster")]
Audience = Annotated[
    str, _shape("[!#-\\[\\]-~]{0,256}", "a name or URL without blanks, such as api")
]
_HTTP_URL: Final = r"https?://[A-Za-z0-9._:\[\]-]{1,255}(/[A-Za-z0-9._~/-]{0,255})?"
HttpUrl = Annotated[
    str, _shape(_HTTP_URL, "an http:// or https:// URL, such as http://127.0.0.1:4318")
]


def fetchable(url: str) -> str:
    """Return the URL of another server. Raises ValueError unless it is https or on loopback."""
    try:
        return check_url("", url)
    except BadInput as cause:
        raise ValueError(cause.problem) from None


FetchableUrl = Annotated[HttpUrl, fetchable]
# Whoever knows the address of a webhook can send to it.
WebhookUrl = Annotated[
    str,
    _shape(_HTTP_URL, "an https:// URL, such as https://siem.example.com/in", is_secret=True),
    fetchable,
]
Id = Annotated[str, _read_by(lambda text: fields.identifier("", text))]
KeyId = Annotated[str, _shape(KID_PATTERN.pattern, "the kid of a key: 16 of 0-9 A-Z a-z")]
ClaimName = Annotated[
    str, _shape("[A-Za-z0-9_:/.@-]{1,128}", "the name of a claim, such as groups")
]
CertificateUri = Annotated[
    str,
    _shape(
        "[a-z][a-z0-9+.-]{0,31}:[!-~]{1,150}",
        "a URI, such as spiffe://cluster.local/ns/ops/sa/deployer",
    ),
]
PoolId = Annotated[str, _read_by(_pool_id)]
LimitSet = Annotated[tuple[Limit, ...], Read(_limits)]
OutageWord = Annotated[OnOutage, _read_by(lambda text: parse_on_outage("", text))]
COST: Final = _read_by(_route_cost)  # of a route, unless it is a section
ModelName = Annotated[
    str, _shape("[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}", "a model, such as gpt-4o")
]
PriceLabel = Annotated[str, _shape("[a-z0-9][a-z0-9._-]{0,31}", "a version, such as 2026-11")]
Networks = Annotated[tuple[fields.Network, ...], Read(_networks)]
SinkName = Annotated[str, _shape("[a-z0-9][a-z0-9-]{0,31}", "1 to 32 of a-z 0-9 -, such as siem")]
EventPattern = Annotated[
    str,
    _shape(
        r"[a-z][a-z_.]{0,63}\*?|\*", "a type of event, such as authz.key.revoked or authz.key.*"
    ),
]
FillableName = Annotated[str, _read_by(_fillable)]
FillablePath = Annotated[str, _read_by(_fillable_path)]
Parameter = Annotated[str, _shape("[A-Za-z0-9._-]{0,64}", "a query parameter, such as api_key")]
