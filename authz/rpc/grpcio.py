"""The grpcio transport: Check, health and reflection on one listener."""

import grpc
import grpc.aio

from authz.core.listen_address import Address
from authz.process.listener import (
    LISTEN,
    SOCKET_MODE,
    ConnectionLimits,
    TlsFiles,
    refuse_plaintext,
)
from authz.rpc.check.handler import CheckHandler
from authz.rpc.grpc_listener import GrpcListener
from authz.rpc.health import BY_READINESS
from authz.rpc.services import CHECK_SERVICE


class GrpcServer(GrpcListener):
    """A server for Check, grpc.health.v1 and server reflection. The constructor binds the address.

    Without `tls` and `allow_plaintext` it refuses an address that is not local: requests contain
    raw keys, and any client is answered. Raises BadInput for that, for bad TLS files, and for an
    address that cannot be used. traced: whether the handler gets the call's traceparent.
    """

    def __init__(
        self,
        handler: CheckHandler,
        address: Address,
        *,
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008  it is frozen
        tls: TlsFiles | None = None,
        allow_plaintext: bool = False,
        socket_mode: int = SOCKET_MODE,
        traced: bool = False,
    ) -> None:
        refuse_plaintext(address, encrypted=tls is not None, allowed=allow_plaintext)
        super().__init__(
            [_handlers(handler, traced=traced)],
            address,
            services=[CHECK_SERVICE],
            by_readiness=BY_READINESS,
            setting=LISTEN,
            limits=limits,
            tls=tls,
            socket_mode=socket_mode,
        )


def _handlers(handler: CheckHandler, *, traced: bool) -> grpc.GenericRpcHandler:
    check = handler.check

    async def respond(raw: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        response = check(raw, _traceparent(context) if traced else None)
        return response if isinstance(response, bytes) else await response

    # Without serialisers gRPC passes bytes on, which is what the handler takes and returns.
    return grpc.method_handlers_generic_handler(
        CHECK_SERVICE, {"Check": grpc.unary_unary_rpc_method_handler(respond)}
    )


def _traceparent(context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes | None:
    """Return the call's traceparent, or None if there is none, more than one, or it is not text."""
    found = [value for name, value in context.invocation_metadata() or () if name == "traceparent"]
    return found[0].encode() if len(found) == 1 and isinstance(found[0], str) else None
