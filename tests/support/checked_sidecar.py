"""A sidecar process of which a test asks Checks, metrics and the state of its store."""

import time
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.flows.lifecycle import Changed
from authz.rpc.services import CHECK_SERVICE
from tests.support.real import PATIENCE, PAUSE
from tests.support.rpc.messages import check_request
from tests.support.serving import Serving

DIVIDED = {"redis": {"partitions": 8}, "check": {"deadline": "10s"}}


class CheckedSidecar(Serving):
    """A sidecar process, and Checks of it."""

    def status(self, key: Changed | str) -> int:
        """Return the status of the answer to a request with this key."""
        text = key if isinstance(key, str) else key.key_text
        message = check_request([("x-api-key", text or "")]).SerializeToString()
        with grpc.insecure_channel(self.check) as channel:
            check = channel.unary_unary(f"/{CHECK_SERVICE}/Check")
            answer = CheckResponse.FromString(check(message, timeout=20))
        return 200 if answer.HasField("ok_response") else answer.denied_response.status.code or 503

    def statuses(self, keys: list[Changed]) -> list[int]:
        """Return the status of each key."""
        return [self.status(key) for key in keys]

    @property
    def store(self) -> dict[str, Any]:
        """The part of /readyz about the store."""
        found = self.look()[1].get("components", {}).get("store", {})
        assert isinstance(found, dict)
        return found

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        with urllib.request.urlopen(f"{self.ops}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def wait_until_all_are_trusted(self) -> None:
        """Wait until every partition is trusted."""
        waited(lambda: self.store.get("untrusted") == {})


def waited(is_true: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end
        time.sleep(PAUSE)
