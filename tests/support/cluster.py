"""A cluster of real servers: three primaries, a replica of each, and spare nodes."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Self

import redis

from authz.storage.cluster import SLOTS, slot_of
from authz.storage.endpoint import Endpoint
from authz.storage.schema import Names
from tests.support.real import PATIENCE, Valkey, eventually, free_port

NAMES = Names(is_clustered=True)
SLOT = slot_of(NAMES.meta)
TIMEOUT_MS = 1500  # cluster-node-timeout
PRIMARIES = 3


class Node(Valkey):
    """One server in cluster mode."""

    def __init__(self, *arguments: str, binary: str = "") -> None:
        self.bus = free_port()
        super().__init__(
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus)),
            *("--cluster-node-timeout", str(TIMEOUT_MS), "--repl-ping-replica-period", "1"),
            *("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"),
            *arguments,
            binary=binary,
        )

    @property
    def node_id(self) -> str:
        """Its id in the cluster."""
        return str(self.ask("CLUSTER", "MYID"))

    def ask(self, *command: str | int) -> Any:
        """Return the reply to a command, or the error as a value."""
        try:
            return self.admin.execute_command(*command)
        except redis.RedisError as error:
            return error

    @property
    def is_primary(self) -> bool:
        """Whether it says that it is a primary."""
        role = self.ask("ROLE")
        return isinstance(role, list) and role[0] == "master"

    @property
    def owns_slot(self) -> bool:
        """Whether it serves our slot as a primary: it takes a write there."""
        return self.is_primary and self.ask("SET", f"{NAMES.meta}:probe", 1) in (True, "OK")


class Cluster(contextlib.AsyncExitStack):
    """An async context manager. `owner` holds our slot at first.

    arguments: further ones of each server. replicas: of each primary. binary: the server.
    """

    def __init__(
        self,
        *arguments: str,
        replicas: int = 1,
        spare: int = 0,
        binary: str = "",
        prepare: Callable[[Node], None] = lambda _node: None,
    ) -> None:
        super().__init__()
        self._arguments = arguments
        self._replicas = replicas
        self._spare = spare
        self._binary = binary
        self._prepare = prepare
        self.nodes: list[Node] = []

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self._start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def _start(self) -> None:
        count = PRIMARIES * (1 + self._replicas)
        for _ in range(count + self._spare):
            await asyncio.to_thread(self.start_node)
        self.primaries = self.nodes[:PRIMARIES]
        self.spare = self.nodes[count:]
        share = SLOTS // PRIMARIES + 1
        for number, primary in enumerate(self.primaries):
            last = min(SLOTS, (number + 1) * share) - 1
            primary.ask("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            primary.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number * share <= SLOT <= last:
                self.owner = primary
        for node in self.nodes[1:]:
            self.introduce(node)
        await eventually(lambda: all(self._knows(node) == len(self.nodes) for node in self.nodes))
        members = self.nodes[PRIMARIES:count]
        for number, replica in enumerate(members):
            replica.ask("CLUSTER", "REPLICATE", self.primaries[number % PRIMARIES].node_id)
        self.replicas = [
            node for n, node in enumerate(members) if self.primaries[n % PRIMARIES] is self.owner
        ]
        await eventually(lambda: all(map(self._is_well, self.nodes)))
        await eventually(self._is_replicated)

    def start_node(self) -> Node:
        """Start one more server, which is in no cluster yet."""
        node = Node(*self._arguments, binary=self._binary)
        self.enter_context(node)
        self._prepare(node)
        self.nodes.append(node)
        return node

    def introduce(self, node: Node) -> None:
        """Bring a server into the cluster, without slots."""
        self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)

    def _knows(self, node: Node) -> int:
        return str(node.ask("CLUSTER", "NODES")).count("connected")

    def _is_well(self, node: Node) -> bool:
        return "cluster_state:ok" in str(node.ask("CLUSTER", "INFO"))

    def _is_replicated(self) -> bool:
        return all(
            primary.admin.info("replication")["connected_slaves"] == self._replicas
            for primary in self.primaries
        )

    @property
    def url(self) -> str:
        """The value for `redis.url`: the first three nodes."""
        seeds = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:PRIMARIES])
        return f"redis+cluster://{seeds}"

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint for the default user."""
        return Endpoint.parse(self.url)

    @property
    def others(self) -> Sequence[Node]:
        """The primaries that do not own our slot at first."""
        return [node for node in self.primaries if node is not self.owner]

    def shard_of(self, primary: Node) -> list[Node]:
        """Return a primary and its replicas."""
        own = primary.node_id
        lines = str(primary.ask("CLUSTER", "NODES")).splitlines()
        ids = [line.split()[0] for line in lines if f" {own} " in line]
        return [primary, *(node for node in self.nodes if node.node_id in ids)]

    async def owned_by_another(self, *before: Node) -> Node:
        """Wait until a node besides these serves our slot; return it."""
        candidates = [node for node in self.nodes if node not in before]
        return await eventually(
            lambda: next((node for node in candidates if node.owns_slot), None), PATIENCE * 2
        )
