"""A sidecar process with a key, its metrics and its log."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from prometheus_client.parser import text_string_to_metric_families

from authz.console.operations import PAGE_SECONDS
from authz.rpc.services import CHECK_SERVICE
from authz.telemetry.catalogue import METRICS, Kind
from tests.support.real import Valkey
from tests.support.rpc.messages import check_request
from tests.support.serving import Serving, prepared

Series = set[tuple[str, tuple[tuple[str, str], ...]]]
TARGET_INFO = "target_info"
LEASE = "10s"


class ReportingSidecar:
    """A running sidecar: `ask` it, and read its metrics and its log."""

    def __init__(self, process: Serving, kid: str, key: str) -> None:
        self.process, self.kid, self.key = process, kid, key
        self._fresh_at = 0.0  # when /metrics is rendered anew
        self._asked = False  # since the last page
        self._channel = grpc.insecure_channel(process.check)
        self._check = self._channel.unary_unary(f"/{CHECK_SERVICE}/Check")

    def ask(self, message: CheckRequest | bytes, traceparent: str = "") -> CheckResponse:
        """Return the answer to a Check. `traceparent` is in the metadata of the call."""
        self._asked = True
        raw = message if isinstance(message, bytes) else message.SerializeToString()
        metadata = (("traceparent", traceparent),) if traceparent else ()
        return CheckResponse.FromString(self._check(raw, metadata=metadata, timeout=10))

    def allow(self, *headers: tuple[str, str], traceparent: str = "") -> None:
        """Send a Check with the key, which must be allowed."""
        answer = self.ask(check_request([("x-api-key", self.key), *headers]), traceparent)
        assert answer.HasField("ok_response")

    def page(self) -> str:
        """Return the page /metrics, rendered after the last Check."""
        if self._asked:
            time.sleep(max(0.0, self._fresh_at - time.monotonic()))
        self._asked = False
        with urllib.request.urlopen(f"{self.process.ops}/metrics", timeout=10) as answer:
            page: str = answer.read().decode()
        self._fresh_at = time.monotonic() + PAGE_SECONDS
        return page

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return every sample of /metrics, by name and labels."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.page())
            for sample in family.samples
            if sample.name != TARGET_INFO
        }

    def value(self, name: str, **labels: str) -> float:
        """Return one sample."""
        return self.samples()[name, tuple(sorted(labels.items()))]

    def log(self) -> str:
        """Return the whole log."""
        return self.process.log.read_text()

    def lines(self, logger: str) -> list[dict[str, Any]]:
        """Return the lines of one logger."""
        written = [json.loads(line) for line in self.log().splitlines()]
        return [line for line in written if line["logger"] == logger]

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


@contextmanager
def telling(
    directory: Path, valkey: Valkey, more: Mapping[str, Mapping[str, Any]] = {}
) -> Iterator[ReportingSidecar]:
    """Run a trusted sidecar with a key, and with long timeouts for a busy machine."""
    chosen = {
        "check": {"transport": "fast", "deadline": "10s"},
        "cache": {"trust_lease": LEASE},
        "log": {"level": "DEBUG"},
    }
    both = {name: chosen.get(name, {}) | dict(more.get(name, {})) for name in chosen.keys() | more}
    process = Serving(directory, valkey, both)
    with ThreadPoolExecutor(1) as thread:  # the test may have a loop of its own
        (issued,) = thread.submit(lambda: asyncio.run(prepared(process.file))).result()
    with process:
        found = ReportingSidecar(process, issued.record.kid, issued.key_text)
        try:
            process.wait_until_ready()
            yield found
        finally:
            found.close()


def catalogued() -> Series:
    """Return every sample of the catalogue, by name and labels."""
    found: Series = set()
    for metric in METRICS:
        for labels in metric.series:
            said = {name.replace(".", "_"): value for name, value in labels.items()}
            if metric.kind is Kind.HISTOGRAM:
                bucket, *rest = metric.samples
                for le in metric.prometheus_labels["le"]:
                    found.add((bucket, tuple(sorted({**said, "le": le}.items()))))
                found |= {(name, tuple(sorted(said.items()))) for name in rest}
            else:
                (name,) = metric.samples
                found.add((name, tuple(sorted(said.items()))))
    return found
