"""The LLM filter in the real Envoy: answers pass unchanged, and the access log has their tokens."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import pytest
import pytest_asyncio

from authz.cli.devstack import Ports
from authz.proxy.llm import MOST_BYTES, PER_ROUTE, llm_filter
from tests.proxy.test_llm_filter import ANSWERS, FIXTURES
from tests.support import envoy_versions
from tests.support.proxy import envoys
from tests.support.proxy.request_shapes import listening
from tests.support.real import eventually

LINE = (
    "%REQ(X-CASE)% %DYNAMIC_METADATA(authz.usage:tokens)% "
    "%DYNAMIC_METADATA(authz.usage:model)% %DYNAMIC_METADATA(authz.request:model)% "
    "%RESPONSE_CODE%\n"
)
FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


@dataclass
class Site:
    """Envoy with the filter, and a backend that answers with `parts`, one after the other.

    is_cut: the backend breaks off after them. seen: the heads and bodies of requests.
    """

    port: int
    admin: int
    log: Path
    parts: list[bytes] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    is_cut: bool = False
    seen: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request. A client may have left."""
        with contextlib.suppress(ConnectionError):
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"content-length:"), 0
        )
        self.seen.append(head + await reader.readexactly(size))
        lines = ["HTTP/1.1 200 OK", "transfer-encoding: chunked", *self.headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        for part in self.parts:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0.002)  # so that Envoy gets each part alone
        if not self.is_cut:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def ask(self, case: str, body: bytes = b"", *, leave: bytes = b"") -> bytes:
        """Send a request. Return the body of the answer; leave after the text `leave`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = ["POST /chat HTTP/1.0", "host: a", f"x-case: {case}", "accept-encoding: gzip"]
        lines += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        found = b""
        with contextlib.suppress(ConnectionResetError):  # the body is not read to its end
            found = await (reader.readuntil(leave) if leave else reader.read())
        writer.close()
        return found.partition(b"\r\n\r\n")[2]

    async def line(self, case: str) -> list[str]:
        """Return the fields of the log line of a request after its name."""

        def find() -> list[str]:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            return next((line.split(" ")[1:] for line in lines if line.startswith(f"{case} ")), [])

        return await eventually(find)

    def lua_errors(self) -> int:
        """Return how many scripts failed, by Envoy's own count."""
        with urlopen(
            f"http://127.0.0.1:{self.admin}/stats?filter=lua.*errors&format=json"
        ) as stats:
            return sum(one.get("value", 0) for one in json.load(stats)["stats"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory) -> AsyncIterator[Site]:
    """Run Envoy with the filter on all routes."""
    folder, ports = tmp_path_factory.mktemp("llm"), Ports.free()
    one = Site(ports.envoy, ports.envoy_admin, folder / "access.log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envoys.binaries, "envoy", envoy_versions.binary)
        async with listening(one.serve) as behind:
            whole = envoys.without_authz(ports.envoy_admin, ports.envoy, behind)
            manager = envoys.manager_of(whole)
            manager["http_filters"].insert(0, llm_filter())
            text = {"text_format_source": {"inline_string": LINE}}
            log = {"@type": FILE, "path": str(one.log), "log_format": text}
            manager["access_log"] = [{"name": "file", "typed_config": log}]
            manager["http_protocol_options"] = {"accept_http_10": True}
            for host in manager["route_config"]["virtual_hosts"]:
                for route in host["routes"]:
                    route.update(PER_ROUTE)
            process = envoys.running(
                envoy_versions.adapted(whole), folder / "envoy.yaml", flush_ms=20
            )
            await asyncio.to_thread(process.__enter__)
            yield one
            await asyncio.to_thread(process.__exit__, None, None, None)


@pytest.fixture
def site(running: Site) -> Site:
    """The running Envoy, with a backend that answers an empty object."""
    running.parts, running.headers, running.is_cut = (
        [b"{}"],
        ["content-type: application/json"],
        False,
    )
    running.seen.clear()
    return running


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("name", ANSWERS)
async def test_the_log_has_the_tokens_of_each_answer(site, name):
    """Answers in small parts arrive as they were, and their tokens and models are logged."""
    body = (FIXTURES / name).read_bytes()
    site.parts = [body[at : at + 97] for at in range(0, len(body), 97)]
    site.headers = [
        f"content-type: {'text/event-stream' if name.endswith('.sse') else 'application/json'}"
    ]

    assert await site.ask(name, b'{"model":"asked"}') == body
    assert await site.line(name) == [*ANSWERS[name], "asked", "200"]
    assert b"accept-encoding" not in site.seen[0]
    assert site.seen[0].endswith(b'{"model":"asked"}')
    assert site.lua_errors() == 0


async def test_a_large_answer_passes_at_once(site):
    """2 MB pass through buffers of 32 KiB, and the usage at their end counts."""
    content = b'\\"usage\\": {' * 180_000
    site.parts = [b'{"a":"', content, b'","usage":{"prompt_tokens":5}}']

    assert await site.ask("large") == b"".join(site.parts)
    assert (await site.line("large"))[0] == "complete:5:0:0:0:0"


async def test_a_compressed_answer_passes_unread(site):
    """A backend that compresses although nobody accepts it is counted as encoded."""
    packed = gzip.compress((FIXTURES / "openai-chat.json").read_bytes())
    site.parts = [packed]
    site.headers += ["content-encoding: gzip"]

    assert await site.ask("gzip") == packed
    assert (await site.line("gzip"))[0] == "encoded:0:0:0:0:0"


@pytest.mark.parametrize("is_cut", [True, False], ids=["backend", "client"])
async def test_an_aborted_stream_has_the_usage_so_far(site, is_cut):
    """The backend breaks off, or the client leaves: what Anthropic said first is partial."""
    body = (FIXTURES / "anthropic-message.sse").read_bytes()
    begun = body[: body.index(b"event: ping")]
    site.parts = [begun] if is_cut else [begun, *[b": wait\n\n"] * 2000]
    site.headers, site.is_cut = ["content-type: text/event-stream"], True

    name = f"aborted-{is_cut}"
    await site.ask(name, leave=b"" if is_cut else b"content_block_start")
    assert (await site.line(name))[:2] == ["partial:35:1:10:0:0", "claude-opus-4-20250514"]


async def test_garbage_passes_unchanged(site):
    """An answer of odd bytes arrives as it was, and no script fails."""
    bodies = [
        b"]" * 40_000,
        b'{"usage":{"prompt_tokens":' * 4000,
        bytes(range(256)) * 200,
        b'"' * 9999,
    ]
    for at, body in enumerate(bodies):
        site.parts = [body[:7000], body[7000:] or b" "]
        assert await site.ask(f"garbage-{at}") == b"".join(site.parts)
        assert (await site.line(f"garbage-{at}"))[0].split(":")[0] in {"none", "complete"}
    assert site.lua_errors() == 0


async def test_a_request_is_held_up_to_a_bound(site):
    """A body up to the bound arrives whole, and its model is known. A larger one is refused."""
    if envoy_versions.version() < (1, 37):
        pytest.skip("this Envoy ignores request_body_buffer_limit")
    most = b'{"model":"big","x":"%b"}' % (b"a" * (MOST_BYTES - 24))
    await site.ask("most", most)
    assert (await site.line("most"))[2:] == ["big", "200"]
    assert site.seen[0].endswith(most)

    await site.ask("more", most.replace(b"}", b" " * 70_000 + b"}"))
    assert (await site.line("more"))[2:] == ["-", "413"]


async def test_a_request_without_a_body_has_no_model(site):
    """A request without a body passes, and the log has no model."""
    await site.ask("empty")
    assert (await site.line("empty"))[2:] == ["-", "200"]
