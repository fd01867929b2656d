"""The processes that the transports are measured with, all of them on one core.

Real sidecars with a real store and one key in their caches, and constant-answer servers beside
them. This process, which makes the load, has the other core.
"""

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import yaml
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub

from authz.core.fields import networks
from authz.core.listen_address import Address
from authz.core.new_keys import KeySpec
from authz.rpc.services import CHECK_SERVICE
from authz.settings import model
from authz.wiring import administration
from tests.bench import load
from tests.bench.check_hot import client_headers
from tests.support.real import Valkey, eventually, free_port
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import channel

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = {CORES[-1]}, {CORES[0]}
PEER = "127.0.0.1"

GRPC = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"/{CHECK_SERVICE}/Check"),
    (":authority", "check"),
    ("te", "trailers"),
    ("grpc-timeout", "10S"),
    ("content-type", "application/grpc"),
    ("x-envoy-internal", "true"),
    ("x-forwarded-for", "10.0.0.5"),
    ("x-envoy-expected-rq-timeout-ms", "200"),
)
HTTP = (
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/v1/models"),
    (":authority", "api.example.com"),
    ("user-agent", "bench"),
)


@dataclass(frozen=True)
class Server:
    """A process that answers Checks."""

    address: Address
    pid: int

    @property
    def rss(self) -> int:
        """Resident memory, in bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Bench:
    """The servers that are compared, and what is asked of them."""

    def __init__(self, stack: ExitStack) -> None:
        os.sched_setaffinity(0, LOAD_CORE)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="authz-")))
        store = stack.enter_context(Valkey())
        self.file = settings(directory, store)
        self.key = asyncio.run(issue(model.load(self.file)))
        self.sidecars = {
            transport: stack.enter_context(sidecar(self.file, transport))
            for transport in ("fast", "grpcio")
        }
        message = check_request(
            client_headers(self.key),
            method="POST",
            path="/v1/models/gemini-pro:generateContent?alt=json",
            peer=PEER,
            extensions={"scopes": "models:generate"},
        )
        answer = asyncio.run(allow(self.sidecars["fast"].address, message))
        constant = directory / "answer"
        constant.write_bytes(answer)
        self.constants = {
            transport: stack.enter_context(_constant(constant, transport))
            for transport in ("fast", "grpcio")
        }
        self.message = message
        raw = message.SerializeToString()
        body = b"\0" + len(raw).to_bytes(4) + raw
        self.plain, self.traced = (load.Requests(GRPC, body, traced=t) for t in (False, True))
        self.proxied = load.Requests((*HTTP, ("x-api-key", self.key)))

    def all(self) -> dict[str, Server]:
        """Each server by its name."""
        constants = {f"constant {name}": server for name, server in self.constants.items()}
        return self.sidecars | constants


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """By name."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def settings(directory: Path, store: Valkey) -> Path:
    """Write settings for this store. Return the file."""
    pepper = directory / "pepper-1"
    pepper.write_text(token_hex(32))
    pepper.chmod(0o600)
    file = directory / "authz.yaml"
    wanted = {
        "redis": {"url": store.url},
        "keys": {"peppers": [{"version": "1", "file": str(pepper)}]},
        "cache": {"ttl": "1h"},
    }
    file.write_text(yaml.safe_dump(wanted))
    return file


async def issue(settings: model.Settings) -> str:
    """Initialise the store and return a new key."""
    async with administration.store(settings) as keys:
        await keys.initialise(administration.keyring(settings).fingerprints)
    spec = KeySpec(
        client_id="bench",
        env="live",
        life_ms=86_400_000,
        scopes=frozenset({"models:generate", "models:read"}),
        allowed_cidrs=networks("", ["10.0.0.0/8", "127.0.0.0/8"]),
    )
    async with administration.administration(settings) as lifecycle:
        return (await lifecycle.issue(spec, lifecycle.author("bench"))).key_text


async def allow(address: Address, message: CheckRequest) -> bytes:
    """Return the answer to a request. Raise SystemExit if it is no allow."""
    async with channel(address) as connection:
        answer: CheckResponse = await AuthorizationStub(connection).Check(message, timeout=10)
    if not answer.HasField("ok_response"):
        raise SystemExit(f"what is to be measured is no allow: {answer}")
    return answer.SerializeToString()


@contextmanager
def process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process on the servers' core, ended at the end."""
    with subprocess.Popen(
        command,
        preexec_fn=lambda: os.sched_setaffinity(0, SERVER_CORE),  # noqa: PLW1509  no threads yet
        text=True,
        **options,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def sidecar(
    file: Path,
    transport: str,
    ops: int = 0,
    *,
    python: str = sys.executable,
    tree: Path | None = None,
) -> Iterator[Server]:
    """Run a sidecar on the servers' core. ops: its operations port, or 0 for any.

    tree, python: of another checked-out tree.
    """
    check, ops = free_port(), ops or free_port()
    environment = os.environ | {
        "AUTHZ_CHECK__TRANSPORT": transport,
        "AUTHZ_CHECK__LISTEN": f"127.0.0.1:{check}",
        "AUTHZ_OPS__LISTEN": f"127.0.0.1:{ops}",
        "AUTHZ_LOG__LEVEL": "WARNING",
    }
    command = [python, "-m", "authz.cli.main", "--config", str(file), "serve"]
    with process(command, env=environment, cwd=tree) as started:
        asyncio.run(eventually(lambda: _is_ready(f"http://127.0.0.1:{ops}/readyz")))
        yield Server(Address("127.0.0.1", check), started.pid)


def _is_ready(url: str) -> bool:
    with contextlib.suppress(URLError, OSError), urlopen(url, timeout=1) as answer:
        return bool(answer.status == 200)
    return False


@contextmanager
def _constant(answer: Path, transport: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.bench.constant", transport, str(answer)]
    with process(command, stdout=subprocess.PIPE) as started:
        yield Server(Address.parse("", started.stdout.readline().strip()), started.pid)
