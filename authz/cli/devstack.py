"""A complete local installation: Valkey, sidecar, meter, admin API, Envoy, backend, a demo key."""

import asyncio
import http.client
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from authz.cli import binaries, devconfig
from authz.cli.child_processes import ChildProcesses
from authz.cli.devconfig import (
    Backend,
    llm_sections,
    own_environment,
    refuse_other_listeners,
    repaired,
    taken_sections,
    with_llm,
    write_settings,
)
from authz.cli.doctor import expected_of
from authz.core.access import API_HOST
from authz.core.errors import BadInput, Unavailable
from authz.core.limits.limit import parse_limits
from authz.core.listen_address import Address
from authz.core.new_keys import KeySpec
from authz.core.roles import Role
from authz.flows.by import By
from authz.flows.lifecycle import Changed
from authz.process.own_python import command_of
from authz.settings import model
from authz.wiring import administration
from authz.wiring.login_links import console_address, link_to_console
from authz.wiring.tokens import token_session

LIFE_MS = 90 * 86_400_000
DEMO_CLIENT = "demo"
LLM_MODELS = ("gpt-4o-mini", "o-reason-mini", "claude-haiku", "gemini-flash")
EMBEDDING_MODEL = "text-embedding-3-small"
DEMO_KEY = KeySpec(client_id=DEMO_CLIENT, name="demo key", env="live", life_ms=LIFE_MS)
LLM_KEY = replace(
    DEMO_KEY,
    scopes=frozenset(
        [*(f"models:{name}:generate" for name in LLM_MODELS), f"models:{EMBEDDING_MODEL}:embed"]
    ),
    limits=parse_limits("--limit", ["60/min", "1000/calendar-day,of=tokens"]),
)
OPERATOR_KEY = replace(
    DEMO_KEY,
    client_id="authz-admin",
    name="login of authz dev",
    scopes=frozenset({Role.ADMIN.scope}),
    allowed_hosts=(API_HOST,),
)

Command = list[str | Path]


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback port of each process."""

    envoy: int = 10_000
    envoy_admin: int = 9_901
    check: int = 9_191
    ops: int = 9_192
    redis: int = 6_379
    backend: int = 9_000
    meter: int = 9_195
    meter_ops: int = 9_196
    admin: int = 9_193
    admin_http: int = 9_194

    @classmethod
    def free(cls) -> "Ports":
        """Return ten different free ports. They are not reserved: another may take one."""
        with _listeners(10) as found:
            return cls(*found)

    def refuse_taken(self) -> None:
        """Raise BadInput for the first port in use on loopback; its `field` is the port's name."""
        for name, port in asdict(self).items():
            with closing(socket.socket()) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    raise BadInput(
                        name, f"127.0.0.1:{port} is in use; --ephemeral picks free ports"
                    ) from None


@dataclass(frozen=True, slots=True)
class Stack:
    """The running installation, as `--json` prints it.

    envoy, ops, redis and backend are URLs; check and meter are listen addresses. `key` is the only
    copy of the demo key. config: the path of the settings file. pids: process ids by name. admin:
    the address of the admin API for gRPC; rest: its URL for REST; console: the URL of its pages;
    login: a link that opens them once, as the key login_kid; tokens: the URL of the token endpoint
    behind Envoy. All are empty if it does not run.
    """

    envoy: str
    check: str
    meter: str
    ops: str
    redis: str
    backend: str
    key: str
    kid: str
    config: str
    pids: dict[str, int]
    admin: str = ""
    rest: str = ""
    console: str = ""
    login: str = ""
    login_kid: str = ""
    tokens: str = ""


