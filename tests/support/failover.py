"""A store behind Sentinel: real processes, and a gate that can isolate the first primary."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import redis

from authz.cli import binaries
from authz.core.listen_address import Address
from authz.storage.endpoint import Endpoint
from authz.storage.sentinel import Sentinel
from tests.support.gate import Gate
from tests.support.real import PATIENCE, PAUSE, Valkey, eventually, free_port
from tests.support.started import Started

SERVICE = "mymaster"
# Nothing is written to a primary that no replica has followed for a second or two.
GUARDED = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")
TILT = 3000  # milliseconds for which a Sentinel that stood still does nothing; 30 s by default
QUICK = ("--repl-ping-replica-period", "1", "--repl-timeout", "5")


class Replicated(Started):
    """A primary behind a gate, two replicas and one Sentinel; an async context manager.

    down_after: milliseconds of silence after which the Sentinel promotes a replica. The Sentinel
    checks once a second, so a smaller value makes it suspect the new primary too.
    """

    def __init__(self, down_after: int = 1200) -> None:
        super().__init__()
        self._down_after = down_after
        self.sentinel_port = free_port()

    async def _start(self) -> None:
        self.primary = self.enter_context(Valkey(*GUARDED, *QUICK))
        self.gate = await self.enter_async_context(Gate(self.primary.port))
        following = ("--replicaof", "127.0.0.1", str(self.gate.port))
        self.replicas = [
            await asyncio.to_thread(self.enter_context, Valkey(*following, *GUARDED, *QUICK))
            for _ in range(2)
        ]
        await eventually(lambda: self.primary.admin.info("replication")["connected_slaves"] == 2)
        await eventually(lambda: self.primary.admin.info("replication")["min_slaves_good_slaves"])
        self._start_sentinel()
        self.monitor = redis.Redis(port=self.sentinel_port, decode_responses=True)
        self.callback(self.monitor.close)
        await asyncio.to_thread(self._wait_for_sentinel)
        self.monitor.execute_command("SENTINEL", "DEBUG", "tilt-period", TILT)

    def _start_sentinel(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="authz-"))
        self.callback(shutil.rmtree, directory)
        lines = [
            f"port {self.sentinel_port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.gate.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after}",
            f"sentinel failover-timeout {SERVICE} 2000",
        ]
        file = directory / "sentinel.conf"
        file.write_text("\n".join(lines) + "\n")
        with (directory / "log").open("wb") as output:
            process = subprocess.Popen(
                [str(binaries.valkey_server()), str(file), "--sentinel"],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.callback(process.wait)
        self.callback(process.kill)

    def _wait_for_sentinel(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError):
                found = self.monitor.sentinel_master(SERVICE)
                if found["num-slaves"] == 2 and found["flags"] == "master":
                    return
            time.sleep(PAUSE)
        raise AssertionError("the Sentinel did not find the replicas")

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint behind Sentinel."""
        hosts = (Address("127.0.0.1", self.sentinel_port),)
        return Endpoint.parse("redis://unused", sentinel=Sentinel(hosts, SERVICE))

    async def failed_over(self) -> Valkey:
        """Wait until a replica is the primary and the other replica follows it; return it."""
        return await eventually(self._heir, 90)

    def _heir(self) -> Valkey | None:
        named = self.monitor.sentinel_master(SERVICE)
        heir = next((replica for replica in self.replicas if replica.port == named["port"]), None)
        if heir is None or named["flags"] != "master":
            return None
        return heir if heir.admin.info("replication")["min_slaves_good_slaves"] else None
