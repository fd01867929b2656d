"""Usage records through the real Envoy: each request is one line that says how it ended."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from authz.cli.devstack import Ports
from authz.core.route_facts import Facts
from authz.core.route_rule import Rule
from authz.core.routes import RouteTable
from authz.core.usage.entry import AGENT, VERSION_4, Entry, EntryReader
from authz.core.usage.outcome import Outcome
from tests.support import envoy_versions
from tests.support.proxy import envoys
from tests.support.proxy.collector import Collector, collecting
from tests.support.proxy.raw import post_with_trailers
from tests.support.proxy.request_shapes import (
    CALLS,
    backend,
    grpc_backend,
    request,
    shapes_configuration,
)
from tests.support.real import eventually
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import serving

OK, CLIENT, SERVER, DENIED, ABORTED = Outcome
END = b"0\r\n\r\n"
UPGRADE = ("connection: upgrade", "upgrade: websocket")


@dataclass
class Site:
    """Envoy with a gate: its port, the port for a collector, a key and its kid."""

    port: int
    meter: int
    admin: int
    key: str
    kid: str
    door: Door

    def headers(self, agent: str) -> list[str]:
        """Return the header lines of a request with the key."""
        return [f"x-api-key: {self.key}", f"user-agent: {agent}"]


@pytest.fixture
async def site(tmp_path: Path, monkeypatch) -> AsyncIterator[Site]:
    """Run Envoy with a gate and both backends, without a collector."""
    monkeypatch.setattr(envoys.binaries, "envoy", envoy_versions.binary)
    label = Facts(cost=7, label="slow")
    door = Door(rules=RouteTable([Rule.parse("routes", "/sse", "", (), label)]))
    record, key = door.issue(project_id="search", tenant_id="acme", plan="pro")
    await door.answer(check_request([("x-api-key", key)]))
    ports = Ports.free()
    async with backend() as http, grpc_backend() as calls, serving("fast", door) as gate:
        whole = envoy_versions.adapted(shapes_configuration(ports, gate.address, http, calls))
        async with running(whole, tmp_path / "envoy.yaml"):
            yield Site(ports.envoy, ports.meter, ports.envoy_admin, key, record.kid, door)


@asynccontextmanager
async def running(whole: dict[str, Any], file: Path) -> AsyncIterator[None]:
    """Run Envoy while this loop goes on to serve its Checks and health checks."""
    process = envoys.running(whole, file)
    await asyncio.to_thread(process.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(process.__exit__, None, None, None)


async def call(site: Site, name: str, *, cancel: bool = False) -> None:
    """Make one gRPC call; its user agent begins with its name."""
    options = [("grpc.primary_user_agent", name)]
    address = f"127.0.0.1:{site.port}"
    async with grpc.aio.insecure_channel(address, options) as channel:
        keys = [("x-api-key", site.key)]
        if cancel:
            stream = channel.unary_stream(f"{CALLS}Stream")(b"x", metadata=keys)
            await stream.read()
            stream.cancel()
            return
        asked = channel.unary_unary(f"{CALLS}{name}")(b"x", metadata=keys, timeout=20)
        full = grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await asked.code() is (full if name == "Full" else grpc.StatusCode.OK)


# By user agent: path, more headers, the text after which the client leaves; outcome, code, sent.
HTTP1: dict[str, tuple[str, tuple[str, ...], bytes, Outcome, str, int]] = {
    "plain": ("/", (), END, OK, "200", 5),
    "odd \" 'a\tb %REQ(X)% 3 ": ("/", (), END, OK, "200", 5),
    "sse": ("/sse", (), END, OK, "200", 33),
    "left-sse": ("/endless", (), b"one", ABORTED, "200", 11),
    "left-early": ("/silent", (), b"", ABORTED, "0", 0),
    "cut": ("/cut", (), END, SERVER, "200", 4),
    "gone": ("/gone", (), END, SERVER, "503", -1),
    "missing": ("/missing", (), END, CLIENT, "404", 5),
    "ws": ("/ws", UPGRADE, b"welcome", OK, "101", 7),
}
CALLED = {"Ok": (OK, "200/0"), "Full": (CLIENT, "200/8"), "Stream": (ABORTED, "200")}


async def silent_request(site: Site) -> None:
    """Send a request that the backend never answers, and leave once the gate has decided."""
    before = site.door.checker.hits
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    lines = ["GET /silent HTTP/1.1", "host: a", *site.headers("left-early"), "", ""]
    writer.write("\r\n".join(lines).encode())
    await eventually(lambda: site.door.checker.hits > before)
    await asyncio.sleep(0.05)  # until Envoy has the answer; else there is no charge id to log
    writer.close()


async def ask_all(site: Site) -> None:
    """Make one request of each shape."""
    for agent, (path, more, until, *_) in HTTP1.items():
        if agent == "left-early":
            await silent_request(site)
        else:
            await request(site.port, path, [*site.headers(agent), *more], until=until)
    for path in ("/", "/healthz"):
        await request(site.port, path, ["user-agent: nobody"], until=b"\r\n\r\n")
    sent = [("x-api-key", site.key), ("user-agent", "http2")]
    assert await asyncio.to_thread(post_with_trailers, site.port, sent, [("x-a", "1")]) == "200"
    await call(site, "Ok")
    await call(site, "Full")
    await call(site, "Stream", cancel=True)


def read(collector: Collector) -> dict[str, Entry]:
    """Return each entry by the beginning of its user agent. Two for one agent are an error."""
    reader, found = EntryReader(), {}
    for line in collector.lines:
        entry = reader.read(line)
        assert isinstance(entry, Entry), (entry, line)
        agent = entry.rest.split(b" ", AGENT[VERSION_4])[-1].decode()
        name = agent.partition("grpc-")[0].strip() if "grpc-" in agent else agent
        assert name not in found
        found[name] = entry
    return found


async def test_each_request_is_one_line_that_says_how_it_ended(site: Site):
    """Ten shapes of requests, with the key or without; also while no collector ran yet."""
    await request(site.port, "/", site.headers("before"), until=END)
    async with collecting(site.meter) as collector:
        await ask_all(site)
        names = {*HTTP1, *CALLED, "before", "http2", "nobody"}
        await eventually(lambda: len(collector.lines) >= len(names))
        found = read(collector)
        lost = f"http://127.0.0.1:{site.admin}/stats?filter=open_telemetry.*logs_dropped"
        with await asyncio.to_thread(urllib.request.urlopen, lost) as stats:
            assert stats.read().strip().endswith(b"logs_dropped: 0")
    assert {name.strip() for name in found} == {name.strip() for name in names}

    for agent, (_, _, _, outcome, code, sent) in HTTP1.items():
        entry = found[agent] if agent in found else found[agent.strip()]
        assert (entry.status.outcome, entry.status.code) == (outcome, code), agent
        assert sent in {-1, entry.bytes_out}, agent
    for name, (outcome, code) in CALLED.items():
        status = found[name].status
        assert (status.outcome, status.code.partition("/")[0]) == (outcome, "200"), name
        assert code in {status.code, "200"}, name
    for name, entry in found.items():
        identity = entry.identity
        assert entry.is_end
        if name == "nobody":
            assert entry.status.outcome is DENIED
            assert (identity.kid, identity.reason) == ("", "missing_credential")
            assert identity.about == "- - - - -"
        else:
            assert (identity.kid, identity.secret, identity.reason) == (site.kid, "1", "ok")
            assert identity.about == "acme-web search acme pro live"
            expected = ("slow", 7) if name == "sse" else ("", 1)
            assert (identity.route, identity.charged) == expected, name
    counts = sorted(entry.count for entry in found.values())
    assert len({entry.process for entry in found.values()}) == 1
    assert counts == list(range(counts[0], counts[0] + len(counts)))


async def test_a_refused_batch_is_sent_again(site: Site):
    """While the collector answers UNAVAILABLE nothing is lost and no request fails."""
    async with collecting(site.meter) as collector:
        collector.refuses = True
        for number in range(5):
            got = await request(site.port, "/", site.headers(f"r{number}"), until=END)
            assert got.startswith(b"HTTP/1.1 200")
        await eventually(lambda: collector.refused > 0)
        assert collector.lines == []
        collector.refuses = False
        await eventually(lambda: len(collector.lines) >= 5)
        assert set(read(collector)) == {f"r{number}" for number in range(5)}
