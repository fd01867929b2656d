"""The methods of the admin API: their messages, the right that each needs, and their functions."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from authz.core.roles import Action
from authz.rpc.admin.call_context import CallContext
from authz.rpc.pb.admin.v1 import (
    admin_pb2,
    audit_pb2,
    events_pb2,
    fleet_pb2,
    keys_pb2,
    limits_pb2,
    me_pb2,
    policy_pb2,
    tokens_pb2,
    usage_pb2,
)

Unary = Callable[[Any, CallContext], Awaitable[Message]]
ServerStream = Callable[[Any, CallContext], AsyncIterator[Message]]
BothStreams = Callable[[AsyncIterator[Any], CallContext], AsyncIterator[Message]]

_FILES: Final = (
    *(keys_pb2, policy_pb2, limits_pb2, usage_pb2, tokens_pb2),
    *(audit_pb2, events_pb2, fleet_pb2, me_pb2, admin_pb2),
)
SERVICES: Final[tuple[ServiceDescriptor, ...]] = tuple(
    service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)
"""The descriptors of all services."""

NEEDED: Final[Mapping[str, Action | None]] = {
    "Keys.CreateKey": Action.CREATE,
    "Keys.GetKey": Action.READ_KEYS,
    "Keys.ListKeys": Action.READ_KEYS,
    "Keys.UpdateKey": Action.NARROW,
    "Keys.RotateKey": Action.ROTATE,
    "Keys.RetireKeySecret": Action.RETIRE,
    "Keys.RollBackKey": Action.ROTATE,
    "Keys.RevokeKey": Action.REVOKE,
    "Keys.DisableKey": Action.DISABLE,
    "Keys.EnableKey": Action.ENABLE,
    "Keys.DeleteKey": Action.DELETE,
    "Keys.ListKeyHistory": Action.READ_KEYS,
    "Keys.VerifyKey": Action.VERIFY,
    "Keys.ChangeKeys": Action.READ_KEYS,
    "Keys.ExportKeys": Action.EXPORT,
    "Keys.ImportKeys": Action.IMPORT,
    "Keys.ExportAppliedKeys": Action.EXPORT,
    "Keys.SaveAppliedKeys": Action.UPDATE,
    "Policy.ListRotationPolicies": Action.READ_KEYS,
    "Policy.ListDueKeys": Action.READ_KEYS,
    "Policy.ListPendingDeliveries": Action.READ_KEYS,
    "Limits.GetKeyLimits": Action.READ_LIMITS,
    "Limits.ResetKeyLimits": Action.RESET_LIMITS,
    "Limits.RefundKeyLimits": Action.RESET_LIMITS,
    "Usage.ListUsage": Action.READ_USAGE,
    "Usage.ListTopKeys": Action.READ_USAGE,
    "Usage.ListAnomalies": Action.READ_USAGE,
    "Usage.GetLatestUse": Action.READ_USAGE,
    "Usage.EraseUsage": Action.ERASE_USAGE,
    "Tokens.IssueToken": Action.ISSUE_TOKENS,
    "Tokens.InspectToken": Action.VERIFY,
    "Tokens.ListSigningKeys": Action.READ_SIGNING_KEYS,
    "Tokens.RotateSigningKey": Action.MANAGE_SIGNING_KEYS,
    "Tokens.DeleteSigningKey": Action.MANAGE_SIGNING_KEYS,
    "Audit.ListAuditEntries": Action.READ_AUDIT,
    "Audit.VerifyAuditTrail": Action.VERIFY_AUDIT,
    "Events.ListEvents": Action.READ_AUDIT,
    "Events.ListEventSinks": Action.READ_SINKS,
    "Events.ListDeadEvents": Action.READ_SINKS,
    "Events.ReplayEvents": Action.REPLAY_EVENTS,
    "Fleet.ListSidecars": Action.READ_FLEET,
    "Fleet.ListBlockedClients": Action.READ_FLEET,
    "Fleet.ClearBlockedClients": Action.MANAGE_POLICY,
    "Fleet.AllowNetwork": Action.MANAGE_POLICY,
    "Fleet.WatchChanges": Action.WATCH,
    "Me.GetMyKey": None,
    "Me.GetMyLimits": None,
    "Me.GetMyUsage": None,
    "Me.RotateMyKey": None,
    "Me.RevokeMyKey": None,
    "Admin.WhoAmI": None,
    "Admin.GetInstallation": Action.READ_KEYS,
}
"""The action that a caller must be allowed on some key at least; None: any caller may call it.

This comes first and depends on the caller alone. Then the method asks about the key.
"""


@dataclass(frozen=True, slots=True)
class Method:
    """One method. name: `Keys.GetKey`. path: `/authz.admin.v1.Keys/GetKey`, as gRPC names it."""

    name: str
    path: str
    descriptor: MethodDescriptor
    request: type[Message]
    needed: Action | None
    function: Any

    @property
    def is_unary(self) -> bool:
        """True for one request and one response."""
        return not (self.descriptor.client_streaming or self.descriptor.server_streaming)


def methods(services: Iterable[object]) -> dict[str, Method]:
    """Return all methods by path. services: the objects that have their functions.

    The function of `GetKey` is called `get_key`. Raises LookupError unless exactly one object has
    the function of a method.
    """
    parts = list(services)
    return {method.path: method for method in _methods(parts)}


def _methods(parts: list[object]) -> Iterator[Method]:
    for service in SERVICES:
        for descriptor in service.methods:
            function_name = re.sub(r"(?<!^)(?=[A-Z])", "_", descriptor.name).lower()
            found = [getattr(part, function_name) for part in parts if hasattr(part, function_name)]
            if len(found) != 1:
                raise LookupError(f"{len(found)} services have {function_name}, not one")
            name = f"{service.name}.{descriptor.name}"
            yield Method(
                name,
                f"/{service.full_name}/{descriptor.name}",
                descriptor,
                GetMessageClass(descriptor.input_type),
                NEEDED[name],
                found[0],
            )
