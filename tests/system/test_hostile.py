"""Hostile requests through real Envoys: none is allowed, and no key comes out anywhere.

HOSTILE_REQUESTS sets how many there are for each Envoy over HTTP/1.1; half as many more come over
HTTP/2. `make hostile` sends 10,000 and 5,000.
"""

import asyncio
import json
import os
import random
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hostile import Canaries, request, send, send_http2, trailers
from tests.support.system import Installation, running

REQUESTS = int(os.environ.get("HOSTILE_REQUESTS", "400"))
SEED = 20261128


def as_shipped(_manager: dict[str, Any]) -> None:
    """envoy.yaml as users copy it."""


def as_in_a_mesh(manager: dict[str, Any]) -> None:
    """Without normalisation, without allowed_headers, and with duplicates kept apart."""
    for name in ("normalize_path", "merge_slashes", "path_with_escaped_slashes_action"):
        del manager[name]
    asking = manager["http_filters"][0]["typed_config"]
    del asking["allowed_headers"]
    asking["encode_raw_headers"] = True


@pytest.fixture(params=[as_shipped, as_in_a_mesh], ids=lambda alter: alter.__name__)
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """An installation with one of the two Envoys. Every refusal may have a log line."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUTHZ_TELEMETRY__DENIALS_PER_SECOND", "100000")
        environment.setenv("AUTHZ_LOG__LEVEL", "DEBUG")
        environment.setenv("AUTHZ_EXTRACT__QUERY", "api_key")
        alter: Callable[[dict[str, Any]], None] = request.param
        with running(alter) as (stack, _):
            yield Installation(stack)


def page(installation: Installation) -> str:
    """All that the operations listener shows."""
    shown = []
    for path in ("/metrics", "/readyz", "/healthz"):
        with urllib.request.urlopen(f"{installation.stack.ops}{path}", timeout=30) as answer:
            shown.append(answer.read().decode())
    return "\n".join(shown)


def allowed(metrics: str) -> float:
    """How many Checks were allowed."""
    lines = [li for li in metrics.splitlines() if li.startswith("authz_checks_total{")]
    return sum(float(li.split()[-1]) for li in lines if 'outcome="allowed"' in li)


def is_from_the_backend(response: bytes) -> bool:
    """Did the echo backend answer?"""
    return b'"headers": {' in response or b"BaseHTTP" in response


def without_early_ids(log: str) -> str:
    """Envoy's log without the ids of requests that it rejected itself.

    It logs x-request-id as the client sent it, if it rejects a request before it replaces the id.
    """
    return re.sub(r'("charge_id":null.*"request_id":)"[^"]*"', r"\1null", log)


@pytest.mark.timeout(120 + REQUESTS // 10)
def test_no_hostile_request_is_allowed_and_no_key_is_seen(installation: Installation) -> None:
    """Not by the backend, in an answer, a log line, a metric or a page of the sidecar."""
    chance = random.Random(SEED)
    canaries = Canaries.beside(installation.stack.key)
    places = ("target", "surroundings")
    hostile = [request(chance, canaries, places) for _ in range(REQUESTS)]
    with_http2 = [request(chance, canaries, places) for _ in range(REQUESTS // 2)]
    last = [trailers(chance, canaries) for _ in with_http2]

    responses = asyncio.run(send(installation.stack.envoy, hostile))
    responses += asyncio.run(send_http2(installation.stack.envoy, with_http2, last))
    hostile += with_http2

    assert sum(map(bool, responses[REQUESTS:])) > REQUESTS / 4
    reached = [
        (raw, response)
        for raw, response in zip(hostile, responses, strict=True)
        if is_from_the_backend(response)
    ]
    assert not reached, reached[0]
    shown = page(installation)
    assert allowed(shown) == 0
    directory = Path(installation.stack.config).parent
    log = (directory / "sidecar.log").read_text()
    assert log.count('"logger": "authz.denied"') > REQUESTS / 4
    answers = b"\n".join(responses).decode("latin-1")
    envoy_log = without_early_ids((directory / "envoy.log").read_text())
    seen = {"answers": answers, "pages": shown, "log": log, "envoy's log": envoy_log}
    leaks = {where: canaries.leaks(text) for where, text in seen.items()}
    assert {where: found for where, found in leaks.items() if found} == {}
    assert envoy_log
    # A gRPC caller gets 200 and a grpc-status.
    statuses = Counter(r[9:12] for r in responses if b"\r\ngrpc-status: " not in r)
    print(installation.stack.envoy, dict(statuses))
    assert statuses[b"401"] > REQUESTS / 4
    assert not set(statuses) - {b"", b"400", b"401"}, statuses


@pytest.mark.timeout(120 + REQUESTS // 10)
def test_no_key_reaches_the_backend_where_refusals_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same carriers, with check.enforce false: the requests go on, and no key with them."""
    monkeypatch.setenv("AUTHZ_CHECK__ENFORCE", "false")
    chance = random.Random(SEED)
    with running() as (stack, _):
        canaries = Canaries.beside(stack.key)
        hostile = [request(chance, canaries, ()) for _ in range(REQUESTS // 4)]
        last = [trailers(chance, canaries) for _ in hostile]
        responses = asyncio.run(send(stack.envoy, hostile))
        responses += asyncio.run(send_http2(stack.envoy, hostile, last))
    heads = [response.partition(b"\r\n\r\n") for response in responses]
    arrived = [json.loads(body) for _, _, body in heads if is_from_the_backend(body)]
    assert len(arrived) > REQUESTS / 20
    carriers = [
        value
        for request in arrived
        for name, value in request["headers"].items()
        if name in {"x-api-key", "authorization"}
    ]
    assert not canaries.leaks("\n".join(carriers).replace(canaries.foreign, ""))
    assert all("x-api-key" not in request["headers"] for request in arrived)
