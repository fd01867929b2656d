"""The chart under deploy/helm, rendered by the real helm, and compared with the overlays."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.deploy.chart import CHART
from tests.support.deploy.manifests import OLDEST

RECOMMENDED: Final = "app.kubernetes.io/"
LABELS: Final = (RECOMMENDED, "helm.sh/")
OPERATOR: Final = "monitoring.coreos.com/v1"

needs_helm = pytest.mark.skipif(
    shutil.which("helm") is None, reason="needs helm 3: CONTRIBUTING.md says how to get it"
)

# Values that every release names.
NAMED: Final[dict[str, Any]] = {
    "image": {"repository": "registry.example.com/authz"},
    "pepper": {"secret": "authz-pepper"},
    "store": {"secret": "authz-store"},
}
STORE: Final = {**NAMED["store"], "url": "redis://valkey:6379/0"}
# Sets of values by name.
SETS: Final[dict[str, dict[str, Any]]] = {
    "standalone": {
        **NAMED,
        "backend": {"host": "backend"},
        "valkey": {"enabled": True, "usersSecret": "authz-store-users"},
    },
    "istio": {**NAMED, "store": STORE, "mode": "istio"},
    "envoy-gateway": {**NAMED, "store": STORE, "mode": "envoy-gateway"},
    "meters": {
        **NAMED,
        "store": STORE,
        "backend": {"host": "backend"},
        "meter": {"mode": "deployment", "tokenSecret": "authz-meter"},
    },
    "istio with everything": {
        **NAMED,
        "store": {**NAMED["store"], "url": "rediss://store.example.com:6380/0", "caSecret": "ca"},
        "mode": "istio",
        "meter": {"mode": "pod"},
        "admin": {"enabled": True, "tlsSecret": "authz-admin"},
    },
    "envoy-gateway with everything": {
        **NAMED,
        "mode": "envoy-gateway",
        "imagePullSecrets": [{"name": "registry"}],
        "valkey": {"enabled": True, "usersSecret": "authz-store-users"},
        "envoyGateway": {"gateway": "web", "listeners": ["tcp-80", "tcp-443"]},
        "meter": {"mode": "pod"},
        "monitoring": {"serviceMonitor": {"enabled": True}},
    },
    "istio with LLMs": {
        **NAMED,
        "store": STORE,
        "mode": "istio",
        "llm": {"routes": ["chat", "a.b.0", "1.0", "true"]},
    },
    "envoy-gateway with LLMs": {
        **NAMED,
        "store": STORE,
        "mode": "envoy-gateway",
        "envoyGateway": {"listeners": ["tcp-80", "tcp-443"]},
        "llm": {"routes": ["httproute/default/llm/.*"]},
    },
    "everything": {
        **NAMED,
        "imagePullSecrets": [{"name": "registry"}],
        "backend": {"host": "api.example.com", "port": 8080},
        "pepper": {**NAMED["pepper"], "versions": ["1", "2"], "issueVersions": ["1"]},
        "settings": {"plans": {"standard": ["10/s"]}, "meter": {"max_message_bytes": 1048576}},
        "gateway": {"trustedProxies": 2, "nodeSelector": {"pool": "edge"}},
        "valkey": {"enabled": True, "usersSecret": "authz-store-users"},
        "admin": {"enabled": True, "tlsSecret": "authz-admin"},
        "meter": {
            "mode": "deployment",
            "tokenSecret": "authz-meter",
            "autoscaling": {"enabled": True},
        },
        "monitoring": {
            "serviceMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True, "runbookPrefix": "https://git.example.com/"},
            "dashboards": {"enabled": True},
        },
    },
}


def template(
    values: dict[str, Any],
    *,
    release: str = "authz",
    namespace: str = "authz",
    apis: tuple[str, ...] = (OPERATOR,),
    chart: Path = CHART,
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with these values and the named API versions of a cluster."""
    command = ["helm", "template", release, str(chart), "--namespace", namespace]
    # Without a version, a helm built by go install takes the cluster for 1.20.
    command += ["--kube-version", OLDEST, "--values", "-"]
    command += [word for api in apis for word in ("--api-versions", api)]
    return subprocess.run(
        command,
        check=False,
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
        timeout=60,
    )


def rendered(values: dict[str, Any], **more: Any) -> tuple[dict[str, Any], ...]:
    """Return the objects of a release. Raises AssertionError with the text of a refusal."""
    done = template(values, **more)
    assert done.returncode == 0, done.stderr
    return tuple(found for found in yaml.safe_load_all(done.stdout) if found)


def refusal(values: dict[str, Any], **more: Any) -> list[str]:
    """Return the lines of a refusal that say what is wrong. Raises AssertionError without one."""
    done = template(values, **more)
    assert done.returncode != 0
    return refusal_lines(done.stderr)


def refusal_lines(text: str) -> list[str]:
    """Return the lines of helm's message that say what is wrong."""
    lines = text.partition("\n\nUse --debug")[0].strip().splitlines()
    general = re.compile(
        r"Error: (INSTALLATION FAILED: )?values don't meet the specifications|authz:$"
    )
    return [line for line in lines if not general.match(line)]


def named(objects: Any) -> dict[str, dict[str, Any]]:
    """Return objects by `KIND/NAME`, in which a name of kustomize has no hash."""
    return {
        f"{found['kind']}/{re.sub(r'-[a-z0-9]{10}$', '', found['metadata']['name'])}": found
        for found in objects
    }


def by_component(node: Any) -> Any:
    """Return an object whose labels name its component only, whether helm or kustomize made it."""
    if isinstance(node, list):
        return [by_component(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    found = {key: by_component(inner) for key, inner in node.items()}
    if name := found.get(f"{RECOMMENDED}name"):
        component = found.get(f"{RECOMMENDED}component", name.removeprefix("authz-"))
        found = {key: inner for key, inner in found.items() if not key.startswith(LABELS)}
        found["component"] = component
    return found


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each value that differs. Items of lists go by their name, if any."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif isinstance(one, list) and isinstance(other, list):
        left, right = _by_name(one), _by_name(other)
        for key in sorted(left.keys() | right.keys()):
            yield from differences(left.get(key), right.get(key), f"{path}[{key}]")
    elif one != other:
        yield path


def _by_name(items: list[Any]) -> dict[str, Any]:
    return {
        str(item.get("name", place)) if isinstance(item, dict) else str(place): item
        for place, item in enumerate(items)
    }
