"""The real servers that tests run against: started on free ports, awaited, always stopped."""

import asyncio
import contextlib
import functools
import inspect
import itertools
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import redis

from authz.cli import binaries
from authz.storage.endpoint import Endpoint

PATIENCE = 30.0  # seconds; how long a server may take to start, or anything else to come true
PAUSE = 0.002  # seconds between two looks at first
LONGEST_PAUSE = 0.02  # seconds: a look may take as much processor time as the awaited work
PORTS = range(20_000, 32_000)  # below those that Linux gives to clients and to port 0
BLOCK = 100  # ports of one process


def free_port() -> int:
    """Return a loopback port that nobody listens on and that is not given out again soon.

    Some time passes before the server binds it, and during a restart. So each test process has its
    own block of ports, outside the kernel's range, and uses them in rotation.
    """
    for port in itertools.islice(_ports(), BLOCK):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do: connections that ended a moment ago do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@functools.cache
def _ports() -> Iterator[int]:
    """Return an endless rotation of this process's ports. An abstract socket name claims the
    block.
    """
    for first in random.SystemRandom().sample(PORTS[::BLOCK], len(PORTS) // BLOCK):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0authz-tests-{first}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)  # until the process ends
        return itertools.cycle(range(first, first + BLOCK))
    raise AssertionError("every block of ports is taken")


_claims: list[socket.socket] = []


async def eventually(
    predicate: Callable[[], Any | Awaitable[Any]], seconds: float = PATIENCE
) -> Any:
    """Return the result of `predicate` soon after it is true. Fails after `seconds`.

    It looks every 2 ms, and later every 20 ms: a state that ends sooner may be missed.
    """
    began = time.monotonic()
    while True:
        found = predicate()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"not true within {seconds} s: {inspect.getsource(predicate)}")
        await asyncio.sleep(min(LONGEST_PAUSE, max(PAUSE, waited / 20)))


class RealClock:
    """A Clock that returns the real time."""

    def wall_ms(self) -> int:
        """Implement Clock.wall_ms."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Implement Clock.monotonic."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class Valkey:
    """A Valkey server without persistence, on a loopback port and a Unix socket.

    `with Valkey() as valkey:` starts it. arguments: further ones of valkey-server. binary: another
    server, such as redis-server. patience: seconds in which it has to start.
    """

    def __init__(self, *arguments: str, binary: str = "", patience: float = PATIENCE) -> None:
        self._patience = patience
        self.directory = Path(tempfile.mkdtemp(prefix="authz-"))  # short: a socket path is limited
        self.socket_path = self.directory / "valkey.sock"
        self.port = free_port()
        self._arguments = arguments
        self._binary = binary or str(binaries.valkey_server())
        self._process: subprocess.Popen[bytes] | None = None
        self.admin = redis.Redis(
            port=self.port, decode_responses=True, encoding_errors="surrogateescape", protocol=3
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()  # it has nothing to keep, and an orderly end takes longer
        self.admin.close()
        shutil.rmtree(self.directory)

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """The value for `redis.url`."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint for the default user."""
        return Endpoint.parse(self.url)

    def login(self, username: str, password: str) -> Endpoint:
        """Return the endpoint for another user."""
        file = self.directory / f"{username}.password"
        file.write_text(password)
        return Endpoint.parse(self.url, username, file)

    def raw(self) -> redis.Redis:
        """Return a client whose replies are bytes."""
        return redis.Redis(port=self.port, protocol=3)

    def start(self) -> None:
        """Start and wait until it answers. Does nothing if it runs."""
        if self._process is not None:
            return
        log = self.directory / "log"
        command = [self._binary, "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--unixsocket", str(self.socket_path), "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, *self._arguments], stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + self._patience
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"valkey-server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(PAUSE)

    def stop(self) -> None:
        """Stop it orderly. Does nothing if it does not run."""
        if self._process is not None:
            self._process.terminate()
            self.resume()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
            self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Make it hang: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)
        while self._process and self._state() != "T":
            time.sleep(PAUSE)

    def resume(self) -> None:
        """Continue after `pause`."""
        self._signal(signal.SIGCONT)

    def restart(self, *, empty: bool = True) -> None:
        """Kill it and start it on the same port: empty, or with the data of the last SAVE."""
        self.kill()
        if empty:
            (self.directory / "dump.rdb").unlink(missing_ok=True)
        self.start()

    def reset(self) -> None:
        """Remove all data, scripts and users except the default one."""
        self.admin.flushall()
        self.admin.script_flush()
        for user in self.admin.acl_users():
            if user != "default":
                self.admin.acl_deluser(user)
        self.admin.execute_command("ACL", "LOG", "RESET")

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _state(self) -> str:
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False
