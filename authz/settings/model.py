"""Settings, strictly validated. Flags win over the environment, the environment over the file.

Only the composition roots read them; each component gets its own values. Durations are seconds
here and `50ms`, `30s`, `90d` in the sources. A relative path is relative to the settings file, or
to the current directory if a flag or a variable gives it. A setting without a value keeps its
default.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, Field, model_validator

from authz.core.errors import BadInput
from authz.core.limits.limit import OnOutage
from authz.core.listen_address import Address
from authz.core.route_facts import Facts
from authz.core.route_rule import Rule, hidden_rule
from authz.core.routes import MAX_LABEL, MAX_RULES
from authz.settings import sections, sources
from authz.settings.admin import Admin
from authz.settings.sections import Section
from authz.settings.values import (
    Carrier,
    Cost,
    File,
    HeaderName,
    HostPattern,
    HttpUrl,
    Id,
    ImportedPrefix,
    Level,
    LimitSet,
    Line,
    Listen,
    Method,
    Mode,
    Namespace,
    OutageWord,
    Parameter,
    PepperVersion,
    PoolId,
    Prefix,
    Scopes,
    ServiceName,
    Several,
    StoreUrl,
    Template,
    distinct,
    seconds,
)


class Tls(Section):
    """TLS of a listener."""

    cert: File
    key: File
    client_ca: File | None = None


class Check(Section):
    """The listener for Check calls of the proxy."""

    listen: Listen = Address("127.0.0.1", 9191)
    transport: Literal["fast", "grpcio"] = "fast"
    deadline: Annotated[float, seconds("1ms", "10s")] = 0.05
    socket_mode: Mode = 0o660
    tls: Tls | None = None
    allow_plaintext: bool = False
    max_streams: int = Field(1024, ge=1, le=100_000)
    max_header_bytes: int = Field(16_384, ge=4_096, le=1_048_576)
    max_message_bytes: int = Field(1_048_576, ge=65_536, le=67_108_864)
    idle_timeout: Annotated[float, seconds("1s", "1d")] = 600.0
    flood_tolerance: float = Field(1.0, ge=0.1, le=100, allow_inf_nan=False)
    env: Literal["live", "test"] | None = None
    enforce: bool = True
    recycle_at_mib: int = Field(0, ge=0)


class Ops(Section):
    """Health, readiness and metrics over HTTP; with `health_listen` also health over gRPC."""

    listen: Listen = Address("127.0.0.1", 9192)
    health_listen: Listen | None = None
    socket_mode: Mode = 0o660


class Shutdown(Section):
    """Shutdown after SIGTERM."""

    delay: Annotated[float, seconds("0", "10m")] = 5.0


class RedisTls(Section):
    """TLS to the store, for a `rediss://` URL. Each file is read at every connect."""

    ca: File | None = None
    cert: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _pair(self) -> "RedisTls":
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together")
        return self


class RedisSentinel(Section):
    """The Sentinels that know the primary."""

    hosts: Several[Listen]
    service: ServiceName


class Redis(Section):
    """The store."""

    url: StoreUrl = "redis://127.0.0.1:6379/0"
    namespace: Namespace = ""
    username: Line = ""
    password_file: File | None = None
    tls: RedisTls | None = None
    sentinel: RedisSentinel | None = None


class PepperFile(Section):
    """One server secret and its version."""

    version: PepperVersion = "1"
    file: File


class Keys(Section):
    """The form of keys and the peppers."""

    prefix: Prefix = "ak"
    older_prefixes: Annotated[tuple[Prefix, ...], AfterValidator(distinct)] = ()
    imported_prefixes: Annotated[tuple[ImportedPrefix, ...], AfterValidator(distinct)] = ()
    peppers: Several[PepperFile] = (PepperFile(file=Path("authz-pepper-1")),)
    import_lookups: int = Field(200, ge=1, le=1_000_000)


class Cache(Section):
    """The cache of a sidecar: sizes and lifetimes."""

    ttl: Annotated[float, seconds("1s", "1d")] = 60.0
    negative_ttl: Annotated[float, seconds("100ms", "1h")] = 5.0
    max_entries: int = Field(100_000, ge=100, le=10_000_000)
    max_negatives: int = Field(10_000, ge=100, le=1_000_000)
    trust_lease: Annotated[float, seconds("100ms", "60s")] = 1.0
    snapshot: File | None = None


class Outage(Section):
    """The grace, in seconds, of keys without a grace of their own during a store outage."""

    grace: Annotated[float, seconds("0", "1d")] = 30.0


class Identity(Section):
    """The headers that give the identity to the backend."""

    header_prefix: HeaderName = "x-auth-"


class Extract(Section):
    """The carriers of the key, and the source of the client's address."""

    headers: Several[Carrier] = ("x-api-key:", "authorization:bearer")
    query: Parameter = ""
    client_address: Literal["peer", "x-envoy-external-address"] = "peer"


