"""A backend that ends requests in every way, and clients that do so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import yaml

from authz.cli.devconfig import Backend
from authz.cli.devstack import Ports, envoy_config
from authz.core.listen_address import Address
from tests.support.listener import listening
from tests.support.proxy import envoys
from tests.support.proxy.faults import HTTP2
from tests.support.proxy.raw import SWITCHING

CALLS = "/test.Shapes/"
EVENT = b"data: one\n\n"
_HEAD = b"HTTP/1.1 %s\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of an HTTP/1.1 body; without data the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            if path == "/gone":
                break
            if path == "/silent":
                await reader.read()
                break
            if path == "/ws":
                writer.write(SWITCHING + b"welcome")
                await reader.read()
                break
            status = b"404 Not Found" if path == "/missing" else b"200 OK"
            kind = b"text/event-stream" if path in {"/sse", "/endless"} else b"text/plain"
            writer.write(_HEAD % (status, kind))
            if path == "/sse":
                for _ in range(3):
                    writer.write(chunk(EVENT))
                    await writer.drain()
            elif path == "/endless":
                writer.write(chunk(EVENT))
                await reader.read()
                break
            elif path == "/cut":
                writer.write(chunk(b"half"))
                await writer.drain()
                break
            else:
                writer.write(chunk(b"hello"))
            writer.write(chunk(b""))
            await writer.drain()
            if b"transfer-encoding" in head.lower():  # its body is not read
                break
    writer.close()


@asynccontextmanager
async def backend() -> AsyncIterator[int]:
    """Run the HTTP/1.1 backend, and yield its port.

    Its paths: /sse, /endless, /silent, /cut (in the body), /gone (before a response), /ws and
    /missing; any other answers 200.
    """
    async with listening(_serve) as port:
        yield port


class _Calls(grpc.GenericRpcHandler):
    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        name = call.method.rpartition("/")[2]
        if name == "Stream":
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._full if name == "Full" else self._ok)

    async def _ok(self, _request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b"abc"

    async def _full(self, _request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return b""

    async def _stream(
        self, _request: bytes, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.Event().wait()


@asynccontextmanager
async def grpc_backend() -> AsyncIterator[int]:
    """Run a gRPC backend, and yield its port. Its methods: /test.Shapes/Ok, Full and Stream."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Calls(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def request(port: int, path: str, headers: Sequence[str], *, until: bytes = b"") -> bytes:
    """Send an HTTP/1.1 request. Close the connection after the text `until`; return all that came.

    Without `until` the connection is closed at once after the request was sent.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ending = (
        [] if any(line.startswith("connection:") for line in headers) else ["connection: close"]
    )
    lines = [f"GET {path} HTTP/1.1", "host: api.example.com", *ending, *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    try:
        return await reader.readuntil(until) if until else b""
    except asyncio.IncompleteReadError as cause:
        return cause.partial
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def shapes_configuration(ports: Ports, check: Address, http: int, calls: int) -> dict[str, Any]:
    """Return envoy.yaml with WebSockets, and a second backend for gRPC at the port `calls`."""
    whole = yaml.safe_load(envoy_config(ports, check, Backend("127.0.0.1", http)))
    manager = envoys.manager_of(whole)
    manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    clusters = whole["static_resources"]["clusters"]
    served = yaml.safe_load(yaml.safe_dump(clusters[-1]).replace(str(http), str(calls)))
    served["name"] = "calls"
    http2 = {"explicit_http_config": {"http2_protocol_options": {}}}
    kind = f"type.googleapis.com/{HTTP2}"
    served["typed_extension_protocol_options"] = {HTTP2: {"@type": kind, **http2}}
    clusters.append(served)
    route = {"match": {"prefix": CALLS}, "route": {"cluster": "calls"}, "name": "calls"}
    manager["route_config"]["virtual_hosts"][0]["routes"].insert(0, route)
    manager["http_filters"][0]["typed_config"]["grpc_service"]["timeout"] = "20s"
    return whole
