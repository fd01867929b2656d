"""The cost of the LLM filter for Envoy: `python -m tests.bench.llm_filter`.

One Envoy with one worker passes small chat requests to a backend, on a route with the filter and on
one without it, in turn, in several rounds. The figure is Envoy's processor time for a request; the
median of the rounds. Checks and access logs are left out.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

import yaml

from authz.cli import binaries
from authz.cli.devstack import Ports
from authz.proxy.llm import PER_ROUTE, llm_filter
from tests.bench.figures import machine
from tests.bench.processor_time import thread_seconds
from tests.support.listener import listening
from tests.support.proxy import envoys
from tests.support.real import eventually

ANSWER = (Path(__file__).parents[1] / "proxy/fixtures/llm/openai-chat.json").read_bytes()
ASKED = json.dumps({"model": "a", "messages": [{"role": "user", "content": "word " * 60}]}).encode()
PATHS = {"without": b"/plain", "with": b"/llm"}
CLIENTS = 4


async def read(reader: asyncio.StreamReader) -> None:
    """Read one message with a content-length."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    (size,) = (int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"content-length:")
    await reader.readexactly(size)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request with the same chat completion."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    try:
        while True:
            await read(reader)
            writer.write(head % len(ANSWER) + ANSWER)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        return


async def ask(port: int, path: bytes, number: int) -> None:
    """Send so many requests over each of CLIENTS connections, one after the other."""
    head = b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    request = head % path + b"content-length: %d\r\n\r\n" % len(ASKED) + ASKED

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(number):
            writer.write(request)
            await read(reader)
        writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def measure(rounds: int, number: int) -> dict[str, float]:
    """Return microseconds of Envoy's processor time for a request, by the names of PATHS."""
    ports = Ports.free()
    times: dict[str, list[float]] = {name: [] for name in PATHS}
    async with listening(serve) as behind:
        whole = envoys.without_authz(ports.envoy_admin, ports.envoy, behind)
        manager = envoys.manager_of(whole)
        manager["http_filters"].insert(0, llm_filter())
        (host,) = (h for h in manager["route_config"]["virtual_hosts"] if h["name"] == "api")
        route = host["routes"][-1]["route"]
        host["routes"].insert(0, {"match": {"prefix": "/llm"}, "route": route, **PER_ROUTE})
        with tempfile.TemporaryDirectory(prefix="authz-") as directory:
            file = Path(directory) / "envoy.yaml"
            file.write_text(yaml.safe_dump(whole))
            command = [binaries.envoy(), "-c", file, "--disable-hot-restart", "--concurrency", "1"]
            with subprocess.Popen([*command, "--log-level", "error"]) as process:
                try:
                    await eventually(lambda: _is_open(ports.envoy))
                    for path in PATHS.values():
                        await ask(ports.envoy, path, number // 4)
                    for _ in range(rounds):
                        for name, path in PATHS.items():
                            before = thread_seconds(process.pid)
                            await ask(ports.envoy, path, number)
                            spent = (thread_seconds(process.pid) - before) * 1e6
                            times[name].append(spent / (number * CLIENTS))
                finally:
                    process.kill()
    return {name: statistics.median(each) for name, each in times.items()}


async def _is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def main() -> None:
    """Print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000, help="of each client and round")
    given = parser.parse_args()
    found = asyncio.run(measure(given.rounds, given.requests))
    for name, microseconds in found.items():
        print(f"{name} the filter: {microseconds:.1f} us a request")
    print(f"ratio {found['with'] / found['without']:.2f}\n\n{machine()}")


if __name__ == "__main__":
    main()
