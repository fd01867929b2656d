"""Settings: read once, strict, validated. Flags win over environment, environment over the file.

Nothing but app.py sees this: parts get their own values. Durations are seconds in here and
`50ms`, `30s`, `90d` outside. Relative paths in a file are relative to that file.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from authz.core import fields
from authz.core.address import Address
from authz.core.errors import BadInput

ENV_PREFIX: Final = "AUTHZ_"
# The last two are what Kubernetes sets in every pod beside a Service named authz.
NOT_SETTINGS: Final = re.compile(r"AUTHZ_(CONFIG|ACTOR|SERVICE_(HOST|PORT.*)|PORT(_.*)?)")
NOT_YET_ENFORCED: Final = ("limits", "outage", "plans", "routes", "routes_default", "telemetry")


_T = TypeVar("_T")


def _told(parse: Callable[[str], _T]) -> BeforeValidator:
    """A validator that says of bad text what `parse` says."""

    def validate(value: object) -> _T:
        try:
            return parse(str(value))
        except BadInput as cause:
            raise ValueError(cause.problem) from None

    return BeforeValidator(validate)


def _mode(text: str) -> int:
    if len(text) not in {3, 4} or not set(text) <= set("01234567"):
        raise BadInput("", f"{fields.shown(text)} is not a file mode, such as '0660'")
    return int(text, 8)


def _header(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,63}", text):
        raise BadInput("", f"{fields.shown(text)} is not a header name in lower case")
    return text


def _carrier(text: str) -> str:
    name, _, scheme = text.partition(":")
    if scheme and not re.fullmatch(r" ?[A-Za-z][A-Za-z0-9-]{0,31}", scheme):
        raise BadInput("", f"{fields.shown(text)} is not `header` or `header: Scheme`")
    return f"{_header(name.lower())}:{scheme.strip().lower()}"


def _parameter(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise BadInput("", f"{fields.shown(text)} is not a query parameter, such as api_key")
    return text


Listen = Annotated[Address, NoDecode, _told(lambda text: Address.parse("", text))]
Seconds = Annotated[float, _told(lambda text: fields.duration_ms("", text) / 1000)]
Mode = Annotated[int, _told(_mode)]
HeaderName = Annotated[str, _told(_header)]
Carrier = Annotated[str, _told(_carrier)]
Parameter = Annotated[str, _told(_parameter)]


class Section(BaseModel):
    """A part of the settings. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Tls(Section):
    """TLS of the Check listener."""

    cert: Path
    key: Path
    client_ca: Path | None = None


class Check(Section):
    """The listener that the proxy asks."""

    listen: Listen = Address("127.0.0.1", 9191)
    transport: Literal["grpcio"] = "grpcio"
    deadline: Seconds = Field(0.05, ge=0.001, le=10)
    socket_mode: Mode = 0o660
    tls: Tls | None = None
    allow_plaintext: bool = False
    env: Literal["live", "test"] | None = None


class Ops(Section):
    """The operations listener: health and readiness over HTTP."""

    listen: Listen = Address("127.0.0.1", 9192)


class Redis(Section):
    """The store."""

    url: str = "redis://127.0.0.1:6379/0"
    username: str = ""
    password_file: Path | None = None


class PepperFile(Section):
    """One server secret."""

    version: str = "1"
    file: Path


class Keys(Section):
    """How keys are made and recognised."""

    prefix: str = "ak"
    peppers: tuple[PepperFile, ...] = (PepperFile(version="1", file=Path("authz-pepper-1")),)


class Cache(Section):
    """What the sidecar remembers of the store, and for how long."""

    ttl: Seconds = Field(60.0, ge=1, le=86_400)
    negative_ttl: Seconds = Field(5.0, ge=0.1, le=3_600)
    max_entries: int = Field(100_000, ge=100, le=10_000_000)
    max_negatives: int = Field(10_000, ge=100, le=1_000_000)
    trust_lease: Seconds = Field(1.0, ge=0.1, le=60)


class Identity(Section):
    """The headers that tell the backend who calls."""

    header_prefix: HeaderName = "x-auth-"


class Extract(Section):
    """Where in a request the key and the client's address are."""

    headers: tuple[Carrier, ...] = Field(("x-api-key:", "authorization:bearer"), min_length=1)
    query: Parameter = ""
    client_address: Literal["peer", "x-envoy-external-address"] = "peer"


class Log(Section):
    """Logs, on stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Settings(BaseSettings):
    """All settings. Read with `load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    check: Check = Check()
    ops: Ops = Ops()
    redis: Redis = Redis()
    keys: Keys = Keys()
    cache: Cache = Cache()
    identity: Identity = Identity()
    extract: Extract = Extract()
    log: Log = Log()


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read the settings. Raises BadInput, which names the setting, where it came from and why.

    flags: nested like the file, such as {"redis": {"url": …}}.
    """
    found = _read(file) if file else {}
    flags = flags or {}
    _refuse_unknown(found, environ, file)

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            below = InitSettingsSource(settings_cls, init_kwargs=dict(found))
            return (init_settings, env_settings, below)

    try:
        settings = Layered(**flags)
    except SettingsError as cause:
        name = re.search(r'field "(\w+)"', str(cause))
        problem = "a list or an object from the environment is not JSON"
        raise BadInput(name[1] if name else "environment", problem) from None
    except ValidationError as cause:
        raise _explain(cause, flags, environ, file) from None
    return _anchor(settings, file)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is not text"
        raise BadInput("--config", f"{file}: {reason}") from None
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise BadInput("--config", f"{file}{where}: it is not YAML") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadInput("--config", f"{file}: settings are sections, such as `check:`")
    return found


def _refuse_unknown(
    found: Mapping[str, Any], environ: Mapping[str, str], file: Path | None
) -> None:
    """Top-level names. Those inside a section are refused by the section."""
    named = {str(name): f"in {file}" for name in found}
    for name in environ:
        if name.startswith(ENV_PREFIX) and not NOT_SETTINGS.fullmatch(name):
            section = name.removeprefix(ENV_PREFIX).partition("__")[0].lower()
            named.setdefault(section, f"from {name}")
    for section, where in named.items():
        if section in NOT_YET_ENFORCED:
            raise BadInput(section, f"not yet enforced by this version ({where})")
        if section not in Settings.model_fields:
            known = ", ".join(Settings.model_fields)
            raise BadInput(fields.shown(section), f"no such setting ({where}); there are {known}")


def _explain(
    cause: ValidationError,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Path | None,
) -> BadInput:
    first = cause.errors(include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    problem = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        problem = "no such setting"
    variable = ENV_PREFIX + "__".join(str(part).upper() for part in first["loc"])
    if _has(flags, first["loc"]):
        where = "from the command line"
    elif any(given.upper() == variable for given in environ):
        where = f"from {variable}"
    else:
        where = f"in {file}" if file else "from the environment"
    return BadInput(name, f"{problem} ({where})")


def _has(tree: Any, path: tuple[int | str, ...]) -> bool:
    for part in path:
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True


def _anchor(settings: Settings, file: Path | None) -> Settings:
    """Make relative paths relative to the settings file, wherever the process was started."""
    base = file.parent.resolve() if file else Path.cwd()

    def anchored(part: Any) -> Any:
        if isinstance(part, Path):
            return base / part.expanduser()
        if isinstance(part, tuple):
            return tuple(anchored(item) for item in part)
        if isinstance(part, BaseModel):
            return part.model_copy(
                update={name: anchored(getattr(part, name)) for name in type(part).model_fields}
            )
        return part

    anchored_settings: Settings = anchored(settings)
    return anchored_settings
