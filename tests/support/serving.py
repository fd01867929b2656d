"""`authz serve` as a process with a store of its own."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError

import yaml

from authz.core.new_keys import KeySpec
from authz.flows.lifecycle import Changed
from authz.settings import model
from authz.wiring import administration
from tests.support.real import Valkey, free_port

PATIENCE = 60.0  # seconds; how long a process may take to end
LIFE_MS = 3_600_000


class Serving:
    """A sidecar process with settings of its own; `start` may be called again once it has ended.

    with Serving(directory, valkey, {"shutdown": {"delay": "1s"}}) as sidecar: ...

    options: of `authz serve`.
    """

    program: Sequence[str] = ("-m", "authz.cli.main")
    """Arguments of Python that run authz."""

    def __init__(
        self,
        directory: Path,
        valkey: Valkey,
        more: Mapping[str, Mapping[str, Any]] = {},
        options: Sequence[str] = (),
    ) -> None:
        self._options = options
        pepper = directory / "pepper"
        pepper.write_text("p" * 64)
        self.check = f"127.0.0.1:{free_port()}"
        self.file = directory / f"{self.check.replace(':', '-')}.yaml"
        self.log = self.file.with_suffix(".log")
        wanted: dict[str, dict[str, Any]] = {
            "check": {"listen": self.check},
            "ops": {"listen": f"127.0.0.1:{free_port()}"},
            "redis": {"url": valkey.url},
            "keys": {"peppers": [{"file": str(pepper)}]},
            "shutdown": {"delay": "0"},
            "abuse": {"failures_per_minute": 0},  # tests send many wrong keys from one address
        }
        for section, values in more.items():
            wanted[section] = wanted.get(section, {}) | dict(values)
        self.file.write_text(yaml.safe_dump(wanted))
        self.ops = f"http://{wanted['ops']['listen']}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Start the process. Does not wait until it answers."""
        command = [sys.executable, *self.program, "--config", str(self.file), "serve"]
        command += self._options
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, stderr=output)

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    def pid_of(self, number: int) -> int:
        """Return the id of the process of this number, of `--processes`; 0 if it does not run."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        option = f"\0--as-process\0{number}\0"
        for pid in children:
            with suppress(OSError):  # it has ended meanwhile
                if option in Path(f"/proc/{pid}/cmdline").read_text():
                    return int(pid)
        return 0

    def wait_until_ready(self) -> None:
        """Wait until /readyz is ready."""
        deadline = time.monotonic() + PATIENCE
        while not self.is_ready():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        assert self._process is not None
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait for the end of the process. Return its exit status."""
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def look(self, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
        """Return the status and the document of an operations path; status 0 without an answer."""
        try:
            with urllib.request.urlopen(self.ops + path, timeout=5) as answer:
                return answer.status, json.load(answer)
        except HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)
        except (URLError, OSError):
            return 0, {}

    def is_ready(self) -> bool:
        """Return whether /readyz is ready."""
        return self.look()[0] == 200


async def prepared(file: Path, keys: int = 1, **wanted: Any) -> list[Changed]:
    """Initialise the store of these settings, and issue `keys` keys with the fields `wanted`."""
    settings = model.load(file, environ={})
    async with administration.store(settings) as store:
        await store.initialise(administration.keyring(settings).fingerprints)
    async with administration.administration(settings) as lifecycle:
        spec = KeySpec(client_id="acme", env="live", life_ms=LIFE_MS, **wanted)
        return [await lifecycle.issue(spec, lifecycle.author("tests")) for _ in range(keys)]
