"""Unusual but correct configurations: the doctor reports no problem."""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from authz.proxy.document import read
from authz.proxy.headers import BESIDE_IDENTITY, IDENTITY
from authz.proxy.rules import examine
from authz.rpc.check import allow
from tests.support.proxy.envoys import validate, without_authz
from tests.support.proxy.faults import HTTP2, Config
from tests.support.proxy.report import DEFAULTS, problems
from tests.support.proxy.retry_faults import in_the_filter, named, two_sidecars
from tests.support.proxy.subtle import FILTER_CONFIG, HEADER_MUTATION, marked
from tests.support.real import free_port

STRUCT = "type.googleapis.com/xds.type.v3.TypedStruct"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def wrapped(config: Config) -> None:
    """The filter is disabled by default; a FilterConfig enables it on all routes."""
    config.entry["disabled"] = True
    on = {"@type": FILTER_CONFIG, "config": {}}
    config.manager["route_config"]["typed_per_filter_config"] = {config.entry["name"]: on}


def one_by_one(config: Config) -> None:
    """Each identity header is removed by its name, as Envoy Gateway does it."""
    listed = config.manager["early_header_mutation_extensions"][0]["typed_config"]
    listed["mutations"] = [{"remove": f"X-Auth-{name}"} for name in IDENTITY]


def by_a_filter(config: Config) -> None:
    """An HTTP filter before ext_authz removes the identity headers."""
    del config.manager["early_header_mutation_extensions"]
    remove = {"remove_on_match": {"key_matcher": {"prefix": "X-Auth-", "ignore_case": True}}}
    step = {"@type": HEADER_MUTATION, "mutations": {"request_mutations": [remove]}}
    config.manager["http_filters"].insert(0, {"name": "strip", "typed_config": step})


def internal(config: Config) -> None:
    """The identity headers are internal_only_headers."""
    del config.manager["early_header_mutation_extensions"]
    names = [f"x-auth-{name}" for name in IDENTITY]
    config.manager["route_config"]["internal_only_headers"] = names


def as_a_struct(config: Config) -> None:
    """The filter is a TypedStruct: a control plane passes on a type that it does not know."""
    value = {name: part for name, part in config.filter.items() if name != "@type"}
    struct = {"@type": STRUCT, "type_url": config.filter["@type"], "value": value}
    config.entry["typed_config"] = struct


def over_tls(config: Config) -> None:
    """ALPN selects HTTP/2."""
    options = config.cluster["typed_extension_protocol_options"][HTTP2]
    options["auto_config"] = options.pop("explicit_http_config")
    context = {"@type": TLS, "common_tls_context": {"alpn_protocols": ["h2"]}}
    config.cluster["transport_socket"] = {"name": "tls", "typed_config": context}


def by_a_mesh(config: Config) -> None:
    """The RBAC filter marks every request except exact paths."""
    paths = [{"url_path": {"path": {"exact": path}}} for path in ("/healthz", "/ready")]
    but = {"not_rule": {"or_rules": {"rules": paths}}}
    marked(config, {"and_rules": {"rules": [but]}})


def two_sidecars_of_1_36(config: Config) -> None:
    """Two sidecars, with the policy in grpc_service as Envoy 1.36 needs it."""
    in_the_filter(base_interval="0.005s", max_interval="0.2s")(config)


def one_name(config: Config) -> None:
    """One name, which may be that of several sidecars, without a retry policy."""
    named(1)(config)


def answers_only(config: Config) -> None:
    """A second listener has no route to a backend."""
    resources = config.whole["static_resources"]
    other = yaml.safe_load(yaml.safe_dump(resources["listeners"][0]))
    other["name"] = "ready"
    other["address"]["socket_address"]["port_value"] = 10001
    manager = other["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["http_filters"][0]
    for host in manager["route_config"]["virtual_hosts"]:
        host["routes"] = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    resources["listeners"].append(other)


RIGHT = [
    wrapped,
    one_by_one,
    by_a_filter,
    internal,
    as_a_struct,
    over_tls,
    by_a_mesh,
    answers_only,
    two_sidecars,
    two_sidecars_of_1_36,
    one_name,
]


def told(documents: list[Any]) -> list[str]:
    """Return the texts of the problems."""
    return [found.found for found in problems(documents)]


@pytest.mark.parametrize("change", RIGHT, ids=lambda change: change.__name__)
def test_nothing_is_found(change, tmp_path: Path):
    """Envoy accepts the configuration, and the doctor reports no problem."""
    config, file = Config(), tmp_path / "envoy.yaml"
    change(config)
    file.write_text(yaml.safe_dump(config.whole))
    done = validate(file)
    assert done.returncode == 0, done.stderr[-1000:]
    assert told(read(file)) == []


def test_the_identity_headers_are_all_that_authz_sets():
    """The doctor looks for exactly the headers that an allowed Check sets or removes."""
    assert {*IDENTITY, *BESIDE_IDENTITY} == {*allow._identity(None), allow.STALE, allow.WOULD_DENY}


def test_json_with_tabs(tmp_path: Path):
    """A JSON file may contain tabs, although YAML forbids them."""
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(Config().whole, indent="\t"))
    assert told(read(file)) == []


