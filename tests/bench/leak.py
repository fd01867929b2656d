"""How long after a report of leaked keys is the last request with one of them allowed?

    python -m tests.bench.leak [--keys 100] [--rounds 10]

Everything is real: Envoy, sidecar, store and the admin API, which gets one signed report of all
keys. Meanwhile one connection for each key asks through Envoy, with pauses of 10 ms. The time is
that from the sending of the report to the arrival of the last allow of each key.
"""

import argparse
import asyncio
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from authz.cli.devstack import Ports, running
from authz.core.new_keys import KeySpec
from authz.core.notifications.bodies import signing_secret, webhook_headers
from authz.flows.lifecycle import Changed
from authz.settings import model
from authz.wiring import administration
from tests.bench.client import Client
from tests.bench.figures import offer_record, record
from tests.bench.revocation import spread
from tests.support.real import free_port

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LIFE_MS = 3_600_000
AFTER_SECONDS = 0.2  # how long to go on asking after the first denial
READY_SECONDS = 30
PAUSE = 0.01  # seconds between two requests of a connection


def admin_settings(directory: Path, config: str) -> tuple[Path, str]:
    """Write settings of an admin API with the endpoint. Return them and its HTTP address."""
    http = f"127.0.0.1:{free_port()}"
    (directory / "secret").write_text(SECRET)
    found = yaml.safe_load(Path(config).read_text())
    found["admin"] = {"listen": f"127.0.0.1:{free_port()}", "http_listen": http}
    found["leaks"] = {"secret_file": str(directory / "secret"), "max_per_hour": 1_000_000}
    file = directory / "admin.yaml"
    file.write_text(yaml.safe_dump(found))
    return file, http


def post(http: str, body: bytes) -> Any:
    """Send one signed report and return the answer."""
    headers = webhook_headers(
        secrets.token_hex(8), body, [signing_secret(SECRET)], int(time.time())
    )
    request = urllib.request.Request(f"http://{http}/v1/leaks/report", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


async def one_round(url: str, http: str, settings: model.Settings, keys: int) -> list[float]:
    """Return the seconds from the report to the last allow of each key."""
    host, port = url.removeprefix("http://").split(":")
    async with administration.administration(settings) as lifecycle:
        spec = KeySpec(client_id="bench", env="live", life_ms=LIFE_MS)
        victims = [await lifecycle.issue(spec, lifecycle.author("bench")) for _ in range(keys)]
    last: dict[str, float] = {}
    clients = [await Client.connect(host, int(port)) for _ in victims]
    watchers = [
        asyncio.create_task(_watch(client, victim, last))
        for client, victim in zip(clients, victims, strict=True)
    ]
    while len(last) < keys:  # every key is in use and cached
        await asyncio.sleep(0.01)
    body = json.dumps([{"token": one.key_text, "url": "https://example.com"} for one in victims])
    began = time.perf_counter()
    answer = await asyncio.to_thread(post, http, body.encode())
    assert [one["label"] for one in answer] == ["true_positive"] * keys
    await asyncio.gather(*watchers)
    for client in clients:
        await client.close()
    return [last[one.record.kid] - began for one in victims]


async def _watch(client: Client, victim: Changed, last: dict[str, float]) -> None:
    stop = None
    while stop is None or time.perf_counter() < stop:
        status = await client.get("/", victim.key_text or "")
        now = time.perf_counter()
        if status == 200:
            last[victim.record.kid] = now
        elif stop is None:
            stop = now + AFTER_SECONDS
        await asyncio.sleep(PAUSE)


def wait_until_ready(http: str) -> None:
    """Wait until the admin API is ready."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{http}/readyz", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the admin API is not ready")


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    offer_record(parser)
    given = parser.parse_args()
    with running(Ports.free()) as (stack, _), tempfile.TemporaryDirectory() as name:
        file, http = admin_settings(Path(name), stack.config)
        command = [sys.executable, "-m", "authz.cli.main", "--config", str(file), "admin"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as admin:
            try:
                wait_until_ready(http)
                settings = model.load(Path(stack.config))
                seconds = [
                    lag
                    for _ in range(given.rounds)
                    for lag in asyncio.run(one_round(stack.envoy, http, settings, given.keys))
                ]
            finally:
                admin.send_signal(signal.SIGKILL)
    found = spread([one * 1000 for one in seconds])
    if given.record:
        record({f"leak.{part}": found[part] for part in ("p50", "p99")})
    print(f"{given.rounds} reports of {given.keys} keys: from the report to the last allow, ms:")
    print(", ".join(f"{part} {value}" for part, value in found.items()))


if __name__ == "__main__":
    main()
