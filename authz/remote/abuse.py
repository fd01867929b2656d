"""Blocked clients over the admin API."""

from collections.abc import Sequence

from authz.core.abuse import AbuseState
from authz.core.changes import Author
from authz.remote.calls import Calls
from authz.remote.records import ms_of
from authz.rpc.pb.admin.v1 import fleet_pb2


class RemoteAbuse:
    """AbuseControl over the admin API. The server knows the author by the credential."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def read(self) -> AbuseState:
        """Return the blocked clients and the allowed networks."""
        request = fleet_pb2.ListBlockedClientsRequest()
        response = await self._calls.read(self._calls.client.fleet.ListBlockedClients, request)
        return AbuseState(
            {one.client: ms_of(one.end_time) for one in response.clients},
            {one.network: one.author for one in response.allowed_networks},
        )

    async def clear(self, clients: Sequence[str], author: Author) -> int:
        """End the blocks of these clients; without any, all blocks. Return how many."""
        request = fleet_pb2.ClearBlockedClientsRequest(clients=clients, note=author.note)
        call = self._calls.client.fleet.ClearBlockedClients
        response = await self._calls.change(call, request)
        return int(response.cleared)

    async def allow(self, network: str, author: Author, *, remove: bool = False) -> bool:
        """Allow a network, or take it back. Return whether this changed it."""
        request = fleet_pb2.AllowNetworkRequest(network=network, remove=remove, note=author.note)
        response = await self._calls.change(self._calls.client.fleet.AllowNetwork, request)
        return bool(response.changed)
