"""Settings: read once, strict, validated. Flags win over environment, environment over the file.

Nothing but app.py sees this: parts get their own values. Durations are seconds in here and
`50ms`, `30s`, `90d` outside. A relative path is relative to the settings file that names it, or to
the current directory when a flag or a variable does. A setting without a value keeps its default.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from authz import sources
from authz.core import fields
from authz.core.address import Address
from authz.core.errors import BadInput
from authz.core.keys import PREFIX_PATTERN
from authz.sources import Location, Source

NOT_YET_ENFORCED: Final = ("limits", "plans", "routes", "routes_default", "telemetry")

_T = TypeVar("_T")


def _read_by(parse: Callable[[str], object]) -> BeforeValidator:
    """A validator that reads a value from text, and says of bad text what `parse` says."""

    def validate(value: object) -> object:
        if not isinstance(value, str | int | float | Path | Address):
            raise ValueError("not one value; put it in quotes")  # noqa: TRY004  pydantic's way
        try:
            return parse(str(value))
        except BadInput as cause:
            raise ValueError(cause.problem) from None

    return BeforeValidator(validate)


def _seconds(least: str, most: str) -> BeforeValidator:
    low, high = fields.duration_ms("", least), fields.duration_ms("", most)

    def parse(text: str) -> float:
        amount = fields.duration_ms("", text)
        if not low <= amount <= high:
            raise BadInput("", f"{fields.shown(text)}: a duration from {least} to {most}")
        return amount / 1000

    return _read_by(parse)


def _shape(pattern: str, good: str) -> BeforeValidator:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise BadInput("", f"{fields.shown(text)}: {good}")
        return text

    return _read_by(parse)


def _path(text: str) -> Path:
    try:
        if text and text.isprintable():
            return Path(text).expanduser()
    except RuntimeError:  # the home of nobody
        pass
    raise BadInput("", f"{fields.shown(text)} is not a path, such as /etc/authz/pepper-1")


def _carrier(text: str) -> str:
    match = re.fullmatch(r"([a-z][a-z0-9-]{0,63})(?:: ?([a-z][a-z0-9-]{0,31}))?", text.lower())
    if match is None or not text.isascii():
        raise BadInput("", f"{fields.shown(text)}: `header` or `header: Scheme`, such as x-api-key")
    return f"{match[1]}:{match[2] or ''}"


def _distinct(entries: tuple[_T, ...]) -> tuple[_T, ...]:
    names = [getattr(entry, "version", entry) for entry in entries]
    if len(set(names)) < len(names):  # a carrier named twice would make every key ambiguous
        raise ValueError("two of them are the same")
    return entries


def _mode(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        # YAML reads 0660 as the number 432, so a number is not what the person wrote.
        raise ValueError("a file mode is digits in quotes, such as '0660'")
    return int(value, 8)


Listen = Annotated[Address, _read_by(lambda text: Address.parse("", text))]
File = Annotated[Path, _read_by(_path)]
Carrier = Annotated[str, _read_by(_carrier)]
Mode = Annotated[int, BeforeValidator(_mode)]
Line = Annotated[str, _read_by(lambda text: fields.line("", text))]
StoreUrl = Annotated[str, _shape(r"(rediss?|unix)://\S+", "such as redis://127.0.0.1:6379/0")]
PepperVersion = Annotated[str, _shape("[0-9A-Za-z]", "one of 0-9 A-Z a-z, such as 1")]
Prefix = Annotated[str, _shape(PREFIX_PATTERN.pattern, "2 to 12 of a-z 0-9, such as ak")]
HeaderName = Annotated[str, _shape("[a-z][a-z0-9-]{0,63}", "lower case, such as x-auth-")]
Several = Annotated[tuple[_T, ...], Field(min_length=1), AfterValidator(_distinct)]
Parameter = Annotated[str, _shape("[A-Za-z0-9._-]{0,64}", "a query parameter, such as api_key")]


class Section(BaseModel):
    """A part of the settings. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        known = cls.model_fields
        return {name: v for name, v in given.items() if v is not None or name not in known}


class Tls(Section):
    """TLS of the Check listener."""

    cert: File
    key: File
    client_ca: File | None = None


class Check(Section):
    """The listener that the proxy asks."""

    listen: Listen = Address("127.0.0.1", 9191)
    transport: Literal["grpcio"] = "grpcio"
    deadline: Annotated[float, _seconds("1ms", "10s")] = 0.05
    socket_mode: Mode = 0o660
    tls: Tls | None = None
    allow_plaintext: bool = False
    env: Literal["live", "test"] | None = None
    recycle_at_mib: int = Field(0, ge=0)


class Ops(Section):
    """The operations listener: health and readiness over HTTP."""

    listen: Listen = Address("127.0.0.1", 9192)


class RedisTls(Section):
    """TLS towards the store, for a `rediss://` URL. Each file is read at every connect."""

    ca: File | None = None
    cert: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _pair(self) -> "RedisTls":
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together")
        return self


