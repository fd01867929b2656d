"""The doctor finds every fault, and nothing else."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.finding import Level
from authz.proxy.document import read
from authz.proxy.repair import repair
from authz.proxy.rules import RULES, examine
from tests.support.proxy.faults import ORIGINAL, Config, Fault
from tests.support.proxy.report import DEFAULTS, WITH_ROUTES, problems
from tests.support.proxy.retry_faults import in_the_filter, one_sidecar, policy, two_sidecars
from tests.support.proxy.subtle import ALL, RBAC

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def told(document, expected=DEFAULTS):
    """Return the problems of one document."""
    return problems([document], expected)


def test_nothing_is_wrong_with_the_original():
    """envoy.yaml has no problem, and every rule reports that."""
    found = list(examine(read(ORIGINAL), DEFAULTS))
    assert [finding.check for finding in found] == list(RULES)
    assert {finding.level for finding in found} == {Level.OK}


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_a_fault_is_found(fault: Fault):
    """Exactly one rule reports the fault, and it gives advice."""
    found = told(fault.config())
    assert {finding.check for finding in found} == {fault.check}
    assert any(f.level == fault.level and fault.text in f.found and f.advice for f in found)


def test_every_rule_has_a_fault():
    """Each rule finds at least one of the faults; `overrides` only where there are routes."""
    assert {fault.check for fault in ALL} == set(RULES) - {"overrides"}


@pytest.mark.parametrize("name", ["x-forwarded-host", "forwarded", "x-original-url"])
def test_headers_that_name_another_host_or_path(name: str):
    """With routes each must be removed, early, by a filter or by the table; the repair does so."""
    config = Config()
    assert told(config.whole, WITH_ROUTES) == []
    early = config.manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    early.remove({"remove": name})
    assert told(config.whole) == []
    (found,) = told(config.whole, WITH_ROUTES)
    assert (found.level, found.check) == ("warn", "overrides")
    assert f"from {name} of a client" in found.found
    assert bool(told(config.whole, replace(WITH_ROUTES, has_hosts=False))) is ("url" in name)
    repaired = copy.deepcopy(config.whole)
    repair([repaired], WITH_ROUTES)
    assert told(repaired, WITH_ROUTES) == []
    config.manager["route_config"]["request_headers_to_remove"] = [name.title()]
    assert told(config.whole, WITH_ROUTES) == []


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_another_spelling_is_the_same(fault: Fault, tmp_path: Path):
    """A configuration in camelCase JSON leads to the same findings."""

    def camel(part):
        if isinstance(part, list):
            return [camel(item) for item in part]
        if isinstance(part, dict):
            return {
                name if "." in name else re.sub("_(.)", lambda m: m[1].upper(), name): camel(value)
                for name, value in part.items()
            }
        return part

    file = tmp_path / "dump.json"
    file.write_text(json.dumps(camel(fault.config())))
    assert told(*read(file)) == told(fault.config())


@pytest.mark.parametrize(
    ("expected", "check", "text"),
    [
        (replace(DEFAULTS, header_prefix="x-caller-"), "identity", "only x-auth-"),
        (replace(DEFAULTS, carriers=["x-key"]), "carriers", "not shown x-key"),
        (replace(DEFAULTS, repeats=["idempotency-key"]), "carriers", "not shown idempotency-key"),
        (replace(DEFAULTS, carriers=["x-key"]), "mutations", "may not change x-key"),
        (replace(DEFAULTS, query="k", carriers=["x-key"]), "mutations", "may not change x-key"),
        (replace(DEFAULTS, deadline=0.5), "timeouts", "not later than check.deadline (0.5s)"),
    ],
)
def test_the_settings_decide(expected, check, text):
    """The settings of the sidecar decide about the same configuration."""
    assert any(f.check == check and text in f.found for f in told(Config().whole, expected))


LIMITED = replace(DEFAULTS, has_limits=True)


@pytest.mark.parametrize(
    ("expected", "change", "notes"),
    [
        (LIMITED, policy(), 1),
        (LIMITED, in_the_filter(max_interval="0.2s"), 1),
        (replace(LIMITED, repeats=["idempotency-key"]), policy(), 1),
        (replace(LIMITED, repeats=["idempotency-key", "x-request-id"]), policy(), 0),
        (DEFAULTS, policy(), 0),
        (LIMITED, lambda config: two_sidecars(config).pop("retry_policy"), 0),
        (LIMITED, one_sidecar, 0),
        (LIMITED, lambda _config: None, 0),
    ],
)
def test_a_note_says_that_retries_may_be_charged(expected, change, notes):
    """If Envoy retries and there are limits, a note names `charge_once`. It is no warning."""
    config = Config()
    change(config)
    found = [f for f in examine([config.whole], expected) if f.check == "retries"]
    assert sum("charge_once" in f.advice for f in found if f.level == "ok") == notes
    if notes:
        assert [f.level for f in found] == ["ok"]


def test_a_single_sidecar_needs_no_room_for_retries():
    """The advice to remove the retry policy stands alone."""
    config = Config()
    one_sidecar(config)
    del config.cluster["circuit_breakers"]["thresholds"][0]["max_retries"]
    (finding,) = told(config.whole)
    assert finding.advice.startswith("remove the retry policy")


def test_client_addresses():
    """The address header must be safe from clients, and authz must receive it."""
    expected = replace(DEFAULTS, client_address="x-envoy-external-address")
    config = Config()
    assert told(config.whole, expected) == []
    config.manager["use_remote_address"] = False
    config.hide("x-envoy-external-address")
    assert [finding.check for finding in told(config.whole, expected)] == ["carriers", "identity"]


def test_headers_that_name_another_method():
    """With routes for some methods, authz must see these headers, or nobody may."""
    expected = replace(DEFAULTS, has_methods=True)
    config = Config()
    assert told(config.whole, expected) == []
    config.hide("x-http-method")
    assert told(config.whole) == []
    (found,) = told(config.whole, expected)
    assert (found.level, found.check) == ("warn", "carriers")
    assert "not shown x-http-method, which may name another method" in found.found
    early = config.manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    early.append({"remove": "X-HTTP-Method"})
    assert told(config.whole, expected) == []


def test_an_internal_client_cannot_choose_its_address():
    """With internal_address_config the address header must be removed before Envoy sets it."""
    expected = replace(DEFAULTS, client_address="x-envoy-external-address")
    config = Config()
    config.manager["internal_address_config"] = {
        "cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]
    }
    assert told(config.whole, expected) == []
    early = config.manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    early[:] = [mutation for mutation in early if "external" not in str(mutation)]
    (found,) = told(config.whole, expected)
    assert (found.level, found.check) == ("fail", "identity")
    assert "a client in internal_address_config can write" in found.found


def test_a_policy_of_istio_that_denies_everything():
    """Without a filter the doctor names the RBAC policy by which Istio denies everything."""
    name = "istio-ext-authz-ns[a]-policy[b]-rule[0]-deny-due-to-bad-CUSTOM-action"
    config = Config()
    rbac = {"@type": RBAC, "rules": {"action": "DENY", "policies": {name: {}}}}
    config.manager["http_filters"][0] = {"name": "rbac", "typed_config": rbac}
    (found,) = told(config.whole)
    assert (found.level, found.check) == ("fail", "envoy")
    assert name in found.found
    assert "extensionProviders" in found.advice


def test_authz_must_be_able_to_take_a_key_out_of_the_query():
    """With `extract.query` the mutation rules must allow `:path`, and a repair allows it."""
    expected, config = replace(DEFAULTS, query="api_key"), Config()
    assert told(config.whole, expected) == []
    rules = config.filter["decoder_header_mutation_rules"]
    for kept in ({"disallow_all": True}, {"disallow_system": True}):
        rules.clear()
        rules.update(disallow_is_error=True, **kept)
        allowed = "^(x-auth-[a-z0-9-]+|x-api-key|authorization)$"
        rules["allow_expression"] = {"regex": allowed}
        assert told(config.whole) == []
        (found,) = told(config.whole, expected)
        assert (found.level, found.check) == ("fail", "mutations")
        assert "may not change :path" in found.found
    repair([config.whole], expected)
    assert told(config.whole, expected) == []


def test_a_query_that_holds_keys_is_not_logged():
    """With extract.query set, an access log with the query contains keys."""
    config = Config()
    log = config.manager["access_log"][0]["typed_config"]["log_format"]["json_format"]
    log["path"] = "%REQ(:PATH)%"
    assert told(config.whole) == []
    with_keys = told(config.whole, replace(DEFAULTS, query="api_key"))
    assert [finding.check for finding in with_keys] == ["secrecy"]


def test_a_route_that_switches_the_filter_on_again_is_checked():
    """The innermost level decides: the route, then its virtual host, then the route table."""
    config = Config()
    name = config.entry["name"]
    host = config.manager["route_config"]["virtual_hosts"][0]
    on = {**config.routes[1]["typed_per_filter_config"][name]}
    host["typed_per_filter_config"] = {name: {"@type": on["@type"], "disabled": True}}
    config.routes[-1]["typed_per_filter_config"] = {name: on}
    assert told(config.whole) == []
    del config.routes[-1]["typed_per_filter_config"]
    assert ["api prefix /" in finding.found for finding in told(config.whole)] == [True]


def test_no_filter_at_all():
    """A file without an ext_authz filter fails."""
    assert [finding.level for finding in examine([{"static_resources": {}}], DEFAULTS)] == ["fail"]


@given(st.data())
def test_no_value_raises(data: st.DataObject):
    """Any value in any part of a configuration leads to findings, not to a traceback."""
    config = Config()
    part = data.draw(
        st.sampled_from([config.manager, config.entry, config.filter, config.cluster, config.http2])
    )
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(JSON)
    assert list(examine([config.whole], DEFAULTS))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff\xfe", b"- [", b"text", b"[1, 2]", b"a: &a [*a]\n!!python/object:os.system {}"],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes):
    """A file without a configuration is refused with one line."""
    file = tmp_path / "given.yaml"
    file.write_bytes(content)
    with pytest.raises(BadInput, match="such as envoy"):
        read(file)


def test_aliases_do_not_multiply(tmp_path: Path):
    """A YAML file whose nested aliases make a billion parts is refused."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(BadInput, match="--envoy"):
        read(file)


def test_two_documents(tmp_path: Path):
    """A file may contain several documents."""
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump_all([{"kind": "ConfigMap"}, Config().whole]))
    assert told(read(file)) == []
