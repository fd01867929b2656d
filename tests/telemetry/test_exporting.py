"""A real sidecar exports every series of the catalogue, and no other."""

import random
import string
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from authz import __version__
from authz.core.errors import BadInput
from authz.process.clock import SystemClock
from authz.settings.model import load
from authz.telemetry.catalogue import CHECK_DURATION, CHECKS, METRICS, Kind
from authz.telemetry.observer import EVERY
from authz.wiring.telemetry import Telemetry
from tests.support.real import Valkey, eventually
from tests.support.rpc.messages import check_request
from tests.support.telemetry.receiver import Receiver, Said, attributes
from tests.support.telemetry.sidecar import LEASE, ReportingSidecar, catalogued, telling

HOSTILE = 10_000


def test_the_page_has_every_series_of_the_catalogue_and_no_other(sidecar: ReportingSidecar) -> None:
    """Every series exists from the start."""
    assert set(sidecar.samples()) == catalogued()


def test_checks_are_counted_by_outcome_and_reason(sidecar: ReportingSidecar) -> None:
    """An allow and two kinds of refusal are counted; one of them is an authentication failure."""
    before = sidecar.samples()
    sidecar.allow()
    sidecar.ask(check_request())
    sidecar.ask(check_request([("x-api-key", "ak_live_nonsense")]))
    after = sidecar.samples()

    grown = {name: value - before[name] for name, value in after.items() if value != before[name]}
    missing, malformed = ("reason", "missing_credential"), ("reason", "malformed")
    denied = ("outcome", "denied")
    checks, failures = "authz_checks_total", "authz_authentication_failures_total"
    assert grown[checks, (("outcome", "allowed"), ("reason", "none"))] == 1
    assert grown[checks, (denied, missing)] == grown[checks, (denied, malformed)] == 1
    assert grown[failures, (missing,)] == grown[failures, (malformed,)] == 1
    assert len([name for name, _ in grown if name in {checks, failures}]) == 5


def test_hits_misses_and_durations_add_up(sidecar: ReportingSidecar) -> None:
    """The first Check of a key is a miss, later ones hits. One timed hit counts for many."""
    sidecar.allow()
    before, began = sidecar.samples(), time.monotonic()
    for _ in range(340):
        sidecar.allow()
    took = time.monotonic() - began
    after = sidecar.samples()

    def grown(name: str, **labels: str) -> float:
        series = (name, tuple(sorted(labels.items())))
        return after[series] - before[series]

    assert grown("authz_cache_lookups_total", result="hit") == 340
    assert grown("authz_cache_lookups_total", result="miss") == 0
    assert after["authz_cache_lookups_total", (("result", "miss"),)] >= 1
    assert after["authz_check_duration_seconds_count", (("cache", "miss"),)] >= 1
    assert after["authz_key_lookup_duration_seconds_count", (("result", "found"),)] >= 1
    assert grown("authz_check_duration_seconds_count", cache="hit") == 340
    assert 0 < grown("authz_check_duration_seconds_sum", cache="hit") < EVERY * took


def test_the_state_of_the_store_s_link_is_shown(sidecar: ReportingSidecar) -> None:
    """The metrics show trust, readiness and the sequence number of the last change."""
    assert sidecar.value("authz_trust_held") == sidecar.value("authz_link_up") == 1
    assert sidecar.value("authz_ready") == 1
    assert sidecar.value("authz_link_connects_total") == 1
    assert sidecar.value("authz_change_sequence") == 1
    assert 0 <= sidecar.value("authz_trust_age_seconds") < float(LEASE.removesuffix("s"))
    assert sidecar.value("process_memory_usage_bytes") > 10_000_000
    assert sidecar.value("process_cpu_time_seconds_total", cpu_mode="user") > 0


async def test_the_same_goes_over_otlp(sidecar: ReportingSidecar, receiver: Receiver) -> None:
    """OTLP has every metric with all its series and histogram bounds."""
    sidecar.allow()

    def told() -> dict[str, Said]:
        found = receiver.metrics()
        return found if len(found) == len(METRICS) and timed(found) else {}

    received = await eventually(told)

    for metric in METRICS:
        data = received[metric.name]
        assert data["unit"] == metric.unit
        (points,) = (form["dataPoints"] for form in data.values() if isinstance(form, dict))
        said = [attributes(point) for point in points]
        assert sorted(map(str, said)) == sorted(str(dict(labels)) for labels in metric.series)
        if metric.kind is Kind.HISTOGRAM:
            assert all(tuple(point["explicitBounds"]) == metric.bounds for point in points)
            assert all(sum(map(int, p["bucketCounts"])) == int(p.get("count", 0)) for p in points)
            assert not any("min" in point or "max" in point for point in points)  # not known
    assert received[CHECKS.name]["sum"]["isMonotonic"]


