"""AdminClient and AsyncAdminClient: the generated stubs, with credentials, retries and errors."""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
from google.protobuf.message import Message

from authz.client.error import AdminError
from authz.core.listen_address import Address
from authz.rpc.pb.admin.v1 import (
    admin_pb2_grpc,
    audit_pb2_grpc,
    events_pb2_grpc,
    fleet_pb2_grpc,
    keys_pb2_grpc,
    limits_pb2_grpc,
    me_pb2_grpc,
    policy_pb2_grpc,
    tokens_pb2_grpc,
    usage_pb2_grpc,
)

TIMEOUT_SECONDS: Final = 30.0
"""The deadline of a unary call without a `timeout` of its own."""

# Most changes may be repeated: creating and rotating a key have a request id, others have the same
# effect a second time. Two do not: `credits: "+N"` without an etag, and ChangeKeys with `rotate`.
_OPTIONS: Final = (
    (
        "grpc.service_config",
        json.dumps(
            {
                "methodConfig": [
                    {
                        "name": [{}],
                        "retryPolicy": {
                            "maxAttempts": 4,
                            "initialBackoff": "0.2s",
                            "maxBackoff": "2s",
                            "backoffMultiplier": 2,
                            "retryableStatusCodes": ["UNAVAILABLE"],
                        },
                    }
                ]
            }
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM content for TLS. root: CAs that may sign the server's certificate; None: the system's.

    chain, key: the client's certificate chain and its key; None: no client certificate.
    """

    root: bytes | None = None
    chain: bytes | None = None
    key: bytes | None = field(default=None, repr=False)


class _Services:
    """The stubs of all services. A failed call raises AdminError.

    A unary call has a deadline, and gets a request id if its message has that field. While the
    server is unavailable, the channel makes up to 4 attempts.
    """

    def __init__(self, channel: Any, wrap: Callable[[Any], Any]) -> None:
        self.keys = _Stub(keys_pb2_grpc.KeysStub, channel, wrap)
        self.policy = _Stub(policy_pb2_grpc.PolicyStub, channel, wrap)
        self.limits = _Stub(limits_pb2_grpc.LimitsStub, channel, wrap)
        self.usage = _Stub(usage_pb2_grpc.UsageStub, channel, wrap)
        self.tokens = _Stub(tokens_pb2_grpc.TokensStub, channel, wrap)
        self.audit = _Stub(audit_pb2_grpc.AuditStub, channel, wrap)
        self.events = _Stub(events_pb2_grpc.EventsStub, channel, wrap)
        self.fleet = _Stub(fleet_pb2_grpc.FleetStub, channel, wrap)
        self.me = _Stub(me_pb2_grpc.MeStub, channel, wrap)
        self.admin = _Stub(admin_pb2_grpc.AdminStub, channel, wrap)
        self._channel = channel


class AdminClient(_Services):
    """A client whose calls block. The first call connects.

    address: `host:port` or `unix:PATH`. credential: a key with a role, or a token; empty with a
    client certificate. It never leaves this machine in the clear: beyond loopback the client uses
    TLS. The constructor raises BadInput for a bad address. A failed call raises AdminError.
    """

    def __init__(self, address: str, *, credential: str = "", tls: Tls | None = None) -> None:
        target, credentials = _channel(address, credential, tls)
        super().__init__(grpc.secure_channel(target, credentials, _OPTIONS), _checked)

    def pages(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """Yield each response (one page) of a list method, from `request.page_token` to the end.

        `request` stays unchanged. Raises AdminError.
        """
        request = _copy(request)
        while True:
            response = method(request)
            yield response
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the channel."""
        self.close()


class AsyncAdminClient(_Services):
    """A client for asyncio. Arguments and errors are those of AdminClient.

    Unary calls are awaited, and calls with a stream of responses are async iterators. One error may
    differ: if the server refuses ImportKeys before it has read every request,
    grpcio may report INTERNAL without details in place of the reason
    (https://github.com/grpc/grpc/issues/36066). AdminClient reports the reason.
    """

    def __init__(self, address: str, *, credential: str = "", tls: Tls | None = None) -> None:
        target, credentials = _channel(address, credential, tls)
        super().__init__(grpc.aio.secure_channel(target, credentials, _OPTIONS), _checked_async)

    async def pages(self, method: Callable[..., Any], request: Any) -> AsyncIterator[Any]:
        """Yield each response (one page) of a list method, from `request.page_token` to the end.

        `request` stays unchanged. Raises AdminError.
        """
        request = _copy(request)
        while True:
            response = await method(request)
            yield response
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the channel."""
        await self.close()


class _Stub:
    """The methods of a generated stub under the same names, each wrapped by `wrap`."""

    def __init__(
        self, stub: Callable[[Any], Any], channel: Any, wrap: Callable[[Any], Any]
    ) -> None:
        for name, call in vars(stub(channel)).items():
            setattr(self, name, wrap(call))

    def __getattr__(self, name: str) -> Any:  # for type checkers: the methods are set above
        raise AttributeError(name)


def _channel(
    address: str, credential: str, tls: Tls | None
) -> tuple[str, "grpc.ChannelCredentials"]:
    """Return the target and the credentials of a channel. Raises BadInput for a bad address.

    A local address without `tls` is not encrypted. Any other address uses TLS; `tls=None` means
    the roots of the system. A `credential` is sent with each call as a bearer token.
    """
    where = Address.parse("address", address)
    if tls is not None or not where.is_local:
        tls = tls or Tls()
        channel = grpc.ssl_channel_credentials(tls.root, tls.key, tls.chain)
    else:
        kind = grpc.LocalConnectionType
        channel = grpc.local_channel_credentials(kind.UDS if where.path else kind.LOCAL_TCP)
    if credential:
        token = grpc.access_token_call_credentials(credential)
        channel = grpc.composite_channel_credentials(channel, token)
    return str(where), channel


def _checked(call: Any) -> Any:
    if isinstance(call, grpc.UnaryUnaryMultiCallable):

        def unary(request: Any, timeout: float | None = TIMEOUT_SECONDS) -> Any:
            try:
                return call(_repeatable(request), timeout=timeout)
            except grpc.RpcError as error:
                raise AdminError.of(error) from None

        return unary

    def stream(request: Any, timeout: float | None = None) -> Iterator[Any]:
        try:
            yield from call(request, timeout=timeout)
        except grpc.RpcError as error:
            raise AdminError.of(error) from None

    return stream


def _checked_async(call: Any) -> Any:
    if isinstance(call, grpc.aio.UnaryUnaryMultiCallable):

        async def unary(request: Any, timeout: float | None = TIMEOUT_SECONDS) -> Any:  # noqa: ASYNC109  of gRPC
            try:
                return await call(_repeatable(request), timeout=timeout)
            except grpc.RpcError as error:
                raise AdminError.of(error) from None

        return unary

    async def stream(request: Any, timeout: float | None = None) -> AsyncIterator[Any]:  # noqa: ASYNC109  of gRPC
        try:
            async for response in call(request, timeout=timeout):
                yield response
        except grpc.RpcError as error:
            raise AdminError.of(error) from None

    return stream


def _repeatable(request: Any) -> Any:
    """Return a copy with a new request id if the request has an empty field `request_id`.

    Return any other request itself.
    """
    if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
        request = _copy(request)
        request.request_id = str(uuid.uuid4())
    return request


def _copy(message: Message) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
