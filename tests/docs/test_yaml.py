"""The YAML of README.md is what Envoy and the settings read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from google.protobuf import any_pb2, json_format

from authz.settings import model

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.DOTALL)
DOCUMENTS = [document for block in BLOCKS for document in yaml.safe_load_all(block)]
KNOWN = (ext_authz_pb2, http_connection_manager_pb2, header_mutation_pb2)  # by being imported


def messages(node: Any) -> Iterator[dict[str, Any]]:
    """The outermost parts that name the message of Envoy's that they are."""
    if isinstance(node, dict) and "@type" in node:
        yield node
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from messages(inner)


MESSAGES = [message for document in DOCUMENTS for message in messages(document)]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message["@type"].split(".")[-1])
def test_envoy_s_parts_have_fields_that_exist(message: dict[str, Any]) -> None:
    """Each reads as the message that it names."""
    assert json_format.ParseDict(message, any_pb2.Any()).value


def test_there_are_such_parts() -> None:
    """For a route, and for what is stripped in Istio."""
    assert [message["@type"].rpartition(".")[2] for message in MESSAGES] == [
        "ExtAuthzPerRoute",
        "HttpConnectionManager",
    ]


def test_what_istio_strips_is_what_envoy_yaml_strips() -> None:
    """The prefix of the identity headers, in whichever case."""
    name = "early_header_mutation_extensions"
    shipped = yaml.safe_load((ROOT / "envoy.yaml").read_text())
    (listener,) = shipped["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    ours, theirs = (
        node[name][0]["typed_config"]["mutations"][0] for node in (manager, MESSAGES[1])
    )
    assert theirs == ours


def test_the_routes_are_settings() -> None:
    """They load, with what stands beside them."""
    documents = [document for document in DOCUMENTS if "routes" in document]
    assert documents
    for routes in documents:
        assert len(model.load(None, routes, {}).routes) == len(routes["routes"])
