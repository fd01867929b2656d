"""The admin API on a real store: a running process of it, callers of every kind, and its stubs."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from authz.core.listen_address import Address
from authz.core.new_keys import KeySpec
from authz.core.roles import Role
from authz.rpc.admin.api_error import STATUS_DETAILS
from authz.rpc.pb.admin.v1 import (
    admin_pb2_grpc,
    audit_pb2_grpc,
    events_pb2_grpc,
    fleet_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    limits_pb2_grpc,
    me_pb2_grpc,
    policy_pb2_grpc,
    tokens_pb2_grpc,
    usage_pb2_grpc,
)
from authz.settings.model import Settings
from authz.storage import schema
from authz.wiring import administration
from authz.wiring.admin import AdminProcess, admin_process
from tests.support.real import Valkey

PEPPER = b"a pepper of the tests of the admin API, long enough"
DAY = 86_400_000


class Stubs:
    """The generated stubs of every service over one channel, with the credential of one caller.

    blocking: a channel to the same server, for `import_keys`.
    """

    def __init__(
        self, channel: grpc.aio.Channel, key: str = "", blocking: grpc.Channel | None = None
    ) -> None:
        self.channel = channel
        self.blocking = blocking
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self.keys = _with(keys_pb2_grpc.KeysStub(channel), self.metadata)
        self.policy = _with(policy_pb2_grpc.PolicyStub(channel), self.metadata)
        self.limits = _with(limits_pb2_grpc.LimitsStub(channel), self.metadata)
        self.usage = _with(usage_pb2_grpc.UsageStub(channel), self.metadata)
        self.tokens = _with(tokens_pb2_grpc.TokensStub(channel), self.metadata)
        self.audit = _with(audit_pb2_grpc.AuditStub(channel), self.metadata)
        self.events = _with(events_pb2_grpc.EventsStub(channel), self.metadata)
        self.fleet = _with(fleet_pb2_grpc.FleetStub(channel), self.metadata)
        self.me = _with(me_pb2_grpc.MeStub(channel), self.metadata)
        self.admin = _with(admin_pb2_grpc.AdminStub(channel), self.metadata)

    async def import_keys(
        self, requests: Iterable[keys_pb2.ImportKeysRequest]
    ) -> list[keys_pb2.ImportKeysResponse]:
        """Return the responses of ImportKeys."""
        call = keys_pb2_grpc.KeysStub(self.blocking).ImportKeys
        return await exchange(call, requests, metadata=self.metadata, timeout=30)


async def exchange(call: Any, requests: Iterable[Any], **options: Any) -> list[Any]:
    """Return the responses of a call of a blocking client that streams its requests.

    grpcio's asyncio client is unfit for such calls. If the server refuses the call before it has
    read every request, a request that the client still writes fails in Core. Then
    `_StreamRequestMixin._write` replaces the status that the server sent by INTERNAL "Internal
    error from Core" without details: https://github.com/grpc/grpc/issues/36066. With grpcio 1.85.1
    half of the refused calls of three requests end so. The blocking client keeps the status.
    """
    return await asyncio.to_thread(lambda: list(call(iter(requests), **options)))


class _with:  # noqa: N801  a function in all but name
    """A stub whose calls have metadata."""

    def __init__(self, stub: Any, metadata: Any) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._stub, name)

        def with_metadata(request: Any, **options: Any) -> Any:
            return call(request, **({"metadata": self._metadata, "timeout": 30} | options))

        return with_metadata


@dataclass(slots=True)
class AdminRig:
    """A running admin API, and its settings."""

    process: AdminProcess
    settings: Settings
    channel: grpc.aio.Channel
    blocking: grpc.Channel

    async def issue(self, scopes: Sequence[str] = (), **fields: Any) -> tuple[str, str]:
        """Issue a key by the flow of the command line. Return its kid and its text."""
        spec = KeySpec(
            **{"client_id": "ops", "env": "live", "life_ms": DAY, "scopes": frozenset(scopes)}
            | fields
        )
        async with administration.administration(self.settings) as lifecycle:
            changed = await lifecycle.issue(spec, lifecycle.author("tests"))
        return changed.record.kid, changed.key_text or ""

    async def caller(self, *roles: Role, **fields: Any) -> Stubs:
        """Return the stubs of a caller whose key has these roles, in its tenant and project."""
        _, text = await self.issue([role.scope for role in roles], **fields)
        return Stubs(self.channel, text, self.blocking)

    async def garble(self, kid: str) -> None:
        """Damage the record of a key."""
        await self.alter(kid, "schema", "x")

    async def alter(self, kid: str, field: str, text: str) -> None:
        """Write a field of the record of a key, as somebody without the pepper can."""
        async with administration.endpoint(self.settings).client() as client:
            await client.hset(schema.DEFAULT.key(kid), field, text)

    def stubs(self, key: str = "") -> Stubs:
        """Return the stubs of the holder of a key, or of nobody."""
        return Stubs(self.channel, key, self.blocking)


def admin_settings(valkey: Valkey, directory: Path, **admin: Any) -> Settings:
    """Return settings for the server, with a pepper in `directory` and free ports."""
    pepper = directory / "pepper"
    pepper.write_bytes(PEPPER)
    pepper.chmod(0o600)
    free = Address("127.0.0.1", 0)
    return Settings.parse(
        {
            "redis": {"url": valkey.url},
            "keys": {"peppers": [{"version": "1", "file": str(pepper)}]},
            "plans": {"standard": ["10/s", "1000/d"]},
            "rotation": {"plans": {"standard": {"rotate_every": "1d"}}},
            "events": {"sinks": {"siem": {"kind": "log", "types": ["authz.key.*"]}}},
            "tokens": {"issuer": "https://auth.example.com", "audiences": ["api", "web"]},
            "admin": {"listen": str(free), "http_listen": str(free)} | admin,
        }
    )


@asynccontextmanager
async def admin_rig(settings: Settings, *, initialise: bool = True) -> AsyncIterator[AdminRig]:
    """Initialise the store and run the admin API until the block ends."""
    if initialise:
        ring = administration.keyring(settings)
        async with administration.stores(settings) as stores:
            for store in stores:
                await store.initialise(ring.fingerprints, ring.prefixes, ring.public_prefix)
    async with admin_process(settings) as process:
        address = str(process.server.address)
        async with grpc.aio.insecure_channel(address) as channel:
            with grpc.insecure_channel(address) as blocking:
                yield AdminRig(process, settings, channel, blocking)
        await process.server.stop(0)


def reason_of(error: grpc.RpcError) -> str:
    """Return the reason of an error's ErrorInfo. There is exactly one, of our domain."""
    (info,) = [
        detail for detail in details_of(error) if isinstance(detail, error_details_pb2.ErrorInfo)
    ]
    assert info.domain == "authz"
    return info.reason


def fields_of(error: grpc.RpcError) -> list[str]:
    """Return the fields of an error's BadRequest; empty without one."""
    return [
        violation.field
        for detail in details_of(error)
        if isinstance(detail, error_details_pb2.BadRequest)
        for violation in detail.field_violations
    ]


def details_of(error: Any) -> list[Any]:
    """Return the details of an error, which are of the standard kinds."""
    raw = dict(error.trailing_metadata() or ())[STATUS_DETAILS]
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found = []
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])
        detail = kind()
        assert packed.Unpack(detail)
        found.append(detail)
    return found