def test_anchors_and_merge_keys(tmp_path: Path):
    """YAML anchors and merge keys are resolved."""
    config, file = Config(), tmp_path / "envoy.yaml"
    prefix = config.manager.pop("stat_prefix")
    text = yaml.safe_dump(config.whole, width=1000)
    line = next(line for line in text.splitlines() if line.endswith("HttpConnectionManager"))
    indent = line.partition("'")[0]
    merged = text.replace(line, f"{line}\n{indent}<<: *common", 1)
    file.write_text(f"x: &common {{ stat_prefix: {prefix} }}\n{merged}")
    documents = read(file)
    assert told(documents) == []
    assert "ingress/authz" in next(examine(documents, DEFAULTS)).found


def test_parts_that_are_not_in_force_are_ignored(tmp_path: Path):
    """Draining listeners and refused configurations of a dump lead to no finding."""
    bad = Config()
    bad.filter["failure_mode_allow"] = True
    listener = bad.whole["static_resources"]["listeners"][0]
    file = tmp_path / "dump.json"
    file.write_text(
        json.dumps(
            {
                "configs": [
                    Config().whole,
                    {
                        "dynamic_listeners": [
                            {"draining_state": {"listener": listener}},
                            {"error_state": {"failed_configuration": listener}},
                        ]
                    },
                ]
            }
        )
    )
    assert told(read(file)) == []


def test_a_filter_by_discovery_is_found(tmp_path: Path):
    """A filter from extension discovery is found elsewhere in the dump by its name."""
    config = Config()
    config.filter["failure_mode_allow"] = True
    found = {
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": config.entry["name"],
        "typed_config": config.entry.pop("typed_config"),
    }
    config.entry["config_discovery"] = {"config_source": {"ads": {}}}
    dump = [config.whole, {"ecds_filters": [{"ecds_filter": found}]}]
    assert [text.partition(": ")[2][:18] for text in told(dump)] == ["failure_mode_allow"]


def test_a_finding_appears_once():
    """A dump that contains a fault twice leads to one finding."""
    config = Config()
    config.filter["failure_mode_allow"] = True
    assert len(told([config.whole, config.whole])) == 1


def test_envoy_tells_capitals_from_small_letters(tmp_path: Path):
    """A removal pattern in capitals removes nothing in a real Envoy."""
    admin, port, behind = free_port(), free_port(), free_port()
    whole, file = without_authz(admin, port, behind), tmp_path / "envoy.yaml"
    listener = whole["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    listed = manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    listed[:] = [
        {"remove_on_match": {"key_matcher": {"prefix": "X-Auth-"}}},
        {"remove_on_match": {"key_matcher": {"prefix": "X-User-", "ignore_case": True}}},
        {"remove": "X-Name"},
    ]
    file.write_text(yaml.safe_dump(whole))
    sent = {"X-Auth-Env": "live", "X-User-Id": "me", "X-Name": "me"}
    arrived: dict[str, str] = {}

    def is_answered() -> bool:
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/", headers=sent)
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                arrived.update(json.load(answer)["headers"])
        except OSError:
            return False
        return True

    with ChildProcesses() as children:
        children.spawn("backend", [sys.executable, "-m", "authz.cli.echo", str(behind)])
        command = [binaries.envoy(), "--config-path", file, "--disable-hot-restart"]
        children.spawn("envoy", [*command, "--concurrency", "1"])
        children.wait("envoy", is_answered)
    assert {name for name in arrived if name.startswith(("x-auth-", "x-user-", "x-name"))} == {
        "x-auth-env"
    }
