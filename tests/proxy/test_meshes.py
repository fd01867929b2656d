"""Configurations that Istio and Envoy Gateway made from manifests.

The files in fixtures/ are dumps of real Envoys, reduced to the parts that the rules read.
"""

from pathlib import Path

import pytest

from authz.core.finding import Finding
from authz.proxy.document import read
from tests.support.proxy.report import problems

FIXTURES = Path(__file__).parent / "fixtures"


def told(name: str) -> list[Finding]:
    """Return the problems of a fixture."""
    return problems(read(FIXTURES / f"{name}.json"))


def failures(name: str) -> list[tuple[str, str]]:
    """Return check and text of each failure of a fixture."""
    return [(found.check, found.found) for found in told(name) if found.level == "fail"]


@pytest.mark.parametrize("name", ["istio-overlay", "istio-overlay-cors-first"])
def test_the_overlay_of_istio_is_in_order(name: str):
    """The rendered overlay has no problem, also with the CORS filter first."""
    assert told(name) == []


@pytest.mark.parametrize("name", ["eg191-two-policies-merged", "eg191-patched-with-stats-listener"])
def test_envoy_gateway_with_a_patch_does_not_fail(name: str):
    """The patched configuration has no failure, and only warnings about cluster and trailers.

    Two merged policies make two ext_authz filters, each for its own routes. A listener for the
    metrics of the proxy needs no authorization.
    """
    assert {found.check for found in told(name)} == {"cluster", "trailers"}
    assert failures(name) == []


@pytest.mark.parametrize(
    ("name", "check", "text"),
    [
        ("istio-readme", "mutations", "not validated"),
        ("istio-workload", "identity", "x-auth-* of a client is not removed"),
        ("istio-overlay-notmethods-options", "enabled", "not checked at all: what is not matched"),
        ("eg191-as-shipped", "mutations", "not validated"),
        ("eg191-route-policy-overrides", "enabled", "not checked at all: * path_separated_prefix"),
    ],
)
def test_a_fault_of_a_mesh_is_found(name: str, check: str, text: str):
    """The fault for which the dump was made is a failure."""
    assert [True for found in failures(name) if found[0] == check and text in found[1]]


def test_a_route_policy_fails_only_for_its_route():
    """The doctor names the route on which another policy switched the filter off."""
    ((_, text),) = failures("eg191-route-policy-overrides")
    assert text.endswith("path_separated_prefix /cors")


def test_outbound_listeners_of_a_workload_are_not_warned_about():
    """A workload's outbound listeners need no authorization."""
    assert not [found for found in told("istio-workload") if "outbound_" in found.found[:12]]
