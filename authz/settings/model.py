"""Settings, strictly validated. Flags win over the environment, the environment over the file.

Only the composition roots read them; each component gets its own values. Durations are seconds
here and `50ms`, `30s`, `90d` in the sources. A relative path is relative to the settings file, or
to the current directory if a flag or a variable gives it. A setting without a value keeps its
default.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from authz.core.errors import BadInput, BadSettings
from authz.core.limits.limit import OnOutage
from authz.core.listen_address import Address
from authz.settings import includes, sections, sources
from authz.settings.abuse import Abuse
from authz.settings.admin import Admin
from authz.settings.anomalies import Anomalies
from authz.settings.events import Events
from authz.settings.identity import Identity
from authz.settings.leaks import Leaks
from authz.settings.meter import Meter
from authz.settings.parsers import AtMost, Between
from authz.settings.prices import Prices
from authz.settings.rotation import Rotation
from authz.settings.routes import MAX_RULES, RouteRule, unusable_rules
from authz.settings.sections import Section
from authz.settings.sources import Source
from authz.settings.store import Redis
from authz.settings.telemetry import Log, Telemetry
from authz.settings.tls import Tls
from authz.settings.tokens import Tokens
from authz.settings.values import (
    Carrier,
    File,
    Id,
    ImportedPrefix,
    LimitSet,
    Listen,
    Mode,
    OutageWord,
    Parameter,
    PepperVersion,
    PoolId,
    Prefix,
    Several,
    distinct,
    seconds,
)


class Check(Section):
    """The listener for Check calls of the proxy."""

    listen: Listen = Address("127.0.0.1", 9191)
    transport: Literal["fast", "grpcio"] = "fast"
    deadline: Annotated[float, seconds("1ms", "10s")] = 0.05
    socket_mode: Mode = 0o660
    tls: Tls | None = None
    allow_plaintext: bool = False
    max_streams: Annotated[int, Between(1, 100_000)] = 1024
    max_header_bytes: Annotated[int, Between(4_096, 1_048_576)] = 16_384
    max_message_bytes: Annotated[int, Between(65_536, 67_108_864)] = 1_048_576
    idle_timeout: Annotated[float, seconds("1s", "1d")] = 600.0
    flood_tolerance: Annotated[float, Between(0.1, 100)] = 1.0
    env: Literal["live", "test"] | None = None
    enforce: bool = True
    recycle_at_mib: Annotated[int, Between(0)] = 0


class Ops(Section):
    """Health, readiness and metrics over HTTP; with `health_listen` also health over gRPC."""

    listen: Listen = Address("127.0.0.1", 9192)
    health_listen: Listen | None = None
    socket_mode: Mode = 0o660


class Shutdown(Section):
    """Shutdown after SIGTERM."""

    delay: Annotated[float, seconds("0", "10m")] = 5.0


class PepperFile(Section):
    """One server secret and its version."""

    version: PepperVersion = "1"
    file: File


class Keys(Section):
    """The form of keys and the peppers."""

    prefix: Prefix = "ak"
    older_prefixes: Annotated[tuple[Prefix, ...], distinct] = ()
    imported_prefixes: Annotated[tuple[ImportedPrefix, ...], distinct] = ()
    public_prefix: Prefix = "pk"
    peppers: Several[PepperFile] = (PepperFile(file=Path("authz-pepper-1")),)
    import_lookups: Annotated[int, Between(1, 1_000_000)] = 200
    imported_index: Annotated[int, Between(0, 50_000_000)] = 1_000_000
    require_seals: bool = False


class Cache(Section):
    """The cache of a sidecar: sizes and lifetimes."""

    ttl: Annotated[float, seconds("1s", "1d")] = 60.0
    negative_ttl: Annotated[float, seconds("100ms", "1h")] = 5.0
    max_entries: Annotated[int, Between(100, 10_000_000)] = 100_000
    max_negatives: Annotated[int, Between(100, 1_000_000)] = 10_000
    trust_lease: Annotated[float, seconds("100ms", "60s")] = 1.0
    snapshot: File | None = None


class Fleet(Section):
    """The sidecars that share the store."""

    sidecars: Annotated[int, Between(0, 10_000)] = 0


class Outage(Section):
    """The grace, in seconds, of keys without a grace of their own during a store outage."""

    grace: Annotated[float, seconds("0", "1d")] = 30.0


class Extract(Section):
    """The carriers of the key, and the source of the client's address."""

    headers: Several[Carrier] = ("x-api-key:", "authorization:bearer")
    query: Parameter = ""
    client_address: Literal["peer", "x-envoy-external-address"] = "peer"


