"""The Helm chart refuses a missing or wrong value in one line, before anything is applied."""

from typing import Any

import pytest

from tests.support.deploy.helm import SETS, named, needs_helm, refusal, rendered

pytestmark = needs_helm

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("pepper.secret is empty", {"pepper": {}}),
    ("store.secret is empty", {"store": {"url": "redis://valkey:6379/0"}}),
    ("image.repository is empty", {"image": {}}),
    ("backend.host is empty", {"backend": {}}),
    ("store.url is empty", {"valkey": {}}),
    ("valkey.usersSecret is empty", {"valkey": {"enabled": True}}),
    (
        "store.url and valkey.enabled name two stores",
        {"store": {"secret": "s", "url": "redis://a"}},
    ),
    ("admin.tlsSecret is empty", {"admin": {"enabled": True}}),
    ("meter.tokenSecret is empty", {"meter": {"mode": "deployment"}}),
    ("meter.autoscaling is for meter.mode", {"meter": {"autoscaling": {"enabled": True}}}),
    ("gateway.envoyConfig is for mode", {"mode": "istio", "gateway": {"envoyConfig": "admin:"}}),
    ("gateway.trustedProxies is not", {"mode": "envoy-gateway", "gateway": {"trustedProxies": 1}}),
    ("settings.check.listen is not yours", {"settings": {"check": {"listen": "0.0.0.0:9191"}}}),
    ("Additional property replica", {"gateway": {"replica": 3}}),
    ("Invalid type. Expected: integer", {"gateway": {"replicas": "three"}}),
    ("mode must be one of", {"mode": "linkerd"}),
]


@pytest.mark.parametrize(
    ("said", "values"), WRONG, ids=lambda one: one if isinstance(one, str) else ""
)
def test_a_bad_value_is_refused_in_one_line(said: str, values: dict[str, Any]) -> None:
    """The refusal is one line that names the value."""
    (line,) = refusal({**SETS["standalone"], **values})
    assert said in line


def test_absent_crds_are_named() -> None:
    """A ServiceMonitor without the Prometheus Operator is refused, not left out."""
    values = {**SETS["standalone"], "monitoring": {"serviceMonitor": {"enabled": True}}}
    (line,) = refusal(values, apis=())
    assert "monitoring.coreos.com/v1" in line


def test_a_release_without_the_word_gets_it() -> None:
    """Names begin with the release and `authz`, and a name that is too long is refused."""
    assert "Deployment/shop-authz-gateway" in named(rendered(SETS["standalone"], release="shop"))
    (line,) = refusal(SETS["standalone"], release="a" * 50)
    assert "fullnameOverride" in line
