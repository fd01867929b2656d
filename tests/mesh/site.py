"""Our part behind a gateway under test: store, sidecar, receiver of usage, backend and keys."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from tests.mesh.receiver import Receiver, receiving
from tests.support.real import Valkey, free_port
from tests.support.serving import Serving, prepared

# A busy machine may stand still for seconds; the timeout of the meshes' Checks stays as shipped.
PATIENT: Final = {"trust_lease": "4s"}
ORIGIN: Final = "https://shop.example.com"
HOST: Final = "api.example.com"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer through the gateway: 200 of the backend has its document in `body`."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    def __str__(self) -> str:
        code = self.body.get("code")
        return f"{self.status} {code}" if code else str(self.status)

    @property
    def arrived(self) -> dict[str, str]:
        """Return the headers that the backend received; empty if the request was refused."""
        return dict(self.body.get("headers", {}))


@dataclass(slots=True)
class Site:
    """Our part, and the gateway in front of it once it runs."""

    directory: Path
    valkey: Valkey
    sidecar: Serving
    usage: Receiver
    backend: int  # its port
    keys: dict[str, str]
    kids: dict[str, str]
    gateway: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)

    def ask(self, *headers: tuple[str, str], path: str = "/", method: str = "GET") -> Answer:
        """Send one request through the gateway. Raises OSError without an answer."""
        connection = HTTPConnection("127.0.0.1", self.gateway, timeout=20)
        try:
            named = dict(headers)
            connection.putrequest(method, path, skip_host="host" in named)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            got = connection.getresponse()
            text = got.read()
        finally:
            connection.close()
        body = json.loads(text) if text.startswith(b"{") else {}
        return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, body)

    def key(self, name: str = "good") -> tuple[str, str]:
        """Return the header with one of the keys."""
        return ("x-api-key", self.keys[name])

    def dump(self) -> dict[str, Any]:
        """Return /config_dump of the gateway's Envoy."""
        connection = HTTPConnection("127.0.0.1", self.admin, timeout=20)
        connection.request("GET", "/config_dump")
        return json.loads(connection.getresponse().read())


WANTED: Final[dict[str, dict[str, Any]]] = {
    "good": {},
    "bound to the host": {"allowed_hosts": (HOST,)},
    "bound to the origin": {"allowed_origins": (ORIGIN,)},
    "bound to the address": {"allowed_cidrs": (ip_network("127.0.0.0/8"),)},
    "bound to another address": {"allowed_cidrs": (ip_network("203.0.113.0/24"),)},
}


@contextmanager
def running(directory: Path) -> Iterator[Site]:
    """Run store, sidecar, receiver and backend. Their sockets are in `directory`."""
    with ExitStack() as opened:
        valkey = opened.enter_context(Valkey())
        listen = f"unix:{directory}/check.sock"
        sidecar = Serving(directory, valkey, {"check": {"listen": listen}, "cache": PATIENT})
        issued = {name: asyncio.run(issue(sidecar.file, wanted)) for name, wanted in WANTED.items()}
        opened.enter_context(sidecar)
        sidecar.wait_until_ready()
        children = opened.enter_context(ChildProcesses())
        port = free_port()
        children.spawn("backend", [sys.executable, "-m", "authz.cli.echo", str(port)])
        usage = opened.enter_context(receiving(f"{directory}/meter.sock"))
        keys = {name: one.key_text for name, one in issued.items()}
        kids = {name: one.record.kid for name, one in issued.items()}
        yield Site(directory, valkey, sidecar, usage, port, keys, kids)


async def issue(file: Path, wanted: dict[str, Any]) -> Any:
    """Issue one key with these fields."""
    (one,) = await prepared(file, **wanted)
    return one


@contextmanager
def envoy(site: Site, bootstrap: dict[str, Any]) -> Iterator[Path]:
    """Run Envoy with this configuration. Yield the file of its output."""
    file = site.directory / "bootstrap.json"
    file.write_text(json.dumps(bootstrap))
    with ChildProcesses() as children:
        command = [str(binaries.envoy()), "--config-path", str(file), "--disable-hot-restart"]
        command += ["--concurrency", "1", "--file-flush-interval-msec", "200"]
        children.spawn("envoy", command)
        yield children.log("envoy")
