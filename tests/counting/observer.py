"""The observer: finds out which writes of which node every replica had."""

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Self

import redis

from authz.storage.endpoint import Endpoint
from tests.counting.judge import Acknowledged
from tests.support.cluster import Cluster, Node

EVERY = 0.2  # seconds
WAIT_MS = 100
LATE = 0.5  # seconds for the reply of a node


class Observer:
    """A context manager. A thread for each node writes into all partitions and waits for replicas.

    acknowledged: by partition. An answer of a node that another shard owns says nothing.
    """

    def __init__(self, cluster: Cluster, endpoint: Endpoint) -> None:
        self._cluster = cluster
        self._names = [f"{one.names.meta}:watched" for one in endpoint.partitions()]
        self.acknowledged: dict[int, list[Acknowledged]] = {
            partition: [] for partition in range(len(self._names))
        }
        self.confirmed = 0
        self._over = threading.Event()
        self._threads: dict[Node, threading.Thread] = {}
        self._watch = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._watch.join()
        for thread in self._threads.values():
            thread.join()

    def reigns(self) -> dict[int, Sequence[Acknowledged]]:
        """Return what was acknowledged, by partition, in the order of the times."""
        return {at: sorted(found) for at, found in self.acknowledged.items()}

    def _follow(self) -> None:
        """Start a thread for each node that joins."""
        while not self._over.wait(EVERY):
            for node in [one for one in self._cluster.nodes if one not in self._threads]:
                thread = threading.Thread(target=self._ask, args=(node,), daemon=True)
                self._threads[node] = thread
                thread.start()

    def _ask(self, node: Node) -> None:
        client = redis.Redis(port=node.port, socket_timeout=LATE, socket_connect_timeout=LATE)
        replicas = 0
        while not self._over.wait(EVERY) and node in self._cluster.nodes:
            with contextlib.suppress(redis.RedisError, OSError):
                replicas = self._once(client, node.port, replicas)
        client.close()

    def _once(self, client: redis.Redis, port: int, replicas: int) -> int:
        """Write, and wait for so many replicas. Return how many the node has."""
        pipe = client.pipeline(transaction=False)
        pipe.time().info("replication")
        for name in self._names:
            pipe.set(name, time.time())
        pipe.wait(replicas, WAIT_MS)
        when, role, *written, had = pipe.execute(raise_on_error=False)
        if isinstance(when, Exception) or isinstance(role, Exception):
            return 0
        seconds, microseconds = when
        has = role["connected_slaves"] if role["role"] == "master" else 0
        if replicas and replicas == has == had:
            at = seconds * 1_000_000 + microseconds
            for partition, reply in enumerate(written):
                if reply is True:
                    self.acknowledged[partition].append(Acknowledged(at, port))
                    self.confirmed += 1
        return has
