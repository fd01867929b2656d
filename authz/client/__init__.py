"""A client of the admin API, for programs in Python.

    from authz.client import AdminClient, keys_pb2

    with AdminClient("127.0.0.1:9193", credential=key) as admin:
        for page in admin.pages(admin.keys.ListKeys, keys_pb2.ListKeysRequest()):
            print([key.name for key in page.keys])

`AsyncAdminClient` is the same with `async with`, `await` and `async for`. Methods and messages are
those of `proto/authz/admin/v1`.
"""

from authz.client.client import AdminClient, AsyncAdminClient
from authz.client.error import AdminError
from authz.rpc.pb.admin.v1 import (
    admin_pb2,
    audit_pb2,
    events_pb2,
    fleet_pb2,
    key_pb2,
    keys_pb2,
    limits_pb2,
    me_pb2,
    policy_pb2,
    tokens_pb2,
    usage_pb2,
)

__all__ = [
    "AdminClient",
    "AdminError",
    "AsyncAdminClient",
    "admin_pb2",
    "audit_pb2",
    "events_pb2",
    "fleet_pb2",
    "key_pb2",
    "keys_pb2",
    "limits_pb2",
    "me_pb2",
    "policy_pb2",
    "tokens_pb2",
    "usage_pb2",
]
