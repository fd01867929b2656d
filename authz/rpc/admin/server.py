"""AdminServer: the admin API over gRPC."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf.message import Message

from authz.core.access import Credentials
from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.process.listener import ConnectionLimits, TlsFiles
from authz.rpc.admin.api_error import STATUS_DETAILS, ApiError
from authz.rpc.admin.calls import Arrival, Calls, call_id_of
from authz.rpc.admin.method_table import SERVICES, Method
from authz.rpc.admin.strict_messages import parse
from authz.rpc.grpc_listener import GrpcListener
from authz.rpc.health import READINESS

LISTEN: Final = "admin.listen"
LIMITS: Final = ConnectionLimits(
    streams=256, header_bytes=32 * 1024, message_bytes=4 * 1024 * 1024, idle_seconds=3600.0
)
MAX_CALLS: Final = 1024  # at the same time, with streams
MAX_HEADER: Final = 200  # characters of a user agent

Context = grpc.aio.ServicerContext[bytes, bytes]


class AdminServer(GrpcListener):
    """A server for the services of the admin API, grpc.health.v1 and server reflection.

    The constructor binds the address. Without `tls` it refuses an address that is not local: calls
    bring credentials, and responses bring keys. Raises BadInput for that, for bad TLS files, and
    for an address that cannot be used.
    """

    def __init__(
        self, calls: Calls, address: Address, *, tls: TlsFiles | None, socket_mode: int
    ) -> None:
        if tls is None and not address.is_local:
            problem = "would take credentials in the clear from other machines; set admin.tls"
            raise BadInput(LISTEN, f"{address} {problem}")
        names = [service.full_name for service in SERVICES]
        super().__init__(
            list(_handlers(calls)),
            address,
            services=names,
            by_readiness=("", READINESS, *names),
            setting=LISTEN,
            limits=LIMITS,
            tls=tls,
            socket_mode=socket_mode,
            most_calls=MAX_CALLS,
        )


def _handlers(calls: Calls) -> Iterator[grpc.GenericRpcHandler]:
    # Without serialisers gRPC passes bytes on. So a message that cannot be parsed gets our error.
    for service in SERVICES:
        yield grpc.method_handlers_generic_handler(
            service.full_name,
            {
                method.descriptor.name: _handler(calls, method)
                for method in calls.methods.values()
                if method.descriptor.containing_service.full_name == service.full_name
            },
        )


def _handler(calls: Calls, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
    async def unary(raw: bytes, context: Context) -> bytes:
        arrival = _arrival(context)
        try:
            request = parse(method.request, raw)
            response = await calls.unary(method, request, arrival)
            return response.SerializeToString()
        except ApiError as error:
            await _abort(context, error)
            return b""  # gRPC does not send it after an abort

    async def stream(raw: Any, context: Context) -> None:
        responses = calls.streaming(method, _parsed(method, raw), _arrival(context))
        try:
            async with contextlib.aclosing(responses):
                async for response in responses:
                    with _heard():
                        await context.write(response.SerializeToString())
        except ApiError as error:
            await _abort(context, error)

    if method.is_unary:
        return grpc.unary_unary_rpc_method_handler(unary)
    if method.descriptor.client_streaming:
        return grpc.stream_stream_rpc_method_handler(stream)
    return grpc.unary_stream_rpc_method_handler(stream)


async def _parsed(method: Method, raw: Any) -> AsyncIterator[Message]:
    """Yield the requests. raw: the bytes of one, or an iterator over the bytes of several.

    Raises ApiError for bytes that are no request.
    """
    if isinstance(raw, bytes):
        yield parse(method.request, raw)
        return
    async for each in raw:
        yield parse(method.request, each)


async def _abort(context: Context, error: ApiError) -> None:
    details = ((STATUS_DETAILS, error.status().SerializeToString()),)
    with _heard():
        await context.abort(error.code, error.message, details)


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Cancel the call if gRPC cannot send: the client left, or its deadline passed, just then.

    Any other end would make gRPC send a status, fail again, and log a traceback.
    """
    try:
        yield
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None


def _arrival(context: Context) -> Arrival:
    """Return the facts of a call, and set its id as `x-request-id` of the trailing metadata."""
    metadata = [
        (name, value)
        for name, value in context.invocation_metadata() or ()
        if isinstance(value, str)
    ]
    call_id = call_id_of(next((value for name, value in metadata if name == "x-request-id"), ""))
    context.set_trailing_metadata((("x-request-id", call_id),))
    agent = next((value for name, value in metadata if name == "user-agent"), "")
    credentials = Credentials(
        authorization=tuple(value for name, value in metadata if name == "authorization"),
        certificate_uris=_certificate_uris(context),
        peer=peer_address(context.peer()),
        user_agent=agent[:MAX_HEADER],
    )
    traceparent = next((value for name, value in metadata if name == "traceparent"), "")
    return Arrival(credentials, call_id, context.time_remaining(), traceparent)


def peer_address(peer: str) -> str:
    """Return the IP address of gRPC's name of a peer, such as `ipv4:127.0.0.1:5000`.

    Without the zone of IPv6. Empty for a Unix socket, and if there is no address.
    """
    kind, _, rest = unquote(peer).partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return ""
    host = rest.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return ""


def _certificate_uris(context: Context) -> tuple[str, ...]:
    """Return the URIs of the client's certificate, which gRPC has verified.

    Empty without a certificate or URI.
    """
    found = context.auth_context().get("peer_uri") or ()
    return tuple(uri.decode("ascii", "replace") for uri in found)
