"""A cluster of real servers: three primaries, a replica of each, and spare nodes."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import redis

from authz.storage.cluster import SLOTS, slot_of
from authz.storage.endpoint import Endpoint
from authz.storage.feed import CONNECTION_NAME
from authz.storage.schema import Names
from tests.support.gate import LOSE, PASS, Gate, closed_to_all_but, open_to_all
from tests.support.real import PATIENCE, Valkey, eventually, free_port
from tests.support.started import Started

NAMES = Names(is_clustered=True)
SLOT = slot_of(NAMES.meta)
TIMEOUT_MS = 1500  # cluster-node-timeout
PRIMARIES = 3
SHARE = SLOTS // PRIMARIES + 1  # slots of each primary at first
AGAIN = 0.1  # seconds after which a busy cluster is asked to move names again
FORMING_MS = 15_000  # the same while it forms: no failover on a machine that stands still
LONER = "127.0.0.2"  # the address from which a node connects that can be isolated


class Node(Valkey):
    """One server in cluster mode. names: those of the partition whose slot is looked at."""

    names = NAMES

    def __init__(self, *arguments: str, binary: str = "") -> None:
        self.bus = free_port()
        super().__init__(
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus)),
            *("--cluster-node-timeout", str(TIMEOUT_MS), "--repl-ping-replica-period", "1"),
            *("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"),
            *("--protected-mode", "no"),  # LONER is an address of this machine alone, too
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

    def peers(self) -> int:
        """Return how many nodes it is connected with by their own names, itself included."""
        rows = [row.split() for row in str(self.ask("CLUSTER", "NODES")).splitlines()]
        return sum(row[7] == "connected" and "handshake" not in row[2] for row in rows)

    @property
    def is_primary(self) -> bool:
        """Whether it says that it is a primary."""
        role = self.ask("ROLE")
        return isinstance(role, list) and role[0] == "master"

    @property
    def owns_slot(self) -> bool:
        """Whether it serves our slot as a primary: it takes a write there."""
        return self.is_primary and self.ask("SET", f"{self.names.meta}:probe", 1) in (True, "OK")


class Cluster(Started):
    """An async context manager. `owner` holds our slot at first.

    names: of the partition whose slot is meant. arguments: further ones of each server. replicas:
    of each primary. spare: nodes without slots. binary: the server. make: makes a node of these.
    is_gated: so that `isolate` can be used.
    """

    def __init__(
        self,
        *arguments: str,
        replicas: int = 1,
        spare: int = 0,
        binary: str = "",
        make: Callable[..., Node] = Node,
        is_gated: bool = False,
        names: Names = NAMES,
    ) -> None:
        super().__init__()
        self.names = names
        self._replicas = replicas
        self._members = PRIMARIES * (1 + replicas)  # nodes with slots, and their replicas
        self._spare = spare
        self._make = partial(make, *arguments, binary=binary)
        self._is_gated = is_gated
        self._bus_gates: dict[Node, Gate] = {}
        self._gate: Gate | None = None
        self.nodes: list[Node] = []

    async def _start(self) -> None:
        await self._start_nodes()
        patience = self.nodes[0].admin.config_get("cluster-node-timeout")["cluster-node-timeout"]
        self._set_node_timeout(FORMING_MS)
        await self._form()
        self._set_node_timeout(int(patience))

    async def _start_nodes(self) -> None:
        for number in range(self._members + self._spare):
            if self._is_gated:
                await self._start_gated(is_owner=number == self.slot // SHARE)
            else:
                await asyncio.to_thread(self.start_node)

    async def _form(self) -> None:
        self.primaries = self.nodes[:PRIMARIES]
        self.spare = self.nodes[self._members :]
        for number, primary in enumerate(self.primaries):
            last = min(SLOTS, (number + 1) * SHARE) - 1
            primary.ask("CLUSTER", "ADDSLOTSRANGE", number * SHARE, last)
            primary.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self.owner = self.primaries[self.slot // SHARE]
        for node in self.nodes[1:]:
            self.introduce(node)
        await eventually(lambda: all(node.peers() == len(self.nodes) for node in self.nodes))
        replicas = self.nodes[PRIMARIES : self._members]
        for number, replica in enumerate(replicas):
            primary = self.primaries[number % PRIMARIES].node_id
            assert replica.ask("CLUSTER", "REPLICATE", primary) == "OK"
        self.replicas = [
            node for n, node in enumerate(replicas) if self.primaries[n % PRIMARIES] is self.owner
        ]
        await eventually(lambda: all(map(self._is_well, self.nodes)))
        await eventually(self._is_replicated)

    def start_node(self, *arguments: str) -> Node:
        """Start one more server, which is in no cluster yet."""
        node = self._make(*arguments)
        node.names = self.names
        self.enter_context(node)
        self.nodes.append(node)
        return node

    async def _start_gated(self, *, is_owner: bool) -> None:
        """Start a server whose bus has a gate; that of the owner has one for clients, too."""
        bus, port = free_port(), free_port()
        arguments = ["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-bus-port", str(bus)]
        if is_owner:
            arguments += ["--cluster-announce-port", str(port), "--bind-source-addr", LONER]
        node = await asyncio.to_thread(self.start_node, *arguments)
        self._bus_gates[node] = await self.enter_async_context(Gate(node.bus, bus))
        node.bus = bus
        if is_owner:
            self._gate = await self.enter_async_context(Gate(node.port, port))

    def isolate(self) -> None:
        """Cut the owner off from all nodes, and from all clients but the links of sidecars."""
        assert self._gate is not None
        self._gate.set(closed_to_all_but(CONNECTION_NAME))
        for node, gate in self._bus_gates.items():
            gate.set(
                (lambda _name: (LOSE, LOSE))
                if node is self.owner
                else lambda name: (LOSE, LOSE) if name == LONER else (PASS, PASS)
            )

    def reunite(self) -> None:
        """End what `isolate` has done."""
        assert self._gate is not None
        for gate in (self._gate, *self._bus_gates.values()):
            gate.set(open_to_all)

    def introduce(self, node: Node) -> None:
        """Bring a server into the cluster, without slots."""
        self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)

    def _set_node_timeout(self, ms: int) -> None:
        for node in self.nodes:
            node.admin.config_set("cluster-node-timeout", ms)

    def _is_well(self, node: Node) -> bool:
        return "cluster_state:ok" in str(node.ask("CLUSTER", "INFO"))

    def _is_replicated(self) -> bool:
        return all(
            primary.admin.info("replication")["connected_slaves"] == self._replicas
            for primary in self.primaries
        )

    @property
    def server(self) -> str:
        """The name and version of the servers, such as `valkey 9.1.0`."""
        found = self.nodes[0].admin.info("server")
        name = found.get("server_name", "redis")
        return f"{name} {found.get(f'{name}_version')}"

    @property
    def moves_at_once(self) -> bool:
        """Whether the servers can move a slot in one step, as Valkey 9 can."""
        return "MIGRATESLOTS" in str(self.nodes[0].ask("CLUSTER", "HELP"))

    @property
    def slot(self) -> int:
        """The slot that is meant."""
        return slot_of(self.names.meta)

    def look_at(self, names: Names) -> None:
        """Mean the slot of this partition from now on."""
        self.names = names
        for node in self.nodes:
            node.names = names

    def shares_owner(self, names: Names) -> bool:
        """Return whether the slot of another partition has the same owner at first."""
        return slot_of(names.meta) // SHARE == self.slot // SHARE

    @property
    def url(self) -> str:
        """The value for `redis.url`: the first three nodes."""
        seeds = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:PRIMARIES])
        return f"redis+cluster://{seeds}"

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint for the default user."""
        return Endpoint.parse(self.url)

    def login(self, username: str, file: Path) -> Endpoint:
        """Return the endpoint of another user, whose password is in a file."""
        return Endpoint.parse(self.url, username, file)

    async def fail_over(self) -> Node:
        """Make the first replica of the owner the primary, in good order; return it."""
        heir = self.replicas[0]
        while not heir.owns_slot:
            heir.ask("CLUSTER", "FAILOVER")
            with contextlib.suppress(AssertionError):  # the cluster gives up after 5 s
                await eventually(lambda: heir.owns_slot, 7)
        return heir

    async def move_slot(self, source: Node, target: Node) -> None:
        """Move our slot with all its names, key by key, and tell each primary."""
        await self.begin_move(source, target)
        while names := source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, 100):
            await self.migrate(source, target, *names)
        await self.end_move(target)

    async def begin_move(self, source: Node, target: Node) -> None:
        """Begin to move our slot key by key.

        Gates need that this loop goes on: Valkey answers once the replicas of a node know it, and
        those of the owner follow it through its gate.
        """
        await _asked(target, "SETSLOT", self.slot, "IMPORTING", source.node_id)
        await _asked(source, "SETSLOT", self.slot, "MIGRATING", target.node_id)

    async def migrate(self, source: Node, target: Node, *names: str) -> None:
        """Move some names. Wait while the cluster is down, or the target forgot the move.

        Gates of the bus need this loop: a source that waits for its target must not stop it. The
        copy of a name that the source sent before, and whose answer it missed, is replaced.
        """
        move = ("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *names)
        end = time.monotonic() + PATIENCE
        while (found := await asyncio.to_thread(source.ask, *move)) not in ("OK", "NOKEY"):
            assert time.monotonic() < end, found
            await self.begin_move(source, target)
            await asyncio.sleep(AGAIN)

    async def end_move(self, target: Node) -> None:
        """Give our slot to its new owner, on every primary."""
        for node in (target, *self.primaries):
            await _asked(node, "SETSLOT", self.slot, "NODE", target.node_id)

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

        def owner() -> Node | None:
            return next((node for node in candidates if node.owns_slot), None)

        return await eventually(lambda: asyncio.to_thread(owner), PATIENCE * 2)


async def _asked(node: Node, *command: str | int) -> None:
    """Send a command about the cluster, and ignore its refusal."""
    await asyncio.to_thread(node.ask, "CLUSTER", *command)
