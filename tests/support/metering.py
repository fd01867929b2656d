"""Meters in this process or as processes of their own, and clients that send them log entries."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError

import grpc
import grpc.aio
import yaml

from authz.core.listen_address import Address
from authz.rpc.pb.usage.v1.otlp_logs_pb2 import ExportLogsServiceRequest
from authz.rpc.usage.logs import PATH
from tests.support.real import free_port


def batch(*lines: bytes) -> bytes:
    """Return an Export message with these entries, as Envoy sends them."""
    message = ExportLogsServiceRequest()
    logs = message.resource_logs.add().scope_logs.add()
    for text in lines:
        logs.log_records.add().body.string_value = text
    return message.SerializeToString()


async def export(
    address: Address, raw: bytes, *, token: str = "", credentials=None, seconds: float = 20.0
) -> bytes:
    """Call Export over a connection of its own. Raises grpc.aio.AioRpcError."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        channel = grpc.aio.insecure_channel(str(address), options)
    else:
        channel = grpc.aio.secure_channel(str(address), credentials, options)
    metadata = [("authorization", f"Bearer {token}")] if token else None
    async with channel:
        call = channel.unary_unary(PATH.decode())
        return await call(raw, timeout=seconds, metadata=metadata, wait_for_ready=True)


class MeterProcess:
    """`authz meter` as a process. `start` may be called again once it has ended.

    url: of the store. mutant: one of tests/metering/worker.py, or "".
    """

    def __init__(self, directory: Path, url: str, mutant: str = "", **more) -> None:
        self.listen = Address("127.0.0.1", free_port())
        self.ops = f"127.0.0.1:{free_port()}"
        self.file = directory / f"meter-{self.listen.port}.yaml"
        self.log = self.file.with_suffix(".log")
        ours = {"listen": str(self.listen), "ops_listen": self.ops} | more
        self.file.write_text(yaml.safe_dump({"meter": ours, "redis": {"url": url}}))
        self._module = ("tests.metering.worker", mutant) if mutant else ("authz.cli.main",)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_exc):
        self.kill()

    def start(self) -> None:
        """Start the process. Does not wait until it answers."""
        command = [sys.executable, "-m", *self._module, "--config", str(self.file), "meter"]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, stderr=output)

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL. Does nothing if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wait(self) -> int:
        """Wait for its end. Return its exit status."""
        assert self._process is not None
        return self._process.wait(60)

    def look(self, path: str = "/readyz") -> tuple[int, str]:
        """Return the status and the text of an operations path; status 0 without an answer."""
        try:
            with urllib.request.urlopen(f"http://{self.ops}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except (URLError, OSError):
            return 0, ""

    def is_ready(self) -> bool:
        """Return whether /readyz is ready."""
        return self.look()[0] == 200

    def components(self) -> dict:
        """Return the components of /readyz."""
        return json.loads(self.look()[1])["components"]
