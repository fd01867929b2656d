"""Requests that try to get around envoy.yaml, through a real Envoy without authz."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.proxy.envoys import manager_of, running, without_authz
from tests.support.proxy.faults import HTTP2
from tests.support.proxy.raw import (
    http2_backend,
    post_with_trailers,
    raw_request,
    upgrading_backend,
)
from tests.support.real import free_port

SPEAKS_HTTP2 = {
    "@type": f"type.googleapis.com/{HTTP2}",
    "explicit_http_config": {"http2_protocol_options": {}},
}
UPGRADE = ["GET /upgrade HTTP/1.1", "Host: a", "Upgrade: websocket"]


def configuration(port: int, behind: int) -> dict[str, Any]:
    """Return envoy.yaml without authz, for upgrades and with loopback as internal addresses."""
    whole = without_authz(free_port(), port, behind)
    manager_of(whole).update(
        upgrade_configs=[{"upgrade_type": "websocket"}],
        internal_address_config={
            "cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}],
        },
    )
    return whole


def to_http2(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with a backend that speaks HTTP/2."""
    (backend,) = whole["static_resources"]["clusters"]
    backend["typed_extension_protocol_options"] = {HTTP2: SPEAKS_HTTP2}
    return whole


def test_trailers_carry_no_identity(tmp_path: Path):
    """Identity headers in trailers of a client do not reach an HTTP/2 backend."""
    port = free_port()
    with http2_backend() as (behind, blocks):
        whole = to_http2(configuration(port, behind))
        with running(whole, tmp_path / "envoy.yaml"):
            sent = [("x-auth-client-id", "evil"), ("x-auth-made-up", "evil"), ("x-ok", "1")]
            assert post_with_trailers(port, [("x-auth-env", "evil")], sent) == "200"
        headers, trailers = blocks.get(timeout=20), blocks.get(timeout=20)
    assert not [name for name, _ in headers if name.startswith("x-auth-")]
    assert trailers == [("x-ok", "1")]


def test_an_internal_client_cannot_send_the_address_header(tmp_path: Path):
    """x-envoy-external-address of a client in internal_address_config is removed."""
    port = free_port()
    with http2_backend() as (behind, blocks):
        whole = to_http2(configuration(port, behind))
        with running(whole, tmp_path / "envoy.yaml"):
            sent = [("x-envoy-external-address", "203.0.113.7")]
            assert post_with_trailers(port, sent, [("x-ok", "1")]) == "200"
        arrived = dict(blocks.get(timeout=20))
    assert arrived["x-envoy-internal"] == "true"
    assert "x-envoy-external-address" not in arrived


def test_the_connection_header_of_an_upgrade_names_no_identity_header(tmp_path: Path):
    """An upgrade reaches the backend with `Connection: upgrade` and no other token."""
    port = free_port()
    with upgrading_backend() as (behind, heads):
        with running(configuration(port, behind), tmp_path / "envoy.yaml"):
            sent = [*UPGRADE, "Connection: Upgrade, x-auth-client-id, X-Auth-Key-Id"]
            with raw_request(port, sent) as connection:
                assert connection.recv(12) == b"HTTP/1.1 101"
        head = heads.get(timeout=20).lower().decode()
    assert [line for line in head.splitlines() if line.startswith("connection")] == [
        "connection: upgrade"
    ]
    assert "x-auth-" not in head


def test_an_open_stream_ends(tmp_path: Path):
    """A WebSocket ends after max_stream_duration of its route."""
    port = free_port()
    with upgrading_backend() as (behind, _):
        whole = configuration(port, behind)
        for route in manager_of(whole)["route_config"]["virtual_hosts"][0]["routes"]:
            if "route" in route:
                bound = route["route"]["max_stream_duration"]
                assert bound == {"max_stream_duration": "3600s"}
                bound["max_stream_duration"] = "0.3s"
        with (
            running(whole, tmp_path / "envoy.yaml"),
            raw_request(port, [*UPGRADE, "Connection: Upgrade"]) as connection,
        ):
            stream = connection.makefile("rb")
            assert stream.readline().startswith(b"HTTP/1.1 101")
            assert stream.read() is not None  # returns at the end of the stream


@pytest.mark.parametrize("name", ["deploy/k8s/base/envoy.yaml", "deploy/systemd/envoy.yaml"])
def test_a_copy_of_envoy_yaml_differs_only_as_it_says(name: str):
    """Only addresses, and what several sidecars need, differ from envoy.yaml."""
    root = Path(__file__).parents[2]
    ours, copied = (yaml.safe_load((root / f).read_text()) for f in ("envoy.yaml", name))
    for whole in (ours, copied):
        for cluster in whole["static_resources"]["clusters"]:
            cluster["load_assignment"] = cluster["type"] = None
        options = whole["static_resources"]["clusters"][0]["typed_extension_protocol_options"]
        if "systemd" in name:
            options[HTTP2].pop("retry_policy", None)
            options[HTTP2].pop("common_http_protocol_options", None)
            whole["static_resources"]["clusters"][0].pop("common_lb_config", None)
    assert json.dumps(copied) == json.dumps(ours)
