"""Envoy and the settings accept the YAML blocks of the pages."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from google.protobuf import any_pb2, json_format

from authz.rpc.check.override import METHOD_OVERRIDES
from authz.settings import model
from tests.support.docs import ROOT
from tests.support.docs.pages import PART

WRITTEN = ("README.md", "docs/envoy.md", "docs/routes.md", "docs/limits.md")
BLOCKS = [
    block
    for page in WRITTEN
    for block in re.findall(
        r"^```yaml\n(.*?)^```", PART.sub("", (ROOT / page).read_text()), re.M | re.DOTALL
    )
]
DOCUMENTS = [document for block in BLOCKS for document in yaml.safe_load_all(block)]
assert ext_authz_pb2  # imported, so that json_format knows its messages


def messages(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the outermost parts that name their message of Envoy's API."""
    if isinstance(node, dict) and "@type" in node:
        yield node
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from messages(inner)


def filters(manager: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the configurations of the HTTP filters of a connection manager."""
    for each in manager.get("http_filters", ()):
        yield each["typed_config"]


PARTIAL = ("grpc_service", "allowed_headers")
MESSAGES = [message for document in DOCUMENTS for message in messages(document)]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message["@type"].split(".")[-1])
def test_envoy_s_parts_have_fields_that_exist(message: dict[str, Any]) -> None:
    """Each part parses as the message that it names."""
    assert json_format.ParseDict(message, any_pb2.Any()).value


def test_there_are_such_parts() -> None:
    """README.md shows the filter, docs/envoy.md the requirements of a route."""
    assert [message["@type"].rpartition(".")[2] for message in MESSAGES] == [
        "ExtAuthz",
        "ExtAuthzPerRoute",
    ]


def test_the_filter_of_the_front_page_is_that_of_envoy_yaml() -> None:
    """Each field that README.md shows has the value that envoy.yaml has, apart from its headers."""
    shipped = yaml.safe_load((ROOT / "envoy.yaml").read_text())
    found = [m for m in messages(shipped) for m in filters(m) if m["@type"] == MESSAGES[0]["@type"]]
    (ours,) = found
    shown = {name: value for name, value in MESSAGES[0].items() if name not in PARTIAL}
    assert shown == {name: ours[name] for name in shown}
    for name in PARTIAL:
        assert set(MESSAGES[0][name]) <= set(ours[name])


def test_the_routes_are_settings() -> None:
    """Blocks with routes load as settings, with everything else in them."""
    documents = [document for document in DOCUMENTS if "routes" in document]
    assert documents
    issuer = {"identity": {"assertion_issuer": "https://gate.example.com"}}  # some routes need one
    for routes in documents:
        assert len(model.load(None, issuer | routes, {}).routes) == len(routes["routes"])


@pytest.mark.parametrize(
    "name",
    [
        "envoy.yaml",
        "deploy/k8s/base/envoy.yaml",
        "deploy/systemd/envoy.yaml",
        "deploy/k8s/overlays/istio/envoyfilter.yaml",
    ],
)
def test_envoy_shows_the_sidecar_the_headers_that_name_another_method(name: str) -> None:
    """Without them a rule for a method could be escaped."""
    text = (ROOT / name).read_text()
    assert all(f"exact: {header}, ignore_case: true" in text for header in METHOD_OVERRIDES)
