"""Keys that are due for a new secret, and new secrets on their way, over the admin API."""

from collections.abc import Sequence
from typing import Final

from authz.flows.due_keys import DueKey
from authz.flows.waiting_deliveries import WaitingDelivery
from authz.remote.calls import Calls
from authz.remote.records import ms_of, record_of
from authz.rpc.admin.values import duration
from authz.rpc.pb.admin.v1 import policy_pb2

PAGE: Final = 1000


class RemoteDueKeys:
    """DueKeyFinder over the admin API, by the policies of the server."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def find(self, within_ms: int) -> Sequence[DueKey]:
        """Return the keys that are due in `within_ms` from now, the most urgent first."""
        request = policy_pb2.ListDueKeysRequest(page_size=PAGE, within=duration(within_ms))
        pages = self._calls.pages(self._calls.client.policy.ListDueKeys, request)
        return [
            DueKey(record_of(one.key), ms_of(one.due_time), one.overdue)
            async for page in pages
            for one in page.due_keys
        ]


class RemoteWaitingDeliveries:
    """WaitingDeliveryFinder over the admin API."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def find(self, kid: str = "") -> Sequence[WaitingDelivery]:
        """Return the deliveries that wait, the oldest first; with a kid those of this key."""
        key = f"keys/{kid}" if kid else ""
        request = policy_pb2.ListPendingDeliveriesRequest(page_size=PAGE, key=key)
        pages = self._calls.pages(self._calls.client.policy.ListPendingDeliveries, request)
        return [
            WaitingDelivery(
                record_of(one.key), one.target, one.secret_id, ms_of(one.begin_time), one.undecided
            )
            async for page in pages
            for one in page.pending_deliveries
            if key in {"", one.key.name}  # an earlier server lists those of all keys
        ]