@contextmanager
def running(
    ports: Ports,
    config: Path | None = None,
    backend: Backend | None = None,
    *,
    with_admin: bool = False,
    llm: bool = False,
) -> Iterator[tuple[Stack, ChildProcesses]]:
    """Run the installation until the block ends; yield it when every process is ready.

    config: a settings file whose routes, plans and limits are used. backend: a running server
    instead of the echo backend. with_admin: run the admin API, too. llm: an LLM gateway with its
    own settings and a stand-in for the LLMs, without `config` and `backend`. Raises BadInput for a
    bad file, a port in use or a listen address of the environment, NotFound without Envoy or
    Valkey, Unavailable if a process cannot be run, ends or is not ready within 20 s, or a file
    cannot be written.
    """
    ports.refuse_taken()
    taken = taken_sections(config)[0] if config else llm_sections() if llm else {}
    environ = own_environment()
    with ChildProcesses(environ) as children:
        addresses = {
            "check": {"listen": ports.check},
            "ops": {"listen": ports.ops},
            "meter": {"listen": ports.meter, "ops_listen": ports.meter_ops},
            "admin": {"listen": ports.admin, "http_listen": ports.admin_http},
        }
        with _written_in(children.directory):
            file = write_settings(
                children.directory, addresses, ports.redis, taken, gateway=ports.envoy
            )
        settings = model.load(file, environ=environ)
        refuse_other_listeners(settings, addresses)
        envoy_file = children.directory / "envoy.yaml"
        proxy = envoy_config(ports, settings.check.listen, backend)
        expected = expected_of(settings)
        if llm:
            proxy = with_llm(proxy, expected)
        elif expected.repeats:
            proxy = repaired(proxy, expected)
        own = None if backend else "authz.cli.llm_backend" if llm else "authz.cli.echo"
        with _written_in(children.directory):
            envoy_file.write_text(proxy)
            _spawn(children, ports, file, envoy_file, own)
            if with_admin:
                python = command_of("authz.cli.main")
                children.spawn("admin", [*python, "--config", str(file), "admin"])
        children.wait("store", lambda: _is_process(ports.redis, children.pids["store"]))
        specs = [LLM_KEY if llm else DEMO_KEY, *([OPERATOR_KEY] if with_admin else [])]
        issued, *operators = asyncio.run(_prepare(settings, specs))
        stack = Stack(
            envoy=f"http://127.0.0.1:{ports.envoy}",
            check=str(settings.check.listen),
            meter=str(settings.meter.listen),
            ops=f"http://{settings.ops.listen}",
            redis=settings.redis.url,
            backend=str(backend or Backend("127.0.0.1", ports.backend)),
            key=issued.key_text or "",
            kid=issued.record.kid,
            config=str(file),
            pids=children.pids,
            admin=str(settings.admin.listen) if with_admin else "",
            rest=f"http://{settings.admin.http_listen}" if with_admin else "",
            console=console_address(settings) if with_admin else "",
            login=link_to_console(settings, operators[0].record) if operators else "",
            login_kid=operators[0].record.kid if operators else "",
            tokens=f"{settings.tokens.issuer}/v1/token" if with_admin else "",
        )
        if backend is None:
            children.wait("backend", lambda: _accepts(ports.backend))
        children.wait("sidecar", lambda: _answers(f"{stack.ops}/readyz"))
        children.wait("meter", lambda: _answers(f"http://{settings.meter.ops_listen}/readyz"))
        children.wait("envoy", lambda: _answers(f"http://127.0.0.1:{ports.envoy_admin}/ready"))
        if with_admin:
            children.wait("admin", lambda: _answers(f"http://127.0.0.1:{ports.admin_http}/readyz"))
        yield stack, children


@contextmanager
def _written_in(directory: Path) -> Iterator[None]:
    """Raise Unavailable for a file that cannot be written."""
    try:
        yield
    except OSError as cause:
        what = cause.filename or directory
        raise Unavailable(f"{what}: {cause.strerror}; $TMPDIR chooses another place") from None


def envoy_config(ports: Ports, check: Address, backend: Backend | None = None) -> str:
    """Return the shipped `envoy.yaml` as YAML text with these addresses.

    backend: None for the echo backend on its port.
    """
    backend = backend or Backend("127.0.0.1", ports.backend)
    places = (ports.envoy, ports.envoy_admin, ports.meter, ports.admin_http)
    return devconfig.envoy_config(*places, check=check, backend=backend)


def _spawn(
    children: ChildProcesses, ports: Ports, settings: Path, envoy_file: Path, backend: str | None
) -> None:
    """Start the processes. backend: the module of our own one, if it is wanted."""
    python = command_of("authz.cli.main")
    store: Command = [binaries.valkey_server(), "--bind", "127.0.0.1", "--port", str(ports.redis)]
    memory_only: Command = ["--save", "", "--appendonly", "no", "--dir", children.directory]
    children.spawn("store", [*store, *memory_only])
    if backend:
        children.spawn("backend", [*command_of(backend), str(ports.backend)])
    children.spawn("sidecar", [*python, "--config", str(settings), "serve"])
    children.spawn("meter", [*python, "--config", str(settings), "meter"])
    envoy: Command = [binaries.envoy(), "--config-path", envoy_file, "--disable-hot-restart"]
    envoy += ["--file-flush-interval-msec", "100"]
    children.spawn("envoy", [*envoy, "--log-level", "warning", "--concurrency", "2"])


async def _prepare(settings: model.Settings, specs: Sequence[KeySpec]) -> list[Changed]:
    """Initialise the store, make a signing key, issue these keys, and return them.

    Raises Unavailable if the store does not answer.
    """
    ring = administration.keyring(settings)
    async with administration.store(settings) as store:
        await store.initialise(ring.fingerprints, ring.prefixes, ring.public_prefix)
    async with token_session(settings) as tokens:
        await tokens.rotation.rotate(By("authz dev").author())
    async with administration.administration(settings) as lifecycle:
        return [await lifecycle.issue(spec, lifecycle.author("authz dev")) for spec in specs]


def _is_process(port: int, pid: int) -> bool:
    """Return whether the store at `port` is process `pid`. False if it does not answer in 1 s."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        try:
            probe.connect(("127.0.0.1", port))
            probe.sendall(b"INFO server\r\n")
            return f"process_id:{pid}\r\n".encode() in probe.recv(65_536)
        except OSError:
            return False


def _accepts(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    """Return whether an http URL of ours answers 200 within 1 s. It is asked without a proxy."""
    parts = urlsplit(url)
    try:
        with closing(http.client.HTTPConnection(parts.netloc, timeout=1)) as connection:
            connection.request("GET", parts.path)
            return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def _listeners(count: int) -> Iterator[list[int]]:
    """Yield `count` different free loopback ports, occupied by listeners until the block ends."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        yield [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()
