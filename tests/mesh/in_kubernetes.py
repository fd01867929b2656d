"""Overlays and chart on a bare API server: admission, commands of the run book, bad input."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.mesh import admission
from tests.mesh.cluster import Cluster
from tests.mesh.rows import Row
from tests.support.deploy.chart import CHART
from tests.support.deploy.helm import SETS, refusal_lines
from tests.support.deploy.manifests import built
from tests.support.docs import ROOT

BOOK: Final = (ROOT / "docs" / "operations.md").read_text()
KUBELET: Final = ("rollout status", " exec ")  # commands that wait for pods to run
# The secrets of the run book, with texts of our own.
SECRETS: Final = ("pepper-1", "sidecar", "admin", "users.acl", "meter", "operator", "console")


def probed(cluster: Cluster, directory: Path) -> Iterator[Row]:
    """Yield the rows of overlays, chart and bad input."""
    for name, where in (("standalone", "authz"), ("service", "authz"), ("meter", "authz")):
        objects = built(name)
        cluster.apply([admission.enforced(where)])
        words = ("apply", "--server-side", "--dry-run=server", "--namespace", where, "-f", "-")
        done = cluster.kubectl(*words, objects=objects)
        seen = done.stderr.strip() if done.returncode else "accepted"
        yield Row(f"overlay {name}", "accepted", seen)
    cluster.kubectl("delete", "namespace", "authz", "--wait=false")
    yield from walked(cluster, directory)
    yield from bad_input(cluster)
    for name in ("standalone", "everything", "istio", "envoy-gateway"):
        rendered = helm(cluster, "template", name, SETS[name], apis=True)
        objects = [one for one in yaml.safe_load_all(rendered.stdout) if one]
        accounts = [one for one in objects if one["kind"] == "ServiceAccount"]
        cluster.apply(accounts, "--namespace", "trial")
        yield from admission.admitted(cluster, objects, "trial")
    yield admission.refused(cluster, "trial")


def walked(cluster: Cluster, directory: Path) -> Iterator[Row]:
    """Yield the result of the commands for Helm in the run book, in the namespace of a newcomer."""
    section = BOOK.partition("### Kubernetes, with Helm\n")[2].partition("\n### ")[0]
    (values,) = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (block,) = re.findall(r"^```console\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (directory / "values.yaml").write_text(values)
    (directory / "secrets").mkdir()
    for name in SECRETS:
        (directory / "secrets" / name).write_text("made up")
    (directory / "deploy").symlink_to(ROOT / "deploy")
    for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
        command = line.replace("namespace authz", "namespace trial").replace("-n authz", "-n trial")
        if any(word in command for word in KUBELET):
            continue
        done = subprocess.run(
            ["bash", "-c", command],
            check=False,
            cwd=directory,
            env=cluster.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        seen = "done" if done.returncode == 0 else done.stderr.strip()
        yield Row(line[:44], "done", seen)
        if "create namespace" in command:
            cluster.account("trial")
    found = cluster.get("deployment,statefulset,service", "--namespace", "trial")["items"]
    names = sorted(f"{one['kind']}/{one['metadata']['name']}" for one in found)
    wanted = "Deployment/authz-gateway Deployment/authz-toolbox Service/authz-gateway "
    wanted += "Service/authz-valkey StatefulSet/authz-valkey"
    yield Row("objects of the release", wanted, " ".join(names))


def bad_input(cluster: Cluster) -> Iterator[Row]:
    """Yield each refusal: one line, before anything is applied."""
    good = SETS["standalone"]
    monitored = {**good, "monitoring": {"serviceMonitor": {"enabled": True}}}
    unknown = {**good, "pepper": {"secret": "none-of-this-name"}}
    second = {**good, "fullnameOverride": "authz"}
    operator = "monitoring needs the CRDs of the Prometheus Operator"
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("a value that does not fit", "gateway.replicas", {**good, "gateway": {"replicas": "x"}}),
        ("a missing pepper Secret", "pepper.secret: there is no Secret", unknown),
        ("CRDs of the operator are absent", operator, monitored),
        ("CRDs of Istio are absent", "mode istio needs the CRDs", SETS["istio"]),
        ("CRDs of Envoy Gateway are absent", "needs the CRDs", SETS["envoy-gateway"]),
        ("two releases with one name", "cannot be imported into the current release", second),
    ]
    before = _everything(cluster)
    for name, wanted, values in cases:
        done = helm(cluster, "install", "another", values)
        lines = refusal_lines(done.stderr) if done.returncode else ["installed"]
        seen = lines[0] if len(lines) == 1 else f"{len(lines)} lines: {' / '.join(lines)}"
        yield Row(name, wanted, wanted if wanted in seen and len(lines) == 1 else seen[:300])
        kept = "nothing" if _everything(cluster) == before else "something"
        yield Row(f"{name}: applied", "nothing", kept)
    done = helm(cluster, "install", "another", good)
    yield Row("two releases in one namespace", "installed", done.stderr.strip() or "installed")


def helm(
    cluster: Cluster, verb: str, release: str, values: dict[str, Any], *, apis: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run helm on the cluster, in the namespace of the trial."""
    command = ["helm", verb, release, str(CHART), "--namespace", "trial", "--values", "-"]
    if apis:
        command += ["--api-versions", "monitoring.coreos.com/v1", "--kube-version", "1.36"]
    return subprocess.run(
        command,
        check=False,
        input=yaml.safe_dump(values),
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _everything(cluster: Cluster) -> list[str]:
    kinds = "deployment,statefulset,service,configmap,secret,networkpolicy,serviceaccount"
    return sorted(one["metadata"]["name"] for one in cluster.get(kinds, "-n", "trial")["items"])
