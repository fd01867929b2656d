"""A game day: two keys leak, and everything that follows is real. `make gameday` prints the times.

    python -m tests.system.gameday [--to post-mortem.md]

Both keys are planted in a git history, found by `authz scan`, and reported. The policy revokes keys
of the environment `test`, and rotates those of `live`: their holder reads the new secret from a
directory while it sends requests through Envoy. The post-mortem is the report of the console.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from authz.cli.devstack import Ports, running
from authz.console.pages.api_client import Answer
from authz.console.pages.incident_report import report
from authz.console.pages.usage_chart import usage_call
from authz.core.new_keys import KeySpec
from authz.core.roles import Role
from authz.flows.lifecycle import Changed
from authz.settings import model
from authz.wiring import administration
from tests.bench.client import Client
from tests.bench.leak import admin_settings, post, wait_until_ready

OVERLAP: Final = "2s"
PATIENCE: Final = 120.0  # seconds for one step
PAUSE: Final = 0.02  # seconds between two requests
URL: Final = "https://git.example.com/acme/shop"


@dataclass
class Day:
    """The times of a game day, in seconds since the leak. denied: requests of the holder."""

    began: float = field(default_factory=time.perf_counter)
    times: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    denied: int = 0
    post_mortem: str = ""

    def reached(self, step: str) -> None:
        """Remember that a step is done."""
        self.times[step] = time.perf_counter() - self.began


class Holder:
    """A program that reads its key from a file before each request, as with a mounted Secret."""

    def __init__(self, envoy: str, file: Path, day: Day) -> None:
        self._host, port = envoy.removeprefix("http://").split(":")
        self._port = int(port)
        self._file = file
        self._day = day
        self.key = ""  # of the last request that was allowed

    async def work(self) -> None:
        """Send requests until cancelled."""
        client = await Client.connect(self._host, self._port)
        try:
            while True:
                key = self._file.read_text().strip()
                status = await client.get("/", key)
                self._day.requests += 1
                if status == 200:
                    self.key = key
                else:
                    self._day.denied += 1
                await asyncio.sleep(PAUSE)
        finally:
            await client.close()

    async def is_allowed(self, key: str) -> bool:
        """Return whether Envoy allows a request with this key now."""
        client = await Client.connect(self._host, self._port)
        try:
            return await client.get("/", key) == 200
        finally:
            await client.close()


def plant(repository: Path, *keys: str) -> None:
    """Commit the keys, and remove them in the next commit."""
    file = repository / "deploy.env"
    _git(repository, "init", "--quiet")
    for text in ("\n".join(f"API_KEY={key}" for key in keys), "API_KEY=from-the-vault"):
        file.write_text(f"{text}\n")
        _git(repository, "add", ".")
        _git(repository, "commit", "--quiet", "-m", "settings of the deployment")


def _git(repository: Path, *words: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", str(repository), *author, *words], check=True)


async def scanned(config: Path, repository: Path) -> dict[str, Any]:
    """Search a history for keys and return the document of the scan."""
    command = [sys.executable, "-m", "authz.cli.main", "--config", str(config), "scan"]
    words = [*command, "--git", "--json", str(repository)]
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline, "a step of the game day takes too long"
        await asyncio.sleep(PAUSE)


async def play(config: Path, http: str, envoy: str, directory: Path) -> Day:
    """Play a game day with a running administration, and return its times."""
    settings, repository = model.load(config, environ={}), directory / "repository"
    repository.mkdir()
    async with administration.administration(settings) as lifecycle:

        async def issue(env: str, client: str, *roles: Role) -> Changed:
            scopes = frozenset(role.scope for role in roles)
            spec = KeySpec(client_id=client, env=env, life_ms=None, scopes=scopes)
            return await lifecycle.issue(spec, lifecycle.author("gameday"))

        admin = await issue("live", "ops", Role.ADMIN)
        live, test = await issue("live", "acme-web"), await issue("test", "acme-ci")
        old, ended = live.key_text or "", test.key_text or ""
        file = directory / f"{live.record.kid}.key"
        file.write_text(f"{old}\n")
        day = Day()
        holder = Holder(envoy, file, day)
        work = asyncio.create_task(holder.work())
        try:
            await until(lambda: holder.is_allowed(ended))
            day.began = time.perf_counter()
            plant(repository, old, ended)
            day.reached("planted in a git history")
            document = await scanned(config, repository)
            day.reached("found by authz scan")
            assert old not in json.dumps(document)
            entries = [{"token": key, "url": URL, "source": "commit"} for key in (old, ended)]
            answer = await asyncio.to_thread(post, http, json.dumps(entries).encode())
            assert [one["label"] for one in answer] == ["true_positive"] * 2
            day.reached("report answered")
            await until(lambda: _not(holder.is_allowed(ended)))
            day.reached("the revoked key is denied at Envoy")
            await until(lambda: _moved(holder, old))
            day.reached("the holder works with its new secret")
            await until(lambda: _not(holder.is_allowed(old)))
            day.reached("the leaked secret is denied at Envoy")
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        credential, kids = admin.key_text or "", [one.record.kid for one in (test, live)]
        await asyncio.to_thread(write_up, day, http, credential, kids)
    for key in (old, ended, file.read_text().strip()):
        assert key not in day.post_mortem
    return day


def write_up(day: Day, http: str, credential: str, kids: list[str]) -> None:
    """Write the post-mortem: the reports about the keys, and the times."""
    parts = [post_mortem(http, credential, kid) for kid in kids]
    day.reached("post-mortem written")
    lines = "\n".join(f"- {seconds:.2f} s: {step}" for step, seconds in day.times.items())
    day.post_mortem = "\n".join([*parts, f"## Times since the leak\n\n{lines}\n"])


async def _not(found: Awaitable[bool]) -> bool:
    return not await found


async def _moved(holder: Holder, old: str) -> bool:
    return bool(holder.key) and holder.key != old


def post_mortem(http: str, credential: str, kid: str) -> str:
    """Return the report of the console about a key."""

    def get(path: str) -> Answer:
        headers = {"authorization": f"Bearer {credential}"}
        request = urllib.request.Request(f"http://{http}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Answer(answer.status, json.load(answer))

    name = f"keys/{kid}"
    key = get(f"/v1/{name}").data["key"]
    usage = get(usage_call("30d", name).target)
    parts = get(f"/v1/{name}/latestUse"), usage, get(f"/v1/{name}/history?pageSize=20")
    return report(key, *parts, datetime.now(UTC))


def run(directory: Path, program: Sequence[str] = (sys.executable, "-m", "authz.cli.main")) -> Day:
    """Start everything, play a game day, and return its times. program: of the administration."""
    with running(Ports.free()) as (stack, _):
        file, http = admin_settings(directory, stack.config)
        text = yaml.safe_load(file.read_text())
        text["leaks"] |= {"live": "rotate", "test": "revoke", "rotate_overlap": OVERLAP}
        target = {"kind": "directory", "directory": str(directory)}
        policy = {"rotate_every": "90d", "to": "machine"}
        text["rotation"] = {"targets": {"machine": target}, "default": policy}
        file.write_text(yaml.safe_dump(text))
        with subprocess.Popen(
            [*program, "--config", str(file), "admin"], stderr=subprocess.DEVNULL
        ) as admin:
            try:
                wait_until_ready(http)
                return asyncio.run(play(file, http, stack.envoy, directory))
            finally:
                admin.send_signal(signal.SIGTERM)


def main() -> None:
    """Print the times, and write the post-mortem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=Path("post-mortem.md"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        day = run(Path(name))
    for step, seconds in day.times.items():
        print(f"{seconds:8.2f} s  {step}")
    print(f"the holder sent {day.requests} requests meanwhile, {day.denied} were denied")
    given.to.write_text(day.post_mortem)
    print(f"{given.to} is the post-mortem")
    assert not day.denied


if __name__ == "__main__":
    main()
