"""A complete local installation: Valkey, sidecar, Envoy, echo backend and one demo key."""

import asyncio
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.error import URLError

import yaml

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from authz.core.changes import KeySpec
from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.flows.lifecycle import Changed
from authz.settings import model
from authz.wiring import administration

LIFE_MS = 90 * 86_400_000
DEMO_CLIENT = "demo"

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

    @classmethod
    def free(cls) -> "Ports":
        """Return ports that are free now."""
        with _listeners(6) as found:
            return cls(*found)

    def refuse_taken(self) -> None:
        """Raise BadInput for the first port that is in use."""
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
    """The running installation, as `--json` prints it. `key` is the only copy of the demo key."""

    envoy: str
    check: str
    ops: str
    redis: str
    backend: str
    key: str
    kid: str
    config: str
    pids: dict[str, int]


@contextmanager
def running(ports: Ports) -> Iterator[tuple[Stack, ChildProcesses]]:
    """Run the installation until the block ends. Raises BadInput, NotFound, Unavailable."""
    ports.refuse_taken()
    with ChildProcesses() as children:
        file = _write_settings(children.directory, ports)
        settings = model.load(file)
        envoy_file = children.directory / "envoy.yaml"
        envoy_file.write_text(envoy_config(ports, settings.check.listen))
        _spawn(children, ports, file, envoy_file)
        children.wait("store", lambda: _accepts(ports.redis))
        issued = asyncio.run(_prepare(settings))
        stack = Stack(
            envoy=f"http://127.0.0.1:{ports.envoy}",
            check=str(settings.check.listen),
            ops=f"http://{settings.ops.listen}",
            redis=settings.redis.url,
            backend=f"http://127.0.0.1:{ports.backend}",
            key=issued.key_text or "",
            kid=issued.record.kid,
            config=str(file),
            pids=children.pids,
        )
        children.wait("backend", lambda: _accepts(ports.backend))
        children.wait("sidecar", lambda: _answers(f"{stack.ops}/readyz"))
        children.wait("envoy", lambda: _answers(f"http://127.0.0.1:{ports.envoy_admin}/ready"))
        yield stack, children


def envoy_config(ports: Ports, check: Address) -> str:
    """Return the shipped `envoy.yaml` with these addresses."""
    shipped = files("authz") / "envoy.yaml"
    if not shipped.is_file():  # in a source tree it is at the top
        shipped = Path(__file__).parents[2] / "envoy.yaml"
    config = yaml.safe_load(shipped.read_text())
    _listen(config["admin"], ports.envoy_admin)
    resources = config["static_resources"]
    _listen(resources["listeners"][0], ports.envoy)
    for cluster in resources["clusters"]:
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        if cluster["name"] == "backend":
            _listen(endpoint, ports.backend)
        elif check.path:
            endpoint["address"] = {"pipe": {"path": check.path}}
        else:
            _listen(endpoint, check.port)
    return yaml.safe_dump(config, sort_keys=False)


def _listen(node: dict[str, Any], port: int) -> None:
    node["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _write_settings(directory: Path, ports: Ports) -> Path:
    pepper = directory / "pepper-1"
    pepper.touch(0o600)
    pepper.write_text(token_hex(32))
    file = directory / "authz.yaml"
    settings = {
        "check": {"listen": f"127.0.0.1:{ports.check}"},
        "ops": {"listen": f"127.0.0.1:{ports.ops}"},
        "shutdown": {"delay": "0"},  # no other sidecar takes over
        "redis": {"url": f"redis://127.0.0.1:{ports.redis}/0"},
        "keys": {"peppers": [{"version": "1", "file": str(pepper)}]},
    }
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return file


def _spawn(children: ChildProcesses, ports: Ports, settings: Path, envoy_file: Path) -> None:
    python: Command = [sys.executable, "-m"]
    store: Command = [binaries.valkey_server(), "--bind", "127.0.0.1", "--port", str(ports.redis)]
    memory_only: Command = ["--save", "", "--appendonly", "no", "--dir", children.directory]
    children.spawn("store", [*store, *memory_only])
    children.spawn("backend", [*python, "authz.cli.echo", str(ports.backend)])
    children.spawn("sidecar", [*python, "authz.cli.main", "--config", settings, "serve"])
    envoy: Command = [binaries.envoy(), "--config-path", envoy_file, "--disable-hot-restart"]
    envoy += ["--file-flush-interval-msec", "100"]
    children.spawn("envoy", [*envoy, "--log-level", "warning", "--concurrency", "2"])


async def _prepare(settings: model.Settings) -> Changed:
    """Initialise the store and issue the demo key."""
    ring = administration.keyring(settings)
    async with administration.store(settings) as store:
        await store.initialise(ring.fingerprints)
    async with administration.administration(settings) as lifecycle:
        spec = KeySpec(client_id=DEMO_CLIENT, name="demo key", env="live", life_ms=LIFE_MS)
        return await lifecycle.issue(spec, lifecycle.author("authz dev"))


def _accepts(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310  our own http URL
            return bool(answer.status == 200)  # noqa: PLR2004  OK
    except (URLError, OSError):
        return False


@contextmanager
def _listeners(count: int) -> Iterator[list[int]]:
    """Yield `count` different free ports, held until the block ends."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        yield [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()
