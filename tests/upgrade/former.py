"""The former version: its code, from the history of this repository, and data that it has stored.

`python -m tests.upgrade.former` records the data anew, into fixtures/.
"""

import functools
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import grpc
import pytest
import yaml
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub

from tests.support.docs import ROOT
from tests.support.real import Valkey, free_port
from tests.support.rpc.messages import check_request

# The last revision before records were sealed: its sidecars know no seals, no canary keys, no
# budgets of bytes, and no publishable keys.
REVISION: Final = "59940e75a8fcee415fef96cdaf772f54655cdd72"
FIXTURE: Final = Path(__file__).parent / "fixtures" / "former.json"
PEPPER: Final = "made-up-pepper-of-the-former-version-0123456789abcdef0123456789ab"
SECONDS: Final = 60
OK: Final = 200
UNDECIDED: Final = 503  # status_on_error: the sidecar could not decide
USED: Final = 3  # of the credits of the key `credited`

# The keys of the fixture: the options of `keys issue`.
ISSUED: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("--project", "web", "--tenant", "eu", "--name", "Of the former version"),
    "scoped": ("--scope", "models:*", "--metadata", "team=blue"),
    "bound": ("--cidr", "10.0.0.0/8", "--host", "api.example.com"),
    "limited": ("--limit", "1000000/month@15", "--limit", "100/s,burst=200"),
    "credited": (
        "--credits",
        "10",
    ),
    "of a plan": (
        "--plan",
        "standard",
    ),
    "disabled": (),
    "revoked": (),
    "rotated": (),
    "deleted": (),
}
IMPORTED: Final = "imported-key-of-the-former-version-0001"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of authz as a directory with its code, and the settings of one installation."""

    code: Path
    settings: Path

    def run(self, *words: str, text: str = "") -> str:
        """Run a command and return what it printed. Raises AssertionError if it fails."""
        server = _command_server(self.code)
        asked = {"words": ["--config", str(self.settings), *words], "text": text}
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        done = json.loads(server.stdout.readline())
        assert done["code"] == 0, (words, done["err"])
        return str(done["out"])

    def json(self, *words: str) -> Any:
        """Run a command with --json and return its document."""
        return json.loads(self.run(*words, "--json"))

    def command(self, *words: str) -> list[str]:
        """Return a command, to be run in `code`."""
        return [sys.executable, "-m", "authz.cli.main", "--config", str(self.settings), *words]

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables for a command."""
        return _environment(self.code)


def _environment(code: Path) -> dict[str, str]:
    """Return the environment variables for a version: no settings of another installation."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}
    return own | {"PYTHONPATH": str(code)}


@functools.cache
def _command_server(code: Path) -> subprocess.Popen[str]:
    """Start the process that carries out the commands of a version. It ends with this process."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("command_server.py"))],
        cwd=code,
        env=_environment(code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


class Process:
    """A process of a version. ops: where it has /readyz. words: its command."""

    def __init__(self, version: Version, ops: str, *words: str) -> None:
        self.version = version
        self.ops = ops
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self.version.command(*self._words),
            cwd=self.version.code,
            env=self.version.environment | {"AUTHZ_OPS__LISTEN": self.ops},
        )
        deadline = time.monotonic() + SECONDS
        while not self.is_ready():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(SECONDS)

    def is_ready(self) -> bool:
        """Return whether /readyz is ready."""
        try:
            with urllib.request.urlopen(f"http://{self.ops}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Sidecar(Process):
    """`authz serve` of a version. It listens on a port of its own."""

    def __init__(self, version: Version) -> None:
        self.check = f"127.0.0.1:{free_port()}"
        super().__init__(version, f"127.0.0.1:{free_port()}", "serve", "--listen", self.check)

    def ask(self, key: str, path: str = "/") -> int:
        """Return the code of a Check with this key: OK, or the status that Envoy answers with."""
        with grpc.insecure_channel(self.check) as channel:
            asked = check_request([("x-api-key", key)], path=path)
            found = AuthorizationStub(channel).Check(asked, timeout=SECONDS)
        if found.status.code == 0:
            return OK
        return found.denied_response.status.code or UNDECIDED

    def until(self, key: str, wanted: int) -> int:
        """Ask until the code is the wanted one, at most SECONDS. Return the last code."""
        deadline = time.monotonic() + SECONDS
        while (found := self.ask(key)) != wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


def settings(directory: Path, valkey: Valkey, **more: Any) -> Path:
    """Write settings that both versions read. more: sections, such as check and ops."""
    pepper = directory / "pepper"
    pepper.write_text(PEPPER)
    file = directory / f"authz-{len(list(directory.glob('authz-*.yaml')))}.yaml"
    whole = {
        "redis": {"url": valkey.url},
        "keys": {"peppers": [{"version": "1", "file": str(pepper)}]},
        "plans": {"standard": ["1000/h"]},
        **more,
    }
    file.write_text(yaml.safe_dump(whole))
    return file


def code(directory: Path, revision: str = REVISION) -> Path:
    """Write the code of a former version into `directory`. Skips the test without the history."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", revision, "authz"]
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode:
        pytest.skip(f"needs the history of the repository, up to {revision[:8]}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory


def stored(valkey: Valkey) -> dict[str, Any]:
    """Return everything in a store by its name: the dump, and the expiry in ms or 0."""
    client = valkey.raw()
    names = sorted(client.keys("*"))
    return {
        name.decode(): [client.dump(name).hex(), max(0, client.pexpiretime(name))] for name in names
    }


def restore(valkey: Valkey, content: dict[str, Any]) -> None:
    """Put what `stored` returned into an empty store."""
    client = valkey.raw()
    for name, (dump, expiry) in content.items():
        client.restore(name, expiry, bytes.fromhex(dump), absttl=bool(expiry))


def main() -> None:
    """Let the former version store data, and write it into the fixture."""
    with tempfile.TemporaryDirectory() as made, Valkey() as valkey:
        directory = Path(made)
        (directory / "code").mkdir()
        former = Version(code(directory / "code"), settings(directory, valkey))
        former.run("init")
        keys, kids = {}, {}
        for name, options in ISSUED.items():
            words = ("keys", "issue", "--client", "acme", "--expires-in", "never", *options)
            found = former.json(*words)
            keys[name], kids[name] = found["key"], found["kid"]
        former.run("keys", "import", text=json.dumps({"key": IMPORTED, "client": "acme"}) + "\n")
        former.run("keys", "disable", kids["disabled"])
        former.run("keys", "revoke", kids["revoked"], "--reason", "key_compromise")
        former.run("keys", "revoke", kids["deleted"], "--reason", "key_compromise")
        former.run("keys", "delete", kids["deleted"])
        keys["rotated to"] = former.json("keys", "rotate", kids["rotated"], "--grace", "0")["key"]
        keys["imported"] = IMPORTED
        with Sidecar(former) as sidecar:
            answers = [sidecar.ask(keys["credited"]) for _ in range(USED)]
        assert answers == [OK] * USED
        whole = {"revision": REVISION, "keys": keys, "kids": kids, "store": stored(valkey)}
        FIXTURE.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"{FIXTURE.relative_to(ROOT)}: {len(whole['store'])} entries of the store")


if __name__ == "__main__":
    main()
