"""Repairs of a configuration: the doctor finds nothing afterwards, and the text is kept."""

import contextlib
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.proxy.editing import edited
from authz.proxy.repair import repair
from authz.proxy.rules import examine
from authz.proxy.snippet import MANAGER, snippet
from tests.support.proxy.envoys import validate
from tests.support.proxy.faults import HTTP2, ORIGINAL, Config, Fault
from tests.support.proxy.report import DEFAULTS, problems
from tests.support.proxy.retry_faults import TWO_SIDECARS, in_the_filter, policy
from tests.support.proxy.subtle import ALL

# Faults that only a person can mend: which routes need a key, whose key is logged, which service.
DECISIONS = {
    *("an exempt prefix", "an exempt regex", "an exempt prefix in a wrapping", "an exempt canary"),
    *("off by default", "a forgotten listener", "routes from elsewhere"),
    *("only what is marked", "all but what is marked", "marked by nobody", "left out by a header"),
    *("another service for a route", "another client", "asks over HTTP", "a proxy in front"),
    *("a name of one's own", "a word of one's own", "a restriction by exact path"),
    *("stripped too late", "stripped too late for a host", "overwritten"),
    *("a key taken away early", "logs keys", "logs keys if there is nothing else"),
    *("logs keys over gRPC", "traces keys"),
}
TEXT = ORIGINAL.read_text()


def mended(document: Any) -> Any:
    """Return a repaired copy."""
    changed = copy.deepcopy(document)
    repair([changed], DEFAULTS)
    return changed


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_a_repair_leaves_only_decisions(fault: Fault):
    """After a repair the doctor finds nothing, except faults that need a decision."""
    found = [(one.check, one.found) for one in problems([mended(fault.config())])]
    if fault.name in DECISIONS:
        assert found
    else:
        assert found == []


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_a_second_repair_changes_nothing(fault: Fault):
    """A repair is idempotent."""
    once = mended(fault.config())
    assert mended(once) == once


def test_envoy_yaml_needs_no_repair():
    """A repair does not change envoy.yaml."""
    assert mended(Config().whole) == Config().whole


def test_envoy_accepts_a_repaired_configuration(tmp_path: Path):
    """The real Envoy accepts a configuration in which everything had to be repaired."""
    config, file = Config(), tmp_path / "envoy.yaml"
    for name in ("normalize_path", "early_header_mutation_extensions", "merge_slashes"):
        del config.manager[name]
    for name in ("validate_mutations", "decoder_header_mutation_rules", "status_on_error"):
        del config.filter[name]
    config.filter.update(failure_mode_allow=True, allowed_headers={"patterns": [{"exact": "x"}]})
    for name in ("health_checks", "circuit_breakers", "typed_extension_protocol_options"):
        del config.cluster[name]
    (group,) = config.cluster["load_assignment"]["endpoints"]
    group["lb_endpoints"].append(copy.deepcopy(group["lb_endpoints"][0]))
    repaired = mended(config.whole)
    file.write_text(yaml.safe_dump(repaired))
    assert problems([repaired]) == []
    done = validate(file)
    assert done.returncode == 0, done.stderr[-1000:]


def test_a_repair_keeps_the_text():
    """Only lines that a repair needs are changed: comments, order and spacing stay."""
    spoilt = TEXT.replace("failure_mode_allow: false", "failure_mode_allow: true")
    spoilt = spoilt.replace("validate_mutations: true\n", "validate_mutations: false\n")
    after = edited(spoilt, lambda documents: repair(documents, DEFAULTS))
    assert after == TEXT


@settings(max_examples=15, deadline=None)
@given(st.sets(st.sampled_from(TEXT.splitlines()), max_size=4))
def test_no_line_is_lost(gone: set[str]):
    """An edit without a change returns the file, or refuses a file that is not YAML."""
    text = "".join(f"{line}\n" for line in TEXT.splitlines() if line not in gone)
    with contextlib.suppress(BadInput):
        assert edited(text, lambda _: None) == text


def test_a_change_keeps_all_other_lines():
    """A change of one value changes one line, although the writer has another style."""
    after = edited(
        TEXT, lambda documents: documents[0]["admin"].update(ignore_global_conn_limit=True)
    )
    lines = after.splitlines()
    lines.remove("  ignore_global_conn_limit: true")
    assert lines == TEXT.splitlines()