class RedisSentinel(Section):
    """Who knows which server is the primary."""

    hosts: Several[Listen]
    service: Annotated[str, _shape(r"[A-Za-z0-9._-]{1,128}", "a name such as mymaster")]


class Redis(Section):
    """The store."""

    url: StoreUrl = "redis://127.0.0.1:6379/0"
    username: Line = ""
    password_file: File | None = None
    tls: RedisTls | None = None
    sentinel: RedisSentinel | None = None


class PepperFile(Section):
    """One server secret."""

    version: PepperVersion = "1"
    file: File


class Keys(Section):
    """How keys are made and recognised."""

    prefix: Prefix = "ak"
    peppers: tuple[PepperFile, ...] = Field(
        (PepperFile(file=Path("authz-pepper-1")),), min_length=1
    )


class Cache(Section):
    """What the sidecar remembers of the store, and for how long."""

    ttl: Annotated[float, _seconds("1s", "1d")] = 60.0
    negative_ttl: Annotated[float, _seconds("100ms", "1h")] = 5.0
    max_entries: int = Field(100_000, ge=100, le=10_000_000)
    max_negatives: int = Field(10_000, ge=100, le=1_000_000)
    trust_lease: Annotated[float, _seconds("100ms", "60s")] = 1.0
    snapshot: File | None = None


class Outage(Section):
    """How long keys go on while the store is out of reach, when they say nothing of their own."""

    grace: Annotated[float, _seconds("0", "1d")] = 30.0


class Identity(Section):
    """The headers that tell the backend who calls."""

    header_prefix: HeaderName = "x-auth-"


class Extract(Section):
    """Where in a request the key and the client's address are."""

    headers: Several[Carrier] = ("x-api-key:", "authorization:bearer")
    query: Parameter = ""
    client_address: Literal["peer", "x-envoy-external-address"] = "peer"


class Log(Section):
    """Logs, on stderr."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], _read_by(str.upper)] = "INFO"


class Settings(Section):
    """All settings. Read with `load`."""

    check: Check = Check()
    ops: Ops = Ops()
    redis: Redis = Redis()
    keys: Keys = Keys()
    cache: Cache = Cache()
    outage: Outage = Outage()
    identity: Identity = Identity()
    extract: Extract = Extract()
    log: Log = Log()


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read the settings. Raises BadInput, which names the setting, why, and where it came from."""
    layers = [sources.command_line(flags or {}), sources.environment(environ)]
    if file:
        layers.append(sources.file(file))
    tree = reduce(sources.merged, (source.tree for source in layers))
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as cause:
        raise _explained(cause, layers) from None
    return _anchored(settings, layers)


# What pydantic says in terms of Python, in terms of settings: by the first word of its error type.
_MESSAGES: Final = {
    "bool": "true or false",
    "int": "a whole number, such as 100000",
    "missing": "is needed here",
    "model": "a section: names and values",
    "string": "text, one line",
    "too": "a list of at least one",
    "tuple": 'a list; in the environment as JSON, such as ["x-api-key"]',
}


def _explained(cause: ValidationError, layers: list[Source]) -> BadInput:
    first = cause.errors(include_url=False, include_context=False)[0]
    location = first["loc"]
    problem = first["msg"].removeprefix("Value error, ").replace("Input should be", "has to be")
    if first["type"] == "extra_forbidden":
        problem = f"no such setting; there are {', '.join(_section(location).model_fields)}"
        if location[0] in NOT_YET_ENFORCED:
            problem = "not yet enforced by this version"
    name = ".".join(map(str, location))
    shown = name if re.fullmatch(r"[\w.]{1,80}", name, re.ASCII) else fields.shown(name)
    problem = _MESSAGES.get(first["type"].partition("_")[0], problem)
    return BadInput(shown, f"{problem} ({sources.origin(layers, location).name(location)})")


def _section(location: Location) -> type[Section]:
    """The section that a setting at `location` would be in."""
    section: type[Section] = Settings
    for step in location[:-1]:
        if isinstance(step, str):
            kind = section.model_fields[step].annotation
            section = next(filter(_is_section, (kind, *get_args(kind))))
    return section


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _anchored(settings: Settings, layers: list[Source]) -> Settings:
    """Make relative paths absolute, each from where it was written."""

    def base(at: Location) -> Path:
        return next((source for source in layers if source.holds(at)), layers[-1]).base

    def anchored(part: Any, at: Location) -> Any:
        if isinstance(part, Path):
            return base(at) / part
        if isinstance(part, Address) and part.path:
            return replace(part, path=str(base(at) / part.path))
        if isinstance(part, tuple):
            return tuple(anchored(item, (*at, index)) for index, item in enumerate(part))
        if isinstance(part, Section):
            names = type(part).model_fields
            return part.model_copy(
                update={name: anchored(getattr(part, name), (*at, name)) for name in names}
            )
        return part

    return cast("Settings", anchored(settings, ()))
