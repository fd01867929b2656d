"""FunctionLoading: keeps the functions on the owner of our slot, for a long process."""

import logging

import redis.asyncio

from authz.core.errors import Unavailable
from authz.core.listen_address import Address
from authz.storage import functions
from authz.storage.cluster_client import ClusterClient

log = logging.getLogger("authz.store")


class FunctionLoading:
    """Loads the functions on the primaries of a cluster whenever another node owns our slot.

    A function does not move with a slot, so a new node has none. A single store keeps its own.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._loaded_for: Address | None = None

    async def follow(self) -> None:
        """Load them if the owner is another one than at the last call. Raises nothing.

        Call it after the store has answered. A refusal is logged once for each owner, and another
        failure leads to the next try.
        """
        if not isinstance(self._client, ClusterClient):
            return
        owner = self._client.nodes.named
        if owner == self._loaded_for:
            return
        try:
            problem = await functions.load(self._client)
        except Unavailable:
            return
        self._loaded_for = owner
        if problem:
            log.warning("functions are not loaded everywhere: %s", problem)