@pytest.mark.parametrize("offset", [0, 2])
def test_the_indentation_of_lists_is_kept(offset: int):
    """A new item gets the indentation of the file."""
    dash = " " * offset + "- "
    text = f"a:\n{dash}b: 1  # one\n{' ' * offset}  c: {{ d: 2 }}\n"

    def add(documents):
        documents[0]["a"].append({"b": 2})

    assert edited(text, add) == f"{text}{dash}b: 2\n"


@pytest.mark.parametrize("change", [policy(num_retries=2), in_the_filter(max_interval="0.3s")])
def test_a_note_changes_no_retry_policy(change):
    """There are limits, and the policy is right but not ours: it stays as it is."""
    config = Config()
    change(config)
    expected = replace(DEFAULTS, has_limits=True)
    before = copy.deepcopy(config.whole)
    assert any("charge_once" in found.advice for found in examine([config.whole], expected))
    repair([config.whole], expected)
    assert config.whole == before


def test_a_missing_outlier_detection_changes_no_retry_policy():
    """The repair adds outlier detection, and keeps a policy that is right but not ours."""
    config = Config()
    policy(num_retries=2)(config)
    expected = copy.deepcopy(config.whole)
    del config.cluster["outlier_detection"]
    assert mended(config.whole) == expected


def test_a_snippet_for_two_sidecars_has_the_shipped_cluster():
    """The cluster is that of deploy/systemd/envoy.yaml, apart from a bound of the sidecar."""
    sockets = sidecars("unix:/run/authz/1/check.sock", "unix:/run/authz/2/check.sock")
    shipped = yaml.safe_load(TWO_SIDECARS.read_text())["static_resources"]["clusters"][0]
    options = shipped["typed_extension_protocol_options"][HTTP2]
    del options["explicit_http_config"]["http2_protocol_options"]["max_concurrent_streams"]
    assert yaml.safe_load(snippet(DEFAULTS, sockets))["clusters"][0] == shipped


def test_sidecars_that_have_names_are_retried_as_others_are():
    """The cluster differs from that of two sockets by the addresses alone."""
    named = yaml.safe_load(snippet(DEFAULTS, sidecars("a.example:9001", "b.example:9001")))
    own = yaml.safe_load(snippet(DEFAULTS, sidecars("unix:/run/1.sock", "unix:/run/2.sock")))
    by_name, by_socket = named["clusters"][0], own["clusters"][0]
    assert (by_name.pop("type"), by_socket.pop("type")) == ("STRICT_DNS", "STATIC")
    del by_name["load_assignment"], by_socket["load_assignment"]
    assert by_name == by_socket


def sidecars(*texts: str) -> list[Address]:
    """Return addresses."""
    return [Address.parse("", text) for text in texts]


@pytest.mark.parametrize(
    "addresses",
    [
        sidecars("127.0.0.1:9191"),
        sidecars("0.0.0.0:9191"),
        sidecars("unix:/run/authz/check.sock"),
        sidecars("authz.internal:9191"),
        sidecars("unix:/run/authz/1/check.sock", "unix:/run/authz/2/check.sock"),
        sidecars("a.example:9001", "b.example:9001"),
    ],
    ids=lambda addresses: ",".join(map(str, addresses)),
)
def test_a_snippet_is_all_that_an_envoy_needs(addresses: list[Address], tmp_path: Path):
    """A minimal Envoy with the snippet is valid, and the doctor finds nothing."""
    expected = replace(DEFAULTS, header_prefix="x-caller-", carriers=["x-key"])
    parts = yaml.safe_load(snippet(expected, addresses))
    config, file = Config(), tmp_path / "envoy.yaml"
    resources = config.whole["static_resources"]
    backend = {"match": {"prefix": "/"}, "route": {"cluster": "backend"}}
    manager = parts["manager"] | {
        "@type": MANAGER,
        "stat_prefix": "own",
        "http_filters": [*parts["manager"]["http_filters"], config.manager["http_filters"][-1]],
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [backend]}],
        },
    }
    chain = resources["listeners"][0]["filter_chains"][0]
    chain["filters"][0]["typed_config"] = manager
    resources["clusters"] = [*parts["clusters"], resources["clusters"][-1]]
    file.write_text(yaml.safe_dump(config.whole))
    done = validate(file)
    assert done.returncode == 0, done.stderr[-1000:]
    assert problems([config.whole], expected) == []