class Pools(Section):
    """Limits that the keys of a project or of a tenant share, by its id.

    `*`: each project or tenant that is not named gets a pool of its own with these limits.
    """

    projects: dict[PoolId, LimitSet] = {}
    tenants: dict[PoolId, LimitSet] = {}


class Limiting(Section):
    """How limits work during a store outage, and whether X-RateLimit headers are sent too."""

    on_outage: OutageWord = OnOutage.LOCAL
    legacy_headers: bool = False


class Settings(Section):
    """All settings. Read with `load`."""

    check: Check = Check()
    ops: Ops = Ops()
    shutdown: Shutdown = Shutdown()
    redis: Redis = Redis()
    keys: Keys = Keys()
    cache: Cache = Cache()
    fleet: Fleet = Fleet()
    outage: Outage = Outage()
    identity: Identity = Identity()
    extract: Extract = Extract()
    plans: dict[Id, LimitSet] = {}
    pools: Pools = Pools()
    limits: Limiting = Limiting()
    prices: Prices = Prices()
    meter: Meter = Meter()
    log: Log = Log()
    admin: Admin = Admin()
    tokens: Tokens = Tokens()
    events: Events = Events()
    abuse: Abuse = Abuse()
    leaks: Leaks = Leaks()
    rotation: Rotation = Rotation()
    anomalies: Anomalies = Anomalies()
    telemetry: Telemetry = Telemetry()
    include: Annotated[tuple[File, ...], AtMost(64), distinct] = ()
    routes: Annotated[tuple[RouteRule, ...], AtMost(MAX_RULES)] = ()
    routes_default: Literal["authenticate", "deny"] = "authenticate"
    routes_case: Literal["sensitive", "insensitive"] = "sensitive"
    routes_suffix: Literal["kept", "dropped"] = "kept"

    _given: ClassVar[Mapping[str, int]] = {}  # an instance that `load` makes has its own

    @property
    def given(self) -> Mapping[str, int]:
        """In how many sources each top-level setting was given, by its name; without nulls."""
        return self._given

    def note_given(self, trees: Iterable[Mapping[str, Any]]) -> None:
        """Set `given` from the trees of all sources that these settings were read from."""
        given = (name for tree in trees for name, value in tree.items() if value is not None)
        vars(self)["_given"] = Counter(given)


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read and merge the settings: flags win over the environment, the environment over the file.

    The files of `include` are joined with `file`. Without `file` and `include`, no file is read.
    Raises BadInput, which names the setting, the problem and the source; with several mistakes it
    is a BadSettings, which has them all.
    """
    joined = includes.join(_layers(file, flags, environ), has_file=file is not None)
    settings = _checked(joined.layers, joined.mistakes)
    settings.note_given(part.tree for part in joined.parts)
    return settings


def included(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> list[Path]:
    """Return the paths of the files that `load` would include, in order; may be empty.

    The files may be missing or invalid. Raises BadInput if `file` cannot be read.
    """
    return includes.included(_layers(file, flags, environ))


def parse_included(field: str, content: bytes, path: Path) -> Settings:
    """Return settings with what `content` has of includes.SECTIONS, and defaults for the rest.

    Members about keys are skipped. Raises BadSettings with all mistakes, or BadInput about `field`
    if it is not YAML. path: for messages.
    """
    from authz.settings import files  # noqa: PLC0415  YAML takes long to import

    mistakes: list[BadInput] = []
    source = includes.checked(files.parse_included(field, content, path), mistakes)
    return _checked([source], mistakes, is_whole=False)


def _layers(
    file: Path | None, flags: Mapping[str, Any] | None, environ: Mapping[str, str]
) -> list[Source]:
    above = [sources.command_line(flags or {}), sources.environment(environ)]
    if not file:
        return above
    from authz.settings import files  # noqa: PLC0415  YAML takes long to import

    return [*above, files.read(file)]


def _checked(
    layers: Sequence[Source], mistakes: Sequence[BadInput], *, is_whole: bool = True
) -> Settings:
    """Return the settings of these layers. Raises BadSettings with `mistakes` and all others.

    is_whole: what routes need from other sections has to be there.
    """
    try:
        settings = sections.read(Settings, layers)
    except BadSettings as cause:
        raise BadSettings([*mistakes, *cause.mistakes]) from None
    ignore_case = settings.routes_case == "insensitive"
    asserts = not is_whole or bool(settings.identity.assertion_issuer)
    unusable = unusable_rules(settings.routes, layers, ignore_case=ignore_case, asserts=asserts)
    if mistakes or unusable:
        raise BadSettings([*mistakes, *unusable])
    return settings