class RouteRule(Section):
    """Requirements of a route. The first matching rule decides. See core/route_rule.py."""

    path: Template
    name: Id = ""
    host: HostPattern = ""
    methods: tuple[Method, ...] = ()
    scopes: Scopes | None = None
    auth: Literal["required", "optional"] | None = None
    env: Literal["live", "test"] | None = None
    cost: Cost | None = None
    enforce: bool | None = None

    @model_validator(mode="after")
    def _agrees(self) -> "RouteRule":
        try:
            self.rule()
        except BadInput as cause:
            raise ValueError(cause.problem) from None
        return self

    def rule(self, *, ignore_case: bool = False) -> Rule:
        """Return the rule. Raises BadInput for a bad value or a variable that the path lacks.

        ignore_case: letters of the path match in either case.
        """
        cost = self.cost
        required = Facts(
            scopes=None if self.scopes is None else frozenset(self.scopes.split()),
            optional=None if self.auth is None else self.auth == "optional",
            env=self.env,
            cost=cost if isinstance(cost, int) else None,
            enforce=self.enforce,
            label=self.name or self.path[:MAX_LABEL],
        )
        return Rule.parse(
            "routes",
            self.path,
            self.host,
            self.methods,
            required,
            cost_variable=cost[1:-1] if isinstance(cost, str) else "",
            ignore_case=ignore_case,
        )


class Pools(Section):
    """Limits that the keys of a project or of a tenant share, by its id.

    `*`: for each project or tenant that is not named.
    """

    projects: dict[PoolId, LimitSet] = {}
    tenants: dict[PoolId, LimitSet] = {}


class Limiting(Section):
    """How limits work during an outage, and whether X-RateLimit headers are sent too."""

    on_outage: OutageWord = OnOutage.LOCAL
    legacy_headers: bool = False


class Retention(Section):
    """How long counts of usage are kept, by the span that they count."""

    minutes: Annotated[float, seconds("10m", "2d")] = 7_200.0
    hours: Annotated[float, seconds("3d", "1000d")] = 35 * 86_400.0
    days: Annotated[float, seconds("30d", "4000d")] = 395 * 86_400.0
    months: Annotated[float, seconds("60d", "10000d")] = 1_830 * 86_400.0


class Meter(Section):
    """The meter: takes Envoy's access logs and counts usage."""

    listen: Listen = Address("127.0.0.1", 9195)
    ops_listen: Listen = Address("127.0.0.1", 9196)
    socket_mode: Mode = 0o660
    tls: Tls | None = None
    token_file: File | None = None
    allow_plaintext: bool = False
    max_message_bytes: int = Field(262_144, ge=65_536, le=4_194_304)
    max_waiting_mib: int = Field(64, ge=1, le=4_096)
    commit_interval: Annotated[float, seconds("10ms", "5s")] = 0.25
    drain: Annotated[float, seconds("0", "5m")] = 10.0
    retention: Retention = Retention()


class Log(Section):
    """Logs, on stderr."""

    level: Level = "INFO"


class Otlp(Section):
    """The receiver of telemetry: OTLP over HTTP, as JSON."""

    endpoint: HttpUrl
    interval: Annotated[float, seconds("1s", "1h")] = 15.0


class Tracing(Section):
    """Spans of Checks. Needs `otlp`."""

    enabled: bool = False
    sample_ratio: float = Field(0.01, ge=0, le=1)
    max_per_second: int = Field(100, ge=1, le=100_000)


class Telemetry(Section):
    """Metrics, traces and denial lines."""

    metrics: bool = True
    denials_per_second: int = Field(1, ge=1, le=100_000)
    otlp: Otlp | None = None
    tracing: Tracing = Tracing()


class Settings(Section):
    """All settings. Read with `load`."""

    check: Check = Check()
    ops: Ops = Ops()
    shutdown: Shutdown = Shutdown()
    redis: Redis = Redis()
    keys: Keys = Keys()
    cache: Cache = Cache()
    outage: Outage = Outage()
    identity: Identity = Identity()
    extract: Extract = Extract()
    plans: dict[Id, LimitSet] = {}
    pools: Pools = Pools()
    limits: Limiting = Limiting()
    meter: Meter = Meter()
    log: Log = Log()
    admin: Admin = Admin()
    telemetry: Telemetry = Telemetry()
    routes: tuple[RouteRule, ...] = Field((), max_length=MAX_RULES)
    routes_default: Literal["authenticate", "deny"] = "authenticate"
    routes_case: Literal["sensitive", "insensitive"] = "sensitive"
    routes_suffix: Literal["kept", "dropped"] = "kept"


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read and merge the settings: flags win over the environment, the environment over the file.

    Without `file`, no file is read. Raises BadInput, which names the setting, the problem and the
    source; with several mistakes it is a BadSettings, which has them all.
    """
    layers = [sources.command_line(flags or {}), sources.environment(environ)]
    if file:
        layers.append(sources.file(file))
    settings = sections.read(Settings, layers)
    _check_routes(settings, layers)
    return settings


def _check_routes(settings: Settings, layers: Sequence[sources.Source]) -> None:
    """Raise BadInput for the first route rule that cannot work.

    An earlier rule takes all its requests, or the rule is invalid if the case of letters is
    ignored.
    """
    ignore_case = settings.routes_case == "insensitive"

    def refuse(at: int, problem: str) -> NoReturn:
        location = ("routes", at)
        origin = sources.origin(layers, location).name(location)
        raise BadInput(f"routes.{at}", f"{problem} ({origin})") from None

    rules = []
    for at, given in enumerate(settings.routes):
        try:
            rules.append(given.rule(ignore_case=ignore_case))
        except BadInput as cause:
            refuse(at, cause.problem)
    if hidden := hidden_rule(rules):
        at, before = hidden
        problem = f"routes.{before} takes all its requests and asks for something else"
        refuse(at, f"{problem}; put the narrower rule first")