def timed(received: dict[str, Said]) -> int:
    """Return the number of Checks with a duration."""
    points = received[CHECK_DURATION.name]["histogram"]["dataPoints"]
    return sum(int(point.get("count", 0)) for point in points)


async def test_it_says_who_it_is_and_where(
    tmp_path: Path, own_valkey: Valkey, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTLP has the standard resource attributes, and those of the process environment."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=gateway-1,service.name=other")
    telemetry = {
        "otlp": {"endpoint": receiver.endpoint, "interval": "1s"},
        "tracing": {"enabled": True, "sample_ratio": 1},
    }
    with telling(tmp_path, own_valkey, {"telemetry": telemetry}) as sidecar:
        sidecar.allow()
        for kind in ("metrics", "traces"):

            def said(kind: str = kind) -> list[dict[str, Any]]:
                found = receiver.resources(kind)
                return [each for each in found if each.get("k8s.pod.name") == "gateway-1"]

            about = (await eventually(said))[0]
            assert about["service.name"] == "authz"
            assert about["service.version"] == __version__
            assert about["service.instance.id"]
            assert about["telemetry.sdk.language"] == "python"


def hostile(made: random.Random, sidecar: ReportingSidecar) -> bytes:
    """Return a request with random values in every part."""

    def text(length: int = 40) -> str:
        return "".join(made.choices(string.ascii_letters + string.digits, k=length))

    kid = text(16)
    credentials = [
        text(made.randrange(1, 300)),
        f"ak_live_{kid}_1{text(60)}",
        f"ak_test_{kid}_1{text(60)}",
        sidecar.key[:-1] + made.choice("abc"),
        sidecar.key,
        f"{kid},{text()}",
    ]
    headers = [
        ("x-api-key", made.choice(credentials)),
        (text().lower(), text()),
        ("user-agent", text()),
        ("x-request-id", text()),
        ("origin", f"https://{text()}.example"),
        ("content-type", text()),
        ("traceparent", f"00-{made.getrandbits(128):032x}-{made.getrandbits(64):016x}-00"),
    ]
    return check_request(
        made.sample(headers, made.randrange(len(headers))),
        method=made.choice(["GET", "POST", text(6)]),
        host=text(),
        path=f"/{text()}?{text()}={text()}",
        peer=made.choice(["203.0.113.7", text(), ""]),
        extensions={"scopes": text()} if made.random() < 0.2 else None,
    ).SerializeToString()


def test_ten_thousand_hostile_values_make_no_series(sidecar: ReportingSidecar) -> None:
    """Hostile requests add no series, and no series contains a text of a client."""
    made = random.Random(7)
    before = set(sidecar.samples())
    for _ in range(HOSTILE):
        sidecar.ask(hostile(made, sidecar))
    assert set(sidecar.samples()) == before
    page = sidecar.page()
    assert sidecar.kid not in page
    assert sidecar.key[-60:] not in page
    assert sidecar.value("authz_checks_total", outcome="denied", reason="malformed") > 100


def test_with_metrics_off_there_are_none(tmp_path: Path, own_valkey: Valkey) -> None:
    """With metrics off, /metrics is 404 and Checks are answered."""
    with telling(tmp_path, own_valkey, {"telemetry": {"metrics": False}}) as sidecar:
        sidecar.allow()
        with pytest.raises(HTTPError) as refused:
            sidecar.page()
        assert refused.value.code == 404
        refused.value.close()


def test_tracing_without_a_receiver_is_refused() -> None:
    """Tracing without a receiver is refused at the start."""
    settings = load(None, {"telemetry": {"tracing": {"enabled": True}}}, {})
    with pytest.raises(BadInput, match=r"telemetry\.tracing\.enabled: needs telemetry\.otlp"):
        Telemetry(settings, SystemClock())
